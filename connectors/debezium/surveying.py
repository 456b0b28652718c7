"""Looks at the ERP's own database beside the stream: where its log ends, and how rows stand at a position.

`engine.flow` reconciles and repairs with it. A row is given in the very form in which Debezium tells it, so that the
mapping sees no difference (decimals as text, days, microseconds); a test holds the two against each other.
"""

import time
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
import psycopg
from psycopg import sql

from connectors.debezium.resuming import read_up_to
from connectors.debezium.server import connection, one
from connectors.debezium.settings import HEARTBEAT_PREFIX, Options, read_options
from engine.model.change import Row
from engine.ports.errors import SourceError
from engine.ports.rows import KEY
from engine.ports.source import Resume, SourceSetup

_UNDER_WAY_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 0.005
_PART: Final = 1000
_MICROS: Final = "(extract(epoch from {}) * 1000000)::bigint"
_MILLIS: Final = "(extract(epoch from {}) * 1000)::bigint"
_AS_IT_IS: Final = {"int2", "int4", "int8", "bool", "text", "varchar", "bpchar", "float4", "float8", "oid", "name"}
_FORMS: Final = {
    "date": "({} - DATE '1970-01-01')",
    "time": _MICROS,
    "interval": _MICROS,
    "timestamptz": "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
    "bytea": "translate(encode({}, 'base64'), E'\\n', '')",
}


class _Column(msgspec.Struct, frozen=True):
    """A column: its type's name, how many digits of a second it keeps, and that type as SQL writes it."""

    name: str
    kind: str
    digits: int | None
    written: str

    @property
    def form(self) -> str:
        """The expression that gives its value as Debezium tells it."""
        if self.kind in _AS_IT_IS:
            return "{}"
        if self.kind == "timestamp":
            # Up to three digits of a second are told as milliseconds.
            return _MILLIS if self.digits is not None and self.digits <= 3 else _MICROS
        return _FORMS.get(self.kind, "{}::text")


class _Table(msgspec.Struct, frozen=True):
    schema: str
    name: str
    columns: tuple[_Column, ...]
    key: tuple[_Column, ...]


class PostgresSurveyor:
    """One connection of its own, opened when it is needed and again after it broke. See `Surveyor`."""

    def __init__(self, setup: SourceSetup) -> None:
        """Raises ConfigError."""
        self._options: Options = read_options(setup)
        self._excluded = set(setup.excluded)
        self._schemas = {name: schema for schema, _, name in (table.rpartition(".") for table in setup.tables)}
        self._known: dict[str, _Table] = {}

    def position(self) -> int:
        """See `Surveyor.position`."""
        with connection(self._options) as server:
            return _position(server)

    def passed(self, resume: Resume | None, position: int) -> bool:
        """See `Surveyor.passed`: the server sends transactions in the order of their ends."""
        return read_up_to(resume) > position

    @contextmanager
    def snapshot(self) -> Iterator["_Snapshot"]:
        """See `Surveyor.snapshot`."""
        with connection(self._options) as server:
            since = _position(server)
            server.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            yield _Snapshot(self, server, since)
            server.execute("COMMIT")

    def close(self) -> None:
        """Nothing stays open between two questions."""

    def table(self, server: psycopg.Connection[Any], name: str) -> _Table:
        """What the catalogue says of a captured table. SourceError when it is not there."""
        if name not in self._known:
            self._known[name] = self._look_up(server, name)
        return self._known[name]

    def _look_up(self, server: psycopg.Connection[Any], name: str) -> _Table:
        schema = self._schemas.get(name) or "public"
        rows = server.execute(
            """SELECT a.attname, t.typname, CASE WHEN a.atttypmod >= 0 THEN a.atttypmod END,
                 format_type(a.atttypid, NULL), array_position(i.indkey::int2[], a.attnum)
               FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
               JOIN pg_type t ON t.oid = a.atttypid
               LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
               WHERE n.nspname = %s AND c.relname = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum""",
            (schema, name),
        ).fetchall()
        if not rows:
            raise SourceError(
                f"the table {schema}.{name} is not in the ERP's database", "look whether it was renamed"
            )
        keyed = [(row[4], _Column(*row[:4])) for row in rows if row[4] is not None]
        columns = tuple(_Column(*row[:4]) for row in rows if f"{schema}.{name}.{row[0]}" not in self._excluded)
        return _Table(schema, name, columns, tuple(column for _, column in sorted(keyed, key=lambda pair: pair[0])))


class _Snapshot:
    """See `Snapshot`; its connection is inside one repeatable-read transaction."""

    def __init__(self, surveyor: PostgresSurveyor, server: psycopg.Connection[Any], since: int) -> None:
        self._surveyor = surveyor
        self._server = server
        self.since = since

    def fetch(self, wanted: Collection[tuple[str, str, str]]) -> list[tuple[str, str, Row]]:
        """See `Snapshot.fetch`."""
        grouped: dict[tuple[str, str], list[str]] = defaultdict(list)
        for name, column, value in sorted(wanted):
            grouped[name, column].append(value)
        found: dict[tuple[str, str], tuple[str, str, Row]] = {}
        for (name, column), values in grouped.items():
            table = self._surveyor.table(self._server, name)
            for start in range(0, len(values), _PART):
                for key, row in self._rows(table, column, values[start : start + _PART]):
                    found[name, key] = (name, key, row)
        return list(found.values())

    def until(self) -> int:
        """See `Snapshot.until`."""
        return _mark(self._server)

    def _rows(self, table: _Table, column: str, values: list[str]) -> Iterator[tuple[str, Row]]:
        sought = table.key if column == KEY else tuple(one for one in table.columns if one.name == column)
        parts = [value.split("/", len(sought) - 1) for value in values]
        # Compared in the column's own type, so that the ERP's indexes serve.
        arrays = sql.SQL(", ").join(sql.SQL(f"%s::text[]::{one.written}[]") for one in sought)
        names = sql.SQL(", ").join(sql.Identifier(one.name) for one in sought)
        query = sql.SQL("SELECT {} FROM {} WHERE ({}) IN (SELECT * FROM unnest({}))").format(
            sql.SQL(", ").join(sql.SQL(one.form).format(sql.Identifier(one.name)) for one in table.columns),
            sql.Identifier(table.schema, table.name),
            names,
            arrays,
        )
        places = [[one.name for one in table.columns].index(one.name) for one in table.key]
        for told in self._server.execute(query, [[part[n] for part in parts] for n in range(len(sought))]):
            row = dict(zip((one.name for one in table.columns), told, strict=True))
            yield "/".join(str(told[place]) for place in places), row


def _position(server: psycopg.Connection[Any]) -> int:
    """The end of the log, with marks behind it so that the stream soon passes it.

    A transaction's end is written before others see its rows: those under way are given a moment to become visible.
    One that runs on has not ended, so it lies above.
    """
    end = _mark(server)
    under_way = one(server, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")[0]
    until = time.monotonic() + _UNDER_WAY_SECONDS
    while time.monotonic() < until:
        oldest = one(server, "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")[0]
        if oldest >= under_way:
            break
        time.sleep(_LOOK_SECONDS)
    return end


def _mark(server: psycopg.Connection[Any]) -> int:
    """The first position above all that is written: the end of a transaction is told as that of its last record.

    The second of two marks lies above it, however the server counts the beginnings of its records.
    """
    end = int(one(server, "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")[0]) + 1
    for _ in range(2):
        server.execute("SELECT pg_logical_emit_message(false, %s, '')", [HEARTBEAT_PREFIX])
    return end
