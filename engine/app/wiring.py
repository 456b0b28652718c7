"""Puts the parts together: opens the store of a configuration, embedded or not, and hands out connections."""

import datetime as dt
import fcntl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import psycopg
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_fixed

from engine.app.config import Config, StoreConfig
from engine.ports.errors import ConfigError
from engine.store.unit import Connection

if TYPE_CHECKING:
    from engine.flow.intake import Door
    from engine.store.embedded import Cluster

_DATABASE = "arsync"
_DAEMON = "arsync_daemon"
_STARTS = 5


class OpenStore:
    """A store that can be reached: the daemon's address and, for migrations, the owner's."""

    def __init__(
        self, dsn: str, owner_dsn: str, daemon_user: str | None, revive: Callable[[], None] | None = None
    ) -> None:
        """`revive` starts a server of ours again that has died."""
        self.dsn = dsn
        self.owner_dsn = owner_dsn
        self.daemon_user = daemon_user
        self._revive = revive
        self._marks: Callable[[Connection], Connection] = lambda connection: connection
        self._lock = threading.Lock()

    def fenced(self, system: str, fence: int) -> "OpenStore":
        """The same store, for the worker that has taken this system over: its connections commit under this fence."""
        from engine.store.exclusive import fenced

        own = OpenStore(self.dsn, self.owner_dsn, self.daemon_user, self._revive)
        own._lock = self._lock
        own._marks = lambda connection: fenced(connection, system, fence)
        return own

    @property
    def revives(self) -> bool:
        """Whether its server is ours to start again."""
        return self._revive is not None

    def connect(self) -> Connection:
        """A connection as the daemon's role."""
        try:
            return self._connect()
        except psycopg.OperationalError:
            if self._revive is None:
                raise
        with self._lock:
            self._revive()
        return self._connect()

    def _connect(self) -> Connection:
        return self._marks(psycopg.connect(self.dsn, autocommit=True, application_name="arsync"))


@contextmanager
def open_store(config: Config, folder: Path, *, migrate: bool | None = None) -> Iterator[OpenStore]:
    """Open the configured store, starting the embedded PostgreSQL for the time being when it is not running.

    Args:
        config: the configuration.
        folder: where its relative paths start.
        migrate: True brings the tables up to date first, False refuses nothing, None refuses older tables, but
            makes those of an embedded store that is new.
    """
    if config.store.dsn is not None:
        opened = OpenStore(config.store.dsn, config.store.owner_dsn or config.store.dsn, _user(config.store))
        _prepare(opened, migrate=migrate, fresh=False)
        yield opened
        return
    home = folder / config.store.folder
    home.mkdir(parents=True, exist_ok=True)
    with _in_use(home) as users:
        try:
            yield _embedded(home, migrate=migrate)
        finally:
            users.stop_if_last(lambda: _cluster(home).stop())


def _embedded(home: Path, *, migrate: bool | None) -> OpenStore:
    """Start the folder's own PostgreSQL, or join the one that runs. Its first tables are made at once.

    One that dies in the middle of this is started again.
    """
    cluster = _cluster(home)
    for attempt in Retrying(
        retry=retry_if_exception_type(psycopg.OperationalError),
        stop=stop_after_attempt(_STARTS),
        wait=wait_fixed(0.2),
        reraise=True,
    ):
        with attempt:
            return _joined(home, cluster, migrate=migrate)
    raise AssertionError("unreachable")


def _joined(home: Path, cluster: "Cluster", *, migrate: bool | None) -> OpenStore:
    cluster.start()
    password = daemon_password(home)
    complete = home / "tables-made"
    if not complete.exists():
        cluster.ensure_database(_DATABASE)
        cluster.ensure_role(_DAEMON, password=password)
    dsn = cluster.dsn(_DATABASE, user=_DAEMON, password=password)
    opened = OpenStore(dsn, cluster.dsn(_DATABASE), _DAEMON, revive=lambda: _revive(cluster))
    _prepare(opened, migrate=migrate, fresh=not complete.exists())
    complete.touch()
    return opened


def _revive(cluster: "Cluster") -> None:
    """Start the server again. When that fails, it is away like any server, and is tried again later."""
    from engine.store.embedded import EmbeddedUnavailable

    try:
        cluster.start()
    except EmbeddedUnavailable as error:
        raise psycopg.OperationalError(str(error)) from None


def _cluster(home: Path) -> "Cluster":
    from engine.store.embedded import Cluster

    return Cluster(home / "postgres")


class _Users:
    """Who works with an embedded store: each holds a shared lock on a file, given back by the kernel when it dies."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def stop_if_last(self, stop: Callable[[], None]) -> None:
        """Stop the server when nobody else uses it; whoever comes meanwhile waits, and starts it again."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        stop()


@contextmanager
def _in_use(home: Path) -> Iterator[_Users]:
    with (home / "users.lock").open("ab") as file:
        if not (home / "tables-made").exists():
            # One alone makes the first tables; `with` gives the lock back in any case.
            fcntl.flock(file, fcntl.LOCK_EX)
            _embedded(home, migrate=True)
        fcntl.flock(file, fcntl.LOCK_SH)
        yield _Users(file)


def daemon_password(home: Path) -> str:
    """The daemon role's password, made once and kept in a file that only its owner reads."""
    import secrets

    file = home / "daemon.password"
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(24), encoding="utf-8")
    return file.read_text(encoding="utf-8")


def source_folder(config: Config, folder: Path, system: str) -> Path:
    """Where a system's source keeps caches and logs."""
    return folder / config.store.folder / "sources" / system


def now() -> dt.datetime:
    """The one clock of the application."""
    return dt.datetime.now(dt.UTC)


def _prepare(opened: OpenStore, *, migrate: bool | None, fresh: bool) -> None:
    if migrate or (migrate is None and fresh):
        from engine.store import schema

        schema.migrate(opened.owner_dsn, opened.daemon_user)
    elif migrate is None:
        from engine.store.revision import require_current

        try:
            require_current(opened.dsn)
        except psycopg.OperationalError as error:
            if opened.revives:
                raise
            raise ConfigError(f"the store cannot be reached: {error}", "see that its server runs") from None


def _user(store: StoreConfig) -> str | None:
    from urllib.parse import urlsplit

    return urlsplit(store.dsn).username if store.dsn else None


def open_doors(connection: Connection, config: Config) -> dict[str, "Door"]:
    """For every configured system by what its intents are decided on; the systems are entered in the store.

    Without a configured system that is the only installed connector's.
    """
    from engine.app import registry
    from engine.app.config import SystemConfig, policy_of
    from engine.flow.intake import Door

    systems = dict(config.systems)
    installed = registry.names(registry.CONNECTORS)
    if not systems and len(installed) == 1:
        systems = {installed[0]: SystemConfig(connector=installed[0])}
    doors = {}
    for name, chosen in systems.items():
        enter_system(connection, name, chosen.connector)
        doors[name] = Door(policy_of(chosen), {"mapping": registry.connector(chosen.connector).mapping.version})
    return doors


def enter_system(connection: Connection, name: str, connector: str) -> None:
    """Make a system known to the store; one that is known already stays as it is."""
    connection.execute(
        "INSERT INTO system (name, connector, batch) VALUES (%s, %s, 0) ON CONFLICT (name) DO NOTHING",
        (name, connector),
    )
