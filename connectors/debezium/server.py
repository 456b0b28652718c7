"""The ERP's PostgreSQL server: connecting to it, its replication slot, its identity. Failures come as sentences."""

import time
from collections.abc import Iterator
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

    `reader` is the server process that reads it now. `kept` is how many bytes of log it makes the server keep, and
    `left` how many more it may, where the server has a bound.
    """

    confirmed: int
    restart: int
    lost: bool
    plugin: str | None
    database: str | None
    reader: int | None = None
    kept: int = 0
    left: int | None = None


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


def read_slot(server: psycopg.Connection[Any], name: str) -> Slot | None:
    """The slot as it is now; None when there is none of this name."""
    row = server.execute(
        "SELECT (confirmed_flush_lsn - '0/0')::bigint, (restart_lsn - '0/0')::bigint,"
        " coalesce(wal_status, '') = 'lost', plugin::text, database::text, active_pid,"
        " (pg_current_wal_lsn() - restart_lsn)::bigint, safe_wal_size"
        " FROM pg_replication_slots WHERE slot_name = %s",
        [name],
    ).fetchone()
    if row is None:
        return None
    return Slot(int(row[0] or 0), int(row[1] or 0), bool(row[2]), row[3], row[4], row[5], int(row[6] or 0), row[7])


def await_slot(server: psycopg.Connection[Any], name: str) -> Slot | None:
    """The slot once nobody reads it. Whoever has just been killed still seems to, for a moment."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        slot = read_slot(server, name)
        if slot is None or slot.reader is None:
            return slot
        if time.monotonic() > until:
            raise held_by_another(name, slot.reader)
        time.sleep(_LOOK_SECONDS)


def held_by_another(name: str, reader: int) -> SourceError:
    """Two cannot read one slot."""
    return SourceError(
        f"the replication slot {name} is being read by another program (server process {reader})",
        "end that one, or give this system another slot",
    )


def drop_slot(options: Options) -> None:
    """Drop the slot, so that the next snapshot and the stream after it meet without a gap."""
    with connection(options) as server:
        server.execute("SELECT pg_drop_replication_slot(%s)", [options.slot])


def identify(options: Options) -> tuple[str, str]:
    """The server's identity and timeline, by the very kind of connection that Debezium will use."""
    with (
        connection(options, replication="database", cursor_factory=ClientCursor) as server,
        server.cursor(row_factory=tuple_row) as cursor,
    ):
        row = cursor.execute("IDENTIFY_SYSTEM").fetchone()
        if row is None:
            raise SourceError(f"the ERP's PostgreSQL at {place(options)} does not tell its identity")
        return str(row[0]), str(row[1])


def one(server: psycopg.Connection[Any], query: LiteralString) -> tuple[Any, ...]:
    """The first row of an answer."""
    row = server.execute(query).fetchone()
    return tuple(row) if row is not None else (None,)


def _reason(error: psycopg.Error, options: Options) -> SourceRefused | SourceError:
    """The server's complaint, with what to do about it."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    login = f"{options.user} at {place(options)}, database {options.database}"
    if "permission denied to start WAL sender" in text or "must be superuser or replication role" in text:
        return SourceRefused(
            f"{options.user} may not replicate from {place(options)}",
            f'let an administrator run: ALTER ROLE "{options.user}" REPLICATION',
        )
    if "password authentication failed" in text:
        return SourceRefused(f"the ERP's PostgreSQL refuses the password of {login}", "correct source.password")
    if "pg_hba.conf" in text:
        return SourceRefused(f"the ERP's PostgreSQL has no pg_hba.conf line for {login}", "add one and reload it")
    if "does not exist" in text and "FATAL" in text:
        return SourceRefused(
            f"the ERP's PostgreSQL refuses {login}: {text}", "correct source.database or source.user"
        )
    return SourceError(f"the ERP's PostgreSQL does not serve {login}: {text}", "it is tried again")


def place(options: Options) -> str:
    """Host and port."""
    return f"{options.host}:{options.port}"


def quoted(name: str) -> str:
    """A name with its schema, as SQL wants it."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in name.split("."))
