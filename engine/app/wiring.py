"""Puts the parts together: opens the store of a configuration, embedded or not, and hands out connections."""

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from engine.app.config import Config, StoreConfig
from engine.ports.errors import ConfigError
from engine.store.unit import Connection

_DATABASE = "arsync"
_DAEMON = "arsync_daemon"


class OpenStore:
    """A store that can be reached: the daemon's address and, for migrations, the owner's."""

    def __init__(self, dsn: str, owner_dsn: str, daemon_user: str | None) -> None:
        self.dsn = dsn
        self.owner_dsn = owner_dsn
        self.daemon_user = daemon_user

    def connect(self) -> Connection:
        """A connection as the daemon's role."""
        return psycopg.connect(self.dsn, autocommit=True, application_name="arsync")


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
    from engine.store.embedded import Cluster

    home = folder / config.store.folder
    fresh = not (home / "postgres").exists()
    home.mkdir(parents=True, exist_ok=True)
    cluster = Cluster(home / "postgres")
    started_here = not cluster.running
    cluster.start()
    try:
        password = daemon_password(home)
        if started_here:
            cluster.ensure_database(_DATABASE)
            cluster.ensure_role(_DAEMON, password=password)
        opened = OpenStore(cluster.dsn(_DATABASE, user=_DAEMON, password=password), cluster.dsn(_DATABASE), _DAEMON)
        _prepare(opened, migrate=migrate, fresh=fresh)
        yield opened
    finally:
        # Whoever started it stops it, unless somebody else works with it by now.
        if started_here and not _others(cluster.dsn(_DATABASE)):
            cluster.stop()


def daemon_password(home: Path) -> str:
    """The daemon role's password, made once and kept in a file that only its owner reads."""
    import secrets

    file = home / "daemon.password"
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(24), encoding="utf-8")
    return file.read_text(encoding="utf-8")


def now() -> dt.datetime:
    """The one clock of the application."""
    return dt.datetime.now(dt.UTC)


def _prepare(opened: OpenStore, *, migrate: bool | None, fresh: bool) -> None:
    from engine.store import schema

    if migrate or (migrate is None and fresh):
        schema.migrate(opened.owner_dsn, opened.daemon_user)
    elif migrate is None:
        try:
            schema.require_current(opened.dsn)
        except psycopg.OperationalError as error:
            raise ConfigError(f"the store cannot be reached: {error}") from None


def _user(store: StoreConfig) -> str | None:
    from urllib.parse import urlsplit

    return urlsplit(store.dsn).username if store.dsn else None


def _others(dsn: str) -> bool:
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute(
            """SELECT count(*) FROM pg_stat_activity
               WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND application_name = 'arsync'"""
        ).fetchone()
    return bool(row and row[0])


def enter_system(connection: Connection, name: str, connector: str) -> None:
    """Make a system known to the store; one that is known already stays as it is."""
    connection.execute(
        "INSERT INTO system (name, connector, batch) VALUES (%s, %s, 0) ON CONFLICT (name) DO NOTHING",
        (name, connector),
    )
