"""PostgreSQL, Connect as `arsync connect-config` sets it up, Kafka, arsync: the ERP's life as it was recorded."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from engine.store.embedded import Cluster
from tests.flow.test_capture_runs_through import outcome
from tests.kafka_stack.stack import KafkaStack, require_stack
from tests.on_kafka.crew import Crew, kafka_system, positions
from tests.on_kafka.recorded import PASSWORD, ROLE, RecordedErp, Recording
from tests.on_kafka.test_workers import clean_run

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    require_stack(connect=True)
    folder = tmp_path_factory.mktemp("erp")
    with Cluster(folder, settings={"wal_level": "logical", "fsync": "off"}) as started:
        started.ensure_role(ROLE, password=PASSWORD, replication=True)
        yield started


def capture_section(system: str, erp: RecordedErp, connect: str) -> str:
    settings = {"connect": connect, "host": erp.host, "port": erp.port, "database": erp.name, "user": ROLE,
                "password_env": "ERP_PASSWORD", "heartbeat_seconds": 1}  # fmt: skip
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    return f"[systems.{system}.source.capture]\n" + "\n".join(lines) + "\n"


def steps(held: dict[str, Any]) -> dict[str, Any]:
    """Everything but the numbers of transactions, which this server gave anew."""
    lives = {key: [step[:3] for step in life] for key, life in held["steps"].items()}
    return {**held, "steps": lives}


def test_the_recorded_life_through_connect_and_kafka(
    stack: KafkaStack, server: Cluster, store_dsn: str, shared: Path, tmp_path: Path
) -> None:
    recording = Recording(shared / "events.jsonl")
    system = "captured"
    erp = RecordedErp(server, system, recording)
    text = kafka_system(system, stack.bootstrap, group="captured") + capture_section(system, erp, stack.connect.url)
    with Crew(tmp_path / "crew", store_dsn, text) as crew:
        assert "there is no connector captured" in crew.arsync("check", system, code=1)
        shown = json.loads(crew.arsync("connect-config", system))
        assert PASSWORD not in json.dumps(shown)
        assert crew.arsync("connect-config", system, "--apply", "-").startswith("connector captured created")
        stack.connect.await_running(system)
        name = crew.start()
        crew.await_ready(name)
        found = crew.arsync("check", system)
        assert "captured runs as `arsync connect-config` prints it" in found
        erp.play()
        reference = steps(clean_run(store_dsn, "captured-reference", recording))
        with psycopg.connect(store_dsn, autocommit=True) as connection:
            crew.until(lambda: steps(outcome(connection, system))["invoices"] == reference["invoices"])
            assert steps(outcome(connection, system)) == reference
        assert positions(store_dsn, [system])[system] > len(recording.snapshot)
        # Somebody has turned a knob at Connect; check says which, and applying again mends it.
        url = f"{stack.connect.url}/connectors/{system}/config"
        config = httpx.get(url, timeout=30).json()
        httpx.put(url, json=config | {"decimal.handling.mode": "double"}, timeout=60)
        assert re.search(r"decimal\.handling\.mode is 'double', should be 'string'", crew.arsync("check", system))
        assert crew.arsync("connect-config", system, "--apply", "-").startswith("connector captured updated")
        stack.connect.delete(system)
