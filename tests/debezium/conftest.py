"""One PostgreSQL for each file of tests that needs one, and a database for each test."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.store.embedded import Cluster
from tests.debezium.erp import PASSWORD, ROLE, Erp


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("postgres")
    with Cluster(folder, settings={"wal_level": "logical", "fsync": "off"}) as started:
        started.ensure_role(ROLE, password=PASSWORD, replication=True)
        started.ensure_role("guest", password=PASSWORD)
        yield started


@pytest.fixture
def erp(cluster: Cluster, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Erp]:
    made = Erp(cluster, f"db{abs(hash(request.node.name)) % 10**9}", tmp_path / "source")
    yield made
    # A slot that nobody reads would keep the log, and its database.
    until = time.monotonic() + 10
    while made.ask("SELECT count(*) FROM pg_replication_slots WHERE active AND database = current_database()"):
        assert time.monotonic() < until
        time.sleep(0.1)
    made.ask(
        "SELECT count(pg_drop_replication_slot(slot_name)) FROM pg_replication_slots"
        " WHERE database = current_database()"
    )
