"""Creates and upgrades the store's tables, and says whether they are as this version needs them.

`arsync migrate` calls `migrate`; the daemon calls `require_current` and touches nothing.
"""

from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import OperationalError as SqlAlchemyOperationalError
from sqlmodel import SQLModel

from engine.store import tables  # noqa: F401 - its classes are the metadata that migrations are held against

_APPEND_ONLY = ("journal", "checkpoint", "checkpoint_record")


class SchemaOutdatedError(RuntimeError):
    """The store's tables are older or newer than this version of arsync; `arsync migrate` brings them up."""


def sqlalchemy_url(dsn: str) -> str:
    """The same address with the driver that is installed."""
    return "postgresql+psycopg://" + dsn.split("://", 1)[1]


def migrate(owner_dsn: str, daemon_user: str | None) -> list[str]:
    """Bring the tables up to date and grant the daemon what it may do: everything but changing the journal.

    Returns the revisions that were applied, oldest first. Nothing is done twice.
    """
    from alembic import command

    engine = create_engine(sqlalchemy_url(owner_dsn))
    try:
        with engine.begin() as connection:
            before = _revision(connection)
            config = _config()
            config.attributes["connection"] = connection
            config.attributes["metadata"] = SQLModel.metadata
            command.upgrade(config, "head")
            after = _revision(connection)
            if daemon_user is not None and daemon_user != urlsplit(owner_dsn).username:
                _grant(connection, daemon_user)
        script = ScriptDirectory.from_config(config)
        steps = script.iterate_revisions(after, before) if after != before else ()
        return [str(step.revision) for step in reversed(list(steps))]
    finally:
        engine.dispose()


def require_current(dsn: str) -> None:
    """Refuse to work on tables of another version.

    Raises:
        SchemaOutdatedError: with the revision found and the one needed.
    """
    found = revision(dsn)
    needed = ScriptDirectory.from_config(_config()).get_current_head()
    if found != needed:
        raise SchemaOutdatedError(
            f"the store's tables are at revision {found or 'none'}, this version of arsync needs {needed}; "
            "run `arsync migrate`, then start again"
        )


def revision(dsn: str) -> str | None:
    """The revision that the tables are at; None for an empty database.

    Raises:
        psycopg.OperationalError: the server does not answer.
    """
    engine = create_engine(sqlalchemy_url(dsn))
    try:
        with engine.connect() as connection:
            return _revision(connection)
    except SqlAlchemyOperationalError as error:
        raise psycopg.OperationalError(str(error.orig)) from None
    finally:
        engine.dispose()


def _grant(connection: Connection, user: str) -> None:
    role = sql.Identifier(user).as_string(None)
    connection.execute(text(f"GRANT USAGE ON SCHEMA public TO {role}"))
    connection.execute(text(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}"))
    connection.execute(text(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}"))
    for table in _APPEND_ONLY:
        connection.execute(text(f"REVOKE UPDATE, DELETE, TRUNCATE ON {table} FROM {role}"))


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config
