"""Asks the ERP's server, before Debezium starts, whether reading can work and whether nothing was lost.

`connectors.debezium.embedded` calls it at each opening. Every refusal names its remedy; without these questions
Debezium would fail a few seconds later, or worse, go on and skip what is gone.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, LiteralString

import msgspec
import psycopg
from psycopg import ClientCursor
from psycopg.rows import tuple_row

from connectors.debezium.settings import Options
from engine.ports.errors import SourceError, SourceRefused

BUSY_SECONDS: Final = 20.0
_LOOK_SECONDS: Final = 0.1
_CONNECT_SECONDS: Final = 10


class Slot(msgspec.Struct, frozen=True):
    """A replication slot. `confirmed` is the log position up to which the server may forget changes,
    `restart` where the oldest transaction begins that it may still have to send.
    """

    confirmed: int
    restart: int
    lost: bool
    plugin: str | None
    database: str | None


class Server(msgspec.Struct, frozen=True):
    """What was found: the identity of the server's log, its end now, and the slot, if it is there."""

    epoch: str
    end: int
    slot: Slot | None
    publication_mode: str


def inspect(options: Options, tables: Sequence[str]) -> Server:
    """Look at everything. SourceRefused when it cannot work; SourceError when it may work later."""
    slot = str(options.slot)
    with connection(options) as server:
        level = _one(server, "SHOW wal_level")[0]
        if level != "logical":
            raise SourceRefused(
                f"the ERP's PostgreSQL at {_place(options)} has wal_level={level}; set wal_level=logical in its "
                "postgresql.conf and restart it"
            )
        _check_tables(server, options, tables)
        mode = _publication_mode(server, options, tables)
        system, timeline = _identify(options)
        end = _one(server, "SELECT (pg_current_wal_lsn() - '0/0')::bigint")[0]
        return Server(f"pg:{system}:{timeline}:{slot}", int(end), await_slot(server, slot), mode)


@contextmanager
def connection(options: Options, **more: Any) -> Iterator[psycopg.Connection[Any]]:
    """A connection to the ERP's database, its failures turned into sentences."""
    try:
        with psycopg.connect(
            host=options.host,
            port=options.port,
            dbname=options.database,
            user=options.user,
            password=options.password,
            sslmode=options.sslmode,
            connect_timeout=_CONNECT_SECONDS,
            application_name="arsync",
            autocommit=True,
            **more,
        ) as opened:
            yield opened
    except psycopg.Error as error:
        raise _reason(error, options) from error


def await_slot(server: psycopg.Connection[Any], name: str) -> Slot | None:
    """The slot once nobody reads it. Whoever has just been killed still seems to, for a moment."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        row = server.execute(
            "SELECT (confirmed_flush_lsn - '0/0')::bigint, (restart_lsn - '0/0')::bigint,"
            " coalesce(wal_status, '') = 'lost', plugin::text, database::text, active_pid"
            " FROM pg_replication_slots WHERE slot_name = %s",
            [name],
        ).fetchone()
        if row is None:
            return None
        if row[5] is None:
            return Slot(int(row[0] or 0), int(row[1] or 0), bool(row[2]), row[3], row[4])
        if time.monotonic() > until:
            raise SourceError(
                f"the replication slot {name} is being read by another program (server process {row[5]}); "
                "end that one, or give this system another slot"
            )
        time.sleep(_LOOK_SECONDS)


def drop_slot(options: Options) -> None:
    """Drop the slot, so that the next snapshot and the stream after it meet without a gap."""
    with connection(options) as server:
        server.execute("SELECT pg_drop_replication_slot(%s)", [options.slot])


def _identify(options: Options) -> tuple[str, str]:
    """The server's identity and timeline, by the very kind of connection that Debezium will use."""
    with (
        connection(options, replication="database", cursor_factory=ClientCursor) as server,
        server.cursor(row_factory=tuple_row) as cursor,
    ):
        row = cursor.execute("IDENTIFY_SYSTEM").fetchone()
        if row is None:
            raise SourceError(f"the ERP's PostgreSQL at {_place(options)} does not tell its identity")
        return str(row[0]), str(row[1])


def _check_tables(server: psycopg.Connection[Any], options: Options, tables: Sequence[str]) -> None:
    for table in tables:
        schema, _, name = table.rpartition(".")
        row = server.execute(
            "SELECT has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'),"
            " EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)"
            " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p')",
            [schema or "public", name],
        ).fetchone()
        if row is None:
            raise SourceRefused(
                f"the table {table} is not in the database {options.database} of {_place(options)}; correct "
                "source.database, or install the ERP's module that brings it"
            )
        if not row[0]:
            raise SourceRefused(
                f'{options.user} may not read {table}; run: GRANT SELECT ON {_quoted(table)} TO "{options.user}"'
            )
        if not row[1] and "message.key.columns" not in options.properties:
            raise SourceRefused(
                f"the table {table} has no primary key, so its rows cannot be told apart; give it one, or name its "
                "columns in source.properties as message.key.columns"
            )


def _publication_mode(server: psycopg.Connection[Any], options: Options, tables: Sequence[str]) -> str:
    """`filtered` lets Debezium make the publication or fit it; `disabled` takes the one that somebody else made."""
    name = str(options.publication)
    row = server.execute(
        "SELECT pg_has_role(pubowner, 'USAGE') FROM pg_publication WHERE pubname = %s", [name]
    ).fetchone()
    owned = _owned(server)
    foreign = [table for table in tables if table not in owned]
    statement = f"CREATE PUBLICATION {_quoted(name)} FOR TABLE {', '.join(map(_quoted, tables))}"
    if row is None:
        may = _one(server, "SELECT has_database_privilege(current_database(), 'CREATE')")[0]
        if may and not foreign:
            return "filtered"
        why = f"it does not own {', '.join(foreign)}" if foreign else "it lacks the right CREATE on the database"
        raise SourceRefused(
            f"{options.user} cannot make the publication {name}: {why}; let the owner run: {statement}"
        )
    if row[0] and not foreign:
        return "filtered"
    held = server.execute(
        "SELECT schemaname || '.' || tablename FROM pg_publication_tables WHERE pubname = %s", [name]
    ).fetchall()
    missing = sorted(set(tables) - {one for (one,) in held})
    if missing:
        raise SourceRefused(
            f"the publication {name} lacks {', '.join(missing)}; let its owner run: "
            f"ALTER PUBLICATION {_quoted(name)} ADD TABLE {', '.join(map(_quoted, missing))}"
        )
    return "disabled"


def _owned(server: psycopg.Connection[Any]) -> set[str]:
    rows = server.execute(
        "SELECT schemaname || '.' || tablename FROM pg_tables WHERE pg_has_role(tableowner::name, 'USAGE')"
    )
    return {name for (name,) in rows}


def _one(server: psycopg.Connection[Any], query: LiteralString) -> tuple[Any, ...]:
    row = server.execute(query).fetchone()
    return tuple(row) if row is not None else (None,)


def _reason(error: psycopg.Error, options: Options) -> SourceRefused | SourceError:
    """The server's complaint, with what to do about it."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    place = f"{options.user} at {_place(options)}, database {options.database}"
    if "permission denied to start WAL sender" in text or "must be superuser or replication role" in text:
        return SourceRefused(
            f"{options.user} may not replicate from {_place(options)}; let an administrator run: "
            f'ALTER ROLE "{options.user}" REPLICATION'
        )
    if "password authentication failed" in text:
        return SourceRefused(f"the ERP's PostgreSQL refuses the password of {place}; correct source.password")
    if "pg_hba.conf" in text:
        return SourceRefused(f"the ERP's PostgreSQL has no pg_hba.conf line for {place}; add one and reload it")
    if "does not exist" in text and "FATAL" in text:
        return SourceRefused(f"the ERP's PostgreSQL refuses {place}: {text}; correct source.database or source.user")
    return SourceError(f"the ERP's PostgreSQL does not serve {place}: {text}; it is tried again")


def _place(options: Options) -> str:
    return f"{options.host}:{options.port}"


def _quoted(name: str) -> str:
    return ".".join('"' + part.replace('"', '""') + '"' for part in name.split("."))
