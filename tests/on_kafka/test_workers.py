"""Three workers share systems: everything that one had is taken over when it is killed, frozen or stopped."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from connectors.debezium.envelope import decode
from tests.flow.test_capture_runs_through import batches, outcome, run
from tests.kafka_stack.stack import KafkaStack
from tests.on_kafka import topics
from tests.on_kafka.crew import Crew, kafka_system, positions
from tests.on_kafka.recorded import Recording

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def recording(shared: Path) -> Recording:
    return Recording(shared / "events.jsonl")


def clean_run(dsn: str, name: str, recording: Recording) -> dict[str, Any]:
    """What one run without any trouble leaves."""
    records = [record for message in recording.messages if (record := decode(*message)) is not None]
    with psycopg.connect(dsn, autocommit=True) as connection:
        run(connection, name, batches(records, 1000))
        return outcome(connection, name)


def fill(stack: KafkaStack, system: str, recording: Recording, part: slice) -> None:
    topics.send(stack.bootstrap, f"{system}.changes", [message[1:] for message in recording.messages[part]])


@pytest.fixture
def crew(stack: KafkaStack, store_dsn: str, tmp_path: Path) -> Iterator[Crew]:
    systems = ["share-a", "share-b", "share-c"]
    for system in systems:
        topics.make(stack.bootstrap, f"{system}.changes")
    text = "".join(kafka_system(system, stack.bootstrap, group="share") for system in systems)
    with Crew(tmp_path / "crew", store_dsn, text) as made:
        yield made


def test_systems_are_shared_and_taken_over(
    crew: Crew, stack: KafkaStack, store_dsn: str, recording: Recording
) -> None:
    systems = ["share-a", "share-b", "share-c"]
    size = len(recording.messages)
    for system in systems:
        fill(stack, system, recording, slice(0, 500))
    names = [crew.start() for _ in range(3)]
    crew.await_ready(*names)
    owners = crew.until(lambda: held if len(set((held := crew.owners()).values())) == 3 else None)
    assert set(owners) == set(systems)
    crew.until(lambda: set(positions(store_dsn, systems).values()) == {500})
    killed = owners["share-a"]
    crew.kill(killed)
    for system in systems:
        fill(stack, system, recording, slice(500, 900))
    crew.until(lambda: set(positions(store_dsn, systems).values()) == {900})
    # One that does not answer any more loses its systems, and commits nothing when it comes back.
    frozen = crew.owners()["share-b"]
    crew.workers[frozen].send_signal(signal.SIGSTOP)
    thawing = crew.workers.pop(frozen)
    for system in systems:
        fill(stack, system, recording, slice(900, size))
    crew.until(lambda: set(positions(store_dsn, systems).values()) == {size})
    thawing.send_signal(signal.SIGCONT)
    crew.workers[frozen] = thawing
    rejoined = crew.until(lambda: held if len(set((held := crew.owners()).values())) == 2 else None)
    assert set(rejoined) == set(systems)
    reference = clean_run(store_dsn, "share-reference", recording)
    with psycopg.connect(store_dsn, autocommit=True) as connection:
        for system in systems:
            assert outcome(connection, system) == reference
    assert crew.stop(frozen) == 0
