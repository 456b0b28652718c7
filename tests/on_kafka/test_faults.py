"""Everything between an ERP and the store is killed and restarted at random moments, and nothing shows for it.

The changes go the real way: two ERPs' databases, Debezium in Connect, Kafka, two to four workers, the store. Whatever
happens, the result is that of one clean run: the same rows and documents, led there by the same steps. Each round's
seed is printed; `ARSYNC_SEED` plays one again. `make prove` has ten rounds, 200 faults.
"""

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from connectors.debezium.envelope import decode
from connectors.tryton.mapping import TrytonMapping
from engine.model.change import RowChange
from engine.store.embedded import Cluster
from tests.flow.test_capture_runs_through import outcome
from tests.kafka_stack.broker import Broker
from tests.kafka_stack.connect import Connect
from tests.kafka_stack.jars import jars
from tests.kafka_stack.program import free_ports
from tests.kafka_stack.stack import require_stack
from tests.on_kafka import topics
from tests.on_kafka.crew import Crew, kafka_system, positions
from tests.on_kafka.recorded import PASSWORD, ROLE, RecordedErp, Recording
from tests.on_kafka.test_connect_to_worker import capture_section, steps
from tests.on_kafka.test_workers import clean_run
from tests.on_kafka.trouble import Life, Servers, Trouble
from tests.stores import daemon_dsn, migrated_store

pytestmark = [pytest.mark.live, pytest.mark.long]

FAULTS = 20
"""In one round."""
EXCLUDED = {spec.name: spec.excluded for spec in TrytonMapping().tables}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """This file's own, for nobody else would bear what happens to them."""
    require_stack(connect=True)
    store, erps = (folder_with_a_port(tmp_path_factory.mktemp(name)) for name in ("store", "erps"))
    logical = {"wal_level": "logical", "fsync": "off"}
    kafka = tmp_path_factory.mktemp("kafka")
    # Connect stores seldom how far it is, so that one that was killed tells much again.
    seldom = {"offset.flush.interval.ms": "5000"}
    with (
        migrated_store(store) as store_server,
        Cluster(erps, settings=logical) as erps_server,
        Broker(kafka / "broker", jars(), heap="768m", for_speed=False) as broker,
        Connect(
            kafka / "connect", jars(), broker.bootstrap, heap="768m", for_speed=False, settings=seldom
        ) as connect,
    ):
        erps_server.ensure_role(ROLE, password=PASSWORD, replication=True)
        yield Servers(broker, connect, store_server, erps_server)


def folder_with_a_port(folder: Path) -> Path:
    """A server that is started in this folder keeps a port that is free whenever it comes back."""
    (folder / "port").write_text(str(free_ports(1)[0]))
    return folder


@pytest.fixture(scope="module")
def recording(shared: Path) -> Recording:
    return Recording(shared / "events.jsonl")


@pytest.fixture(scope="module")
def reference(servers: Servers, recording: Recording) -> dict[str, Any]:
    """What one run without any trouble leaves."""
    clean_run(daemon_dsn(servers.store), "reference", recording)
    return left(servers, "reference")


def left(servers: Servers, system: str) -> dict[str, Any]:
    """All that was made of a system's changes."""
    with psycopg.connect(daemon_dsn(servers.store), autocommit=True) as connection:
        rows = connection.execute("SELECT tbl, key, row FROM mirror WHERE system = %s AND NOT deleted", [system])
        return {**steps(outcome(connection, system)), "rows": {(t, key): captured(t, row) for t, key, row in rows}}


def captured(table: str, row: dict[str, Any]) -> dict[str, Any]:
    """A row without the columns that arsync leaves out of the capture; the recording holds them."""
    return {name: value for name, value in row.items() if name not in EXCLUDED[table]}


@pytest.mark.parametrize("rounds", [1, pytest.param(10, marks=pytest.mark.prove)])
def test_whatever_is_killed_or_restarted_the_result_is_that_of_a_clean_run(
    rounds: int, servers: Servers, recording: Recording, reference: dict[str, Any], tmp_path: Path
) -> None:
    first = int(os.environ.get("ARSYNC_SEED") or random.randrange(1 << 32))
    for seed in range(first, first + rounds):
        print(f"seed {seed}")
        play_round(seed, servers, recording, reference, tmp_path / str(seed))


def play_round(seed: int, servers: Servers, recording: Recording, reference: dict[str, Any], folder: Path) -> None:
    """Two new systems live their lives while faults happen."""
    group = f"faults-{seed:x}"
    erps = {name: RecordedErp(servers.erps, name, recording) for name in (f"{group}-a", f"{group}-b")}
    lives = {name: Life(erp, f"{seed} {name}") for name, erp in erps.items()}
    text = "".join(
        kafka_system(name, servers.broker.bootstrap, group=group) + capture_section(name, erp, servers.connect.url)
        for name, erp in erps.items()
    )
    with Crew(folder, daemon_dsn(servers.store), text) as crew:
        for name in erps:
            crew.arsync("connect-config", name, "--apply", "-")
            servers.connect.await_running(name)
        crew.await_ready(*(crew.start() for _ in range(3)))
        # A snapshot that is taken once more, because Connect had not stored that it was taken, would hold later rows.
        await_told(crew, erps)
        for life in lives.values():
            life.start()
        Trouble(servers, crew, group, lives, random.Random(seed)).happen(FAULTS)
        for life in lives.values():
            life.join(60)
            assert not life.is_alive()
        await_read(crew, servers, erps)
        assert {crew.stop(name) for name in list(crew.workers)} == {0}
        for name in erps:
            assert left(servers, name) == reference, f"seed {seed}, {name}"
        crew.arsync("replay", "verify")
    for name, erp in erps.items():
        servers.connect.delete(name)
        erp.forget_reader()


def await_told(crew: Crew, erps: dict[str, RecordedErp]) -> None:
    """Until all that the ERPs have done stands in Kafka, and Connect has stored that it does."""
    for erp in erps.values():
        end = erp.log_end()
        crew.until(lambda erp=erp, end=end: erp.is_told(end))  # type: ignore[misc]


def await_read(crew: Crew, servers: Servers, erps: dict[str, RecordedErp]) -> None:
    """Until all that the ERPs have done is in the store, and every system is in somebody's hands."""
    servers.broker.await_serving()
    servers.connect.await_serving()
    for name in erps:
        servers.connect.restart_failed(name)
        servers.connect.await_running(name)
    await_told(crew, erps)
    ends = {}
    for name in erps:
        told = topics.read(servers.broker.bootstrap, f"{name}.changes")
        ends[name] = len(told)
        changes = [change for message in told if isinstance(change := decode(name, *message), RowChange)]
        different = {(change.table, change.key, change.lsn, change.op) for change in changes}
        print(f"{name}: {len(changes)} changes, {len(changes) - len(different)} of them again")
    crew.until(lambda: all(at >= ends[name] for name, at in positions(crew.dsn, list(erps)).items()))
    crew.until(lambda: set(crew.owners()) == set(erps))
