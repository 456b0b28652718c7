"""An ERP's database that lives through a recorded capture again, transaction by transaction, for Debezium to read."""

import json
from collections.abc import Iterator
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
        self._left = iter(recording.transactions)
        self.played = 0
        with psycopg.connect(self._dsn) as connection:
            for table, columns in recording.columns.items():
                connection.execute(_create(table, columns))
                full = sql.SQL("ALTER TABLE {} REPLICA IDENTITY FULL").format(sql.Identifier(table))
                connection.execute(full)
            for change in recording.snapshot:
                _apply(connection, change)

    def play(self, count: int | None = None) -> int:
        """Commit the next `count` transactions, all that are left without it; how many there were."""
        done = 0
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            for changes in self._take(count):
                with connection.transaction():
                    for change in changes:
                        _apply(connection, change)
                done += 1
        self.played += done
        return done

    def _take(self, count: int | None) -> Iterator[list[Change]]:
        while count is None or count > 0:
            following = next(self._left, None)
            if following is None:
                return
            yield following
            count = None if count is None else count - 1


def _create(table: str, columns: dict[str, str]) -> sql.Composed:
    parts = [sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind)) for name, kind in columns.items()]
    return sql.SQL("CREATE TABLE {} ({}, PRIMARY KEY (id))").format(sql.Identifier(table), sql.SQL(", ").join(parts))


def _apply(connection: psycopg.Connection[Any], change: Change) -> None:
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
