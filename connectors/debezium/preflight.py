"""Asks the ERP's server, before Debezium starts, whether reading can work.

`connectors.debezium.embedded` calls it at each opening, and `connectors.debezium.checking` for `arsync check`. Every
refusal names its remedy; without these questions Debezium would fail a few seconds later, or worse, go on and skip
what is gone.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import psycopg

from connectors.debezium.server import Slot, await_slot, connection, identify, one, place, quoted
from connectors.debezium.settings import Options
from engine.ports.errors import SourceRefused
from engine.ports.finding import Finding, Grade

_FULL = "REPLICA IDENTITY FULL"
_WITH_ROW_FILTERS = 150_000
_LEFT_OUT = (
    "for what was left out while this was read, take a new snapshot (`arsync run --new-epoch`); before, let the "
    "publication's owner run: "
)


class Server(msgspec.Struct, frozen=True):
    """What was found: the identity of the server's log, its end now, and the slot, if it is there."""

    epoch: str
    end: int
    slot: Slot | None
    publication_mode: str


def inspect(options: Options, tables: Sequence[str]) -> Server:
    """Look at everything. SourceRefused when it cannot work; SourceError when it may work later."""
    with connection(options) as server:
        for finding in set_up(server, options, tables):
            if finding.grade is Grade.ERROR:
                raise SourceRefused(finding.detail, finding.fix)
        mode = publication_mode(server, options, tables)
        epoch, end = whereabouts(server, options)
        return Server(epoch, end, await_slot(server, str(options.slot)), mode)


def whereabouts(server: psycopg.Connection[Any], options: Options) -> tuple[str, int]:
    """The epoch that positions in the server's log belong to, and where the log ends now."""
    system, timeline = identify(options)
    end = one(server, "SELECT (pg_current_wal_lsn() - '0/0')::bigint")[0]
    return f"pg:{system}:{timeline}:{options.slot}", int(end)


def set_up(server: psycopg.Connection[Any], options: Options, tables: Sequence[str]) -> Iterator[Finding]:
    """How the server and the tables are set up, point by point."""
    yield _level(server, options)
    for table in tables:
        yield _table(server, options, table)


def _level(server: psycopg.Connection[Any], options: Options) -> Finding:
    level = one(server, "SHOW wal_level")[0]
    if level == "logical":
        return Finding.well("wal_level", level)
    return Finding.error(
        "wal_level",
        f"the ERP's PostgreSQL at {place(options)} has wal_level={level}",
        "set wal_level=logical in its postgresql.conf and restart it",
    )


def _table(server: psycopg.Connection[Any], options: Options, table: str) -> Finding:
    schema, _, name = table.rpartition(".")
    row = server.execute(
        "SELECT has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'),"
        " EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary), c.relreplident::text"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE n.nspname = %s AND c.relname = %s AND c.relkind IN ('r', 'p')",
        [schema or "public", name],
    ).fetchone()
    subject = f"table {table}"
    if row is None:
        return Finding.error(
            subject,
            f"the table {table} is not in the database {options.database} of {place(options)}",
            "correct source.database, or install the ERP's module that brings it",
        )
    readable, has_key, identity = row
    if not readable:
        return Finding.error(
            subject,
            f"{options.user} may not read {table}",
            f'run: GRANT SELECT ON {quoted(table)} TO "{options.user}"',
        )
    if not has_key and "message.key.columns" not in options.properties:
        return Finding.error(
            subject,
            f"the table {table} has no primary key, so its rows cannot be told apart",
            "give it one, or name its columns in source.properties as message.key.columns",
        )
    return _replica_identity(subject, table, identity, has_key=has_key)


def _replica_identity(subject: str, table: str, identity: str, *, has_key: bool) -> Finding:
    """What the server writes into its log about the row before a change. By the key alone the engine still finds the
    row that it has mirrored; without the key a change or a deletion could not be told to any row.
    """
    fix = f"let the owner run: ALTER TABLE {quoted(table)} {_FULL}"
    if identity == "f":
        return Finding.well(subject, f"readable, {_FULL}")
    if identity == "d" and has_key:
        detail = f"{table} has REPLICA IDENTITY DEFAULT: of a deleted row the log tells the key alone"
        return Finding.warning(subject, detail, fix)
    said = {"n": "NOTHING", "i": "USING INDEX", "d": "DEFAULT and no primary key"}[identity]
    detail = f"{table} has REPLICA IDENTITY {said}: the log does not tell which row was deleted or changed"
    return Finding.error(subject, detail, fix)


def publication_mode(server: psycopg.Connection[Any], options: Options, tables: Sequence[str]) -> str:
    """`filtered` lets Debezium make the publication or fit it; `disabled` takes the one that somebody else made.

    SourceRefused when it is not there, or not fit, and this login cannot make it so.
    """
    name = str(options.publication)
    row = server.execute(
        "SELECT pg_has_role(pubowner, 'USAGE'), pubinsert AND pubupdate AND pubdelete AND pubtruncate"
        " FROM pg_publication WHERE pubname = %s",
        [name],
    ).fetchone()
    owned = _owned(server)
    foreign = [table for table in tables if table not in owned]
    statement = f"CREATE PUBLICATION {quoted(name)} FOR TABLE {', '.join(map(quoted, tables))}"
    if row is None:
        may = one(server, "SELECT has_database_privilege(current_database(), 'CREATE')")[0]
        if may and not foreign:
            return "filtered"
        why = f"it does not own {', '.join(foreign)}" if foreign else "it lacks the right CREATE on the database"
        raise SourceRefused(
            f"{options.user} cannot make the publication {name}: {why}", f"let the owner run: {statement}"
        )
    owns, publishes_all = row
    if not publishes_all:
        raise SourceRefused(
            f"the publication {name} does not publish every insert, update, delete and truncate",
            f"{_LEFT_OUT}ALTER PUBLICATION {quoted(name)} SET (publish = 'insert, update, delete, truncate')",
        )
    if owns and not foreign:
        return "filtered"
    held = server.execute(
        "SELECT schemaname || '.' || tablename FROM pg_publication_tables WHERE pubname = %s", [name]
    ).fetchall()
    missing = sorted(set(tables) - {one_held for (one_held,) in held})
    if missing:
        raise SourceRefused(
            f"the publication {name} lacks {', '.join(missing)}",
            f"let its owner run: ALTER PUBLICATION {quoted(name)} ADD TABLE {', '.join(map(quoted, missing))}",
        )
    _refuse_row_filters(server, name, tables)
    return "disabled"


def _refuse_row_filters(server: psycopg.Connection[Any], name: str, tables: Sequence[str]) -> None:
    """A row that the publication leaves out is never told, and nobody would know."""
    if server.info.server_version < _WITH_ROW_FILTERS:
        return
    rows = server.execute(
        "SELECT schemaname || '.' || tablename FROM pg_publication_tables"
        " WHERE pubname = %s AND rowfilter IS NOT NULL",
        [name],
    )
    filtered = sorted({held for (held,) in rows} & set(tables))
    if filtered:
        listed, alter = ", ".join(map(quoted, filtered)), f"ALTER PUBLICATION {quoted(name)}"
        raise SourceRefused(
            f"the publication {name} leaves out rows of {', '.join(filtered)}: it has a row filter (WHERE)",
            f"{_LEFT_OUT}{alter} DROP TABLE {listed}; {alter} ADD TABLE {listed}",
        )


def _owned(server: psycopg.Connection[Any]) -> set[str]:
    rows = server.execute(
        "SELECT schemaname || '.' || tablename FROM pg_tables WHERE pg_has_role(tableowner::name, 'USAGE')"
    )
    return {name for (name,) in rows}
