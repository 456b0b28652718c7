"""The ERP's own database: tables, transactions, and the log of what they changed, as a change stream would read it.

`Books` is the only writer. The log keeps what a log is known for: transactions overlap, so that positions of rows
interleave while commits come one after the other; rows of one statement share a position.
"""

import dataclasses
import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

Row = dict[str, Any]
STEP = 16
"""Log positions that a statement takes up; a row that was written earlier than its neighbours stands in between."""


@dataclasses.dataclass(frozen=True)
class Change:
    """One row change as the log holds it. `row` is the after-image; of a deleted row what was there before."""

    table: str
    key: int
    op: str
    row: Row
    lsn: int
    same: tuple[str, ...] = ()
    """Columns that the log may leave out, for they did not change."""


@dataclasses.dataclass(frozen=True)
class Commit:
    """A transaction of the ERP. `who` did it and `why`; `key` is the command's that asked for it, if one did."""

    lsn: int
    tx: str
    at: dt.datetime
    who: str
    why: str
    key: str | None
    changes: tuple[Change, ...]


class Transaction:
    """An open transaction: its writes are seen at once in the tables, and stand in the log when it commits."""

    def __init__(self, database: "Database", who: str) -> None:
        self._database = database
        self._who = who
        self._statement = 0
        self.writes: list[tuple[int, str, int, str, Row, tuple[str, ...]]] = []

    @contextmanager
    def one_statement(self) -> Iterator[None]:
        """Rows written inside share their position."""
        before = self._statement
        self._statement = -abs(len(self.writes)) - 1
        yield
        self._statement = before

    def insert(self, table: str, **columns: Any) -> int:
        """A new row; returns its id."""
        key = self._database.next_id(table)
        row: Row = {"id": key, **columns, "v": 1, "wuser": self._who}
        self._database.put(table, key, row)
        self._note(table, key, "c", row, ())
        return key

    def update(self, table: str, key: int, **columns: Any) -> None:
        """Write a row, changed or not: its version rises all the same."""
        old = self._database.row(table, key)
        row = {**old, **columns, "v": old["v"] + 1, "wuser": self._who}
        same = tuple(name for name in ("note",) if name in row and row[name] == old[name])
        self._database.put(table, key, row)
        self._note(table, key, "u", row, same)

    def delete(self, table: str, key: int) -> None:
        row = self._database.row(table, key)
        self._database.drop(table, key)
        self._note(table, key, "d", row, ())

    def _note(self, table: str, key: int, op: str, row: Row, same: tuple[str, ...]) -> None:
        statement = self._statement or len(self.writes) + 1
        self.writes.append((statement, table, key, op, row, same))


class Database:
    """Tables with indexes, and their log."""

    def __init__(self, dice: Random, clock: Callable[[], dt.datetime], indexes: list[tuple[str, str]]) -> None:
        self._dice = dice
        self._clock = clock
        self._columns: defaultdict[str, list[str]] = defaultdict(list)
        for table, column in indexes:
            self._columns[table].append(column)
        self._index: defaultdict[tuple[str, str, Any], dict[int, None]] = defaultdict(dict)
        self._ids: defaultdict[str, int] = defaultdict(int)
        self._written: dict[tuple[str, int], int] = {}
        self.tables: defaultdict[str, dict[int, Row]] = defaultdict(dict)
        self.log: list[Commit] = []
        self.lsn = 1000 * STEP
        self.overlap = 0.3
        self.bordered = True
        self.committed: list[Callable[[Commit], None]] = []

    @contextmanager
    def transaction(self, who: str, why: str, key: str | None = None) -> Iterator[Transaction]:
        """Write together; nothing is logged when nothing was written."""
        tx = Transaction(self, who)
        yield tx
        if tx.writes:
            self._commit(tx, who, why, key)

    def row(self, table: str, key: int) -> Row:
        return self.tables[table][key]

    def find(self, table: str, key: int | None) -> Row | None:
        return None if key is None else self.tables[table].get(key)

    def where(self, table: str, column: str, value: Any) -> list[Row]:
        """Rows by an indexed column, oldest first."""
        rows = self.tables[table]
        return [rows[key] for key in sorted(self._index.get((table, column, value), ()))]

    def next_id(self, table: str) -> int:
        self._ids[table] += 1
        return self._ids[table]

    def last_id(self, table: str) -> int:
        return self._ids[table]

    def put(self, table: str, key: int, row: Row) -> None:
        self.drop(table, key)
        self.tables[table][key] = row
        for column in self._columns[table]:
            self._index[table, column, row[column]][key] = None

    def drop(self, table: str, key: int) -> None:
        old = self.tables[table].pop(key, None)
        for column in self._columns[table] if old else ():
            self._index[table, column, old[column] if old else None].pop(key, None)

    def _commit(self, tx: Transaction, who: str, why: str, key: str | None) -> None:
        began = self.lsn
        earlier = self._dice.random() < self.overlap
        positions: dict[int, int] = {}
        changes = []
        for statement, table, row_key, op, row, same in tx.writes:
            floor = max(self._written.get((table, row_key), 0), max(positions.values(), default=0))
            if statement not in positions:
                self.lsn += STEP
                low = max(floor, began - 40 * STEP) + 1
                # The transaction was open for a while: what others committed meanwhile stands between its rows.
                positions[statement] = self._dice.randrange(low, self.lsn) if earlier and low < began else self.lsn
            lsn = positions[statement]
            if lsn <= self._written.get((table, row_key), 0):
                self.lsn += STEP
                lsn = positions[statement] = self.lsn
            changes.append(Change(table, row_key, op, row, lsn, same))
            self._written[table, row_key] = lsn
        if self.bordered:
            self.lsn += STEP  # the commit has a record of its own in the log
        for change in changes:
            self._written[change.table, change.key] = self.lsn
        commit = Commit(self.lsn, f"{700 + len(self.log)}", self._clock(), who, why, key, tuple(changes))
        self.log.append(commit)
        for listener in self.committed:
            listener(commit)
