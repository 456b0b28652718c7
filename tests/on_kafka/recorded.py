"""An ERP's database that lives through a recorded capture again, transaction by transaction, for Debezium to read."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from engine.store.embedded import Cluster

ROLE, PASSWORD = "erp", "Secret-Pass-4711"
_UNAVAILABLE = "__debezium_unavailable_value"
_TYPES = {int: "bigint", float: "double precision", bool: "boolean", str: "text"}
Change = tuple[str, str, dict[str, Any]]
"""(operation, table, row)"""


class Recording:
    """What the capture holds: rows that were there at first, then transactions."""

    def __init__(self, file: Path) -> None:
        self.columns: dict[str, dict[str, str]] = {}
        self.snapshot: list[Change] = []
        self.transactions: list[list[Change]] = []
        self.messages: list[tuple[str, bytes, bytes | None]] = []
        latest: object = None
        for line in file.read_text(encoding="utf-8").splitlines():
            event = json.loads(line)
            value = event["value"]
            raw = None if value is None else json.dumps(value).encode()
            self.messages.append((event["destination"], json.dumps(event["key"]).encode(), raw))
            if value is None or "op" not in value:
                continue
            change = (value["op"], value["source"]["table"], value["after"] or value["before"])
            self._learn(change)
            if value["op"] == "r":
                self.snapshot.append(change)
                continue
            if value["source"]["txId"] != latest:
                self.transactions.append([])
                latest = value["source"]["txId"]
            self.transactions[-1].append(change)

    def _learn(self, change: Change) -> None:
        columns = self.columns.setdefault(change[1], {})
        for name, held in change[2].items():
            if held is not None and held != _UNAVAILABLE:
                columns[name] = _TYPES[type(held)]
            else:
                columns.setdefault(name, "text")


class RecordedErp:
    """One database with the recording's tables; values are kept in the form that the capture shows them in."""

    def __init__(self, cluster: Cluster, name: str, recording: Recording) -> None:
        cluster.ensure_database(name, owner=ROLE)
        self.name, self.host, self.port = name, cluster.host, cluster.port
        self._dsn = cluster.dsn(name, user=ROLE, password=PASSWORD)
        self._transactions = recording.transactions
        self.length = len(self._transactions)
        with psycopg.connect(self._dsn) as connection:
            # How much of its life is over it knows itself, whatever becomes of it or of whoever plays it.
            connection.execute("CREATE TABLE recorded_life AS SELECT 0 AS played")
            for table, columns in recording.columns.items():
                connection.execute(_create(table, columns))
                full = sql.SQL("ALTER TABLE {} REPLICA IDENTITY FULL").format(sql.Identifier(table))
                connection.execute(full)
            _apply(connection, recording.snapshot)

    def play(self, count: int | None = None, pause: Callable[[], None] = lambda: None) -> int:
        """Commit the next `count` transactions, all that are left without it; how many are over by now.

        They overlap as an ERP's do: where one touches other rows than the one before it, it has written them before
        that one is committed. `pause` is called while they are open. When the server goes away in the midst of it,
        the next call goes on where the server says.
        """
        with psycopg.connect(self._dsn) as one, psycopg.connect(self._dsn) as other:
            (played,) = one.execute("SELECT played FROM recorded_life").fetchone() or (0,)
            following = self._transactions[played:] if count is None else self._transactions[played : played + count]
            current, ahead, written = one, other, False
            for changes, after in zip(following, [*following[1:], []], strict=False):
                if not written:
                    _apply(current, changes)
                written = _rows(changes).isdisjoint(_rows(after))
                if written:
                    _apply(ahead, after)
                pause()
                current.execute("UPDATE recorded_life SET played = played + 1")
                current.commit()
                current, ahead = ahead, current
        return int(played) + len(following)

    def log_end(self) -> str:
        """Where its log ends now."""
        return str(self._ask("SELECT pg_current_wal_insert_lsn()"))

    def is_told(self, position: str) -> bool:
        """Whether Debezium has said that all before this position is in Kafka for good."""
        mine = "FROM pg_replication_slots WHERE database = current_database()"
        return bool(self._ask(f"SELECT bool_and(confirmed_flush_lsn >= %s::pg_lsn) {mine}", position))

    def forget_reader(self) -> None:
        """Nobody reads it any more; its log need not be kept."""
        mine = "FROM pg_replication_slots WHERE database = current_database()"
        until = time.monotonic() + 60
        while self._ask(f"SELECT bool_or(active) {mine}"):
            assert time.monotonic() < until
            time.sleep(0.1)
        self._ask(f"SELECT count(pg_drop_replication_slot(slot_name)) {mine}")

    def _ask(self, query: str, *values: object) -> Any:
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            row = connection.execute(query.encode(), values).fetchone()
        return row[0] if row else None


def _create(table: str, columns: dict[str, str]) -> sql.Composed:
    parts = [sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind)) for name, kind in columns.items()]
    return sql.SQL("CREATE TABLE {} ({}, PRIMARY KEY (id))").format(sql.Identifier(table), sql.SQL(", ").join(parts))


def _rows(changes: Sequence[Change]) -> set[tuple[str, object]]:
    return {(table, row["id"]) for _, table, row in changes}


def _apply(connection: psycopg.Connection[Any], changes: Sequence[Change]) -> None:
    for change in changes:
        _apply_one(connection, change)


def _apply_one(connection: psycopg.Connection[Any], change: Change) -> None:
    op, table, row = change
    held = {name: value for name, value in row.items() if value != _UNAVAILABLE}
    names, values = list(held), list(held.values())
    if op == "d":
        connection.execute(sql.SQL("DELETE FROM {} WHERE id = %s").format(sql.Identifier(table)), [row["id"]])
        return
    if op == "u":
        sets = sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in names)
        query = sql.SQL("UPDATE {} SET {} WHERE id = %s").format(sql.Identifier(table), sets)
        connection.execute(query, [*values, row["id"]])
        return
    fields = sql.SQL(", ").join(map(sql.Identifier, names))
    places = sql.SQL(", ").join(sql.Placeholder() for _ in names)
    query = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(sql.Identifier(table), fields, places)
    connection.execute(query, values)
