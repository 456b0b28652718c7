"""`arsync serve` on real topics, killed again and again while intents come in and events go out: the same result."""

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.app.test_serve import Processes
from tests.kafka_stack.stack import KafkaStack
from tests.on_kafka.ar_topics import Topics, fresh_topics

INTENTS = 300
KILLS = 4
SEED = 20261128


@pytest.fixture
def topics(stack: KafkaStack) -> Topics:
    return fresh_topics(stack)


@pytest.fixture
def processes(tmp_path: Path, topics: Topics, store_dsn: str) -> Iterator[Processes]:
    made = Processes(tmp_path, store_dsn, "killed")
    settings = "\n".join(f"{name} = {json.dumps(value)}" for name, value in topics.options.items())
    with (tmp_path / "arsync.toml").open("a") as file:
        file.write(f"[ar.kafka]\n{settings}\n")
    yield made
    made.stop()


def withdrawal(number: int) -> bytes:
    return json.dumps(
        {"kind": "withdraw", "id": f"w-{number}", "system": "killed", "customer": "7", "intent": "none"}
    ).encode()


def told(topics: Topics) -> dict[str, dict[str, Any]]:
    """Events by id."""
    return {dict(one.headers)["id"].decode(): json.loads(one.value) for one in topics.read("events")}


def test_kill_9_again_and_again(processes: Processes, topics: Topics) -> None:
    rng = random.Random(SEED)
    process, _ = processes.start("serve")
    sent = 0
    for _ in range(KILLS):
        part = INTENTS // KILLS
        topics.leave(*(withdrawal(number) for number in range(sent, sent + part)))
        sent += part
        time.sleep(rng.uniform(0.0, 1.5))
        process.kill()
        process.wait()
        process, _ = processes.start("serve")
    topics.leave(b"no json", withdrawal(0))
    until = time.monotonic() + 120
    while len(events := told(topics)) < INTENTS + 1:
        assert time.monotonic() < until, f"{len(events)} of {INTENTS + 1} events, seed {SEED}"
        time.sleep(0.5)
    processes.stop()
    ended = [one["data"]["intent"] for one in events.values() if one["kind"] == "intent.moved"]
    assert sorted(ended) == sorted(f"w-{number}" for number in range(INTENTS)), f"seed {SEED}"
    assert [one["kind"] for one in events.values()].count("intent.not_taken") == 1
    listed = json.loads(processes.call("intents", "list", "--system", "killed", "--json").stdout)
    assert {one["id"]: one["state"] for one in listed} == {f"w-{number}": "refused" for number in range(INTENTS)}
    repeats = len(topics.read("events")) - len(events)
    print(f"{KILLS} kills, {repeats} events published twice")
