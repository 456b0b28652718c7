"""At which revision the tables are, and which one this version needs: asked at every start, so without Alembic.

`engine.store.schema` brings them up. A test holds what is said here to what Alembic says.
"""

from pathlib import Path

import psycopg

_VERSIONS = Path(__file__).parent / "migrations" / "versions"


class SchemaOutdatedError(RuntimeError):
    """The store's tables are older or newer than this version of arsync; `arsync migrate` brings them up."""


def needed() -> str:
    """The newest revision: files are named by it, and the numbers rise."""
    return max(file.name.split("_")[0] for file in _VERSIONS.glob("[0-9]*_*.py"))


def revision(dsn: str) -> str | None:
    """The revision that the tables are at; None for an empty database.

    Raises:
        psycopg.OperationalError: the server does not answer.
    """
    with psycopg.connect(dsn) as connection:
        table = connection.execute("SELECT to_regclass('alembic_version') IS NOT NULL").fetchone()
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone() if table and table[0] else None
    return str(row[0]) if row else None


def require_current(dsn: str) -> None:
    """Refuse to work on tables of another version.

    Raises:
        SchemaOutdatedError: with the revision found and the one needed.
    """
    found, wanted = revision(dsn), needed()
    if found != wanted:
        raise SchemaOutdatedError(
            f"the store's tables are at revision {found or 'none'}, this version of arsync needs {wanted}; "
            "run `arsync migrate`, then start again"
        )
