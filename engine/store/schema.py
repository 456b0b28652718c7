"""Creates and upgrades the store's tables.

`arsync migrate` calls `migrate`; who only needs to know how they are asks `engine.store.revision`.
"""

from pathlib import Path
from urllib.parse import urlsplit

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import Connection, create_engine, text
from sqlmodel import SQLModel

from engine.store import tables  # noqa: F401 - its classes are the metadata that migrations are held against
from engine.store.revision import SchemaOutdatedError, require_current, revision

__all__ = ["SchemaOutdatedError", "migrate", "require_current", "revision", "sqlalchemy_url"]
_APPEND_ONLY = ("journal", "checkpoint", "checkpoint_record")


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
