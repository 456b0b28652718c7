"""A PostgreSQL with a migrated store, for the session's tests or for those that take it away from under arsync."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.store import schema
from engine.store.embedded import Cluster

DATABASE = "arsync"
_DAEMON, _PASSWORD = "arsync_daemon", "only-for-tests"


@contextmanager
def migrated_store(folder: Path) -> Iterator[Cluster]:
    """The server, for the time of the block; its data are in `folder`."""
    with Cluster(folder, settings={"fsync": "off"}) as cluster:
        cluster.ensure_database(DATABASE)
        cluster.ensure_role(_DAEMON, password=_PASSWORD)
        schema.migrate(cluster.dsn(DATABASE), _DAEMON)
        yield cluster


def daemon_dsn(cluster: Cluster) -> str:
    """Its store as the daemon's role."""
    return cluster.dsn(DATABASE, user=_DAEMON, password=_PASSWORD)
