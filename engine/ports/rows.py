"""Rows in memory, found by key or by the value of a related column.

The pipeline fills one for a batch and applies the batch's changes to it; mappings read from it.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from engine.model.change import Row

KEY = "@key"
"""Stands for a row's own key where a column is named."""


class Rows:
    """Tables of rows with indexes on the related columns. Values are compared as text, as keys are."""

    def __init__(self, indexed: Iterable[tuple[str, str]]) -> None:
        """Take the (table, column) pairs that `where` will be asked for."""
        self._tables: defaultdict[str, dict[str, Row]] = defaultdict(dict)
        self._columns: defaultdict[str, list[str]] = defaultdict(list)
        self._index: dict[tuple[str, str], defaultdict[str, dict[str, None]]] = {}
        for table, column in dict.fromkeys(indexed):
            if column != KEY:
                self._columns[table].append(column)
                self._index[table, column] = defaultdict(dict)

    def get(self, table: str, key: str | None) -> Row | None:
        """The row with this key."""
        return None if key is None else self._tables[table].get(key)

    def where(self, table: str, column: str, value: object) -> Iterator[tuple[str, Row]]:
        """(key, row) of all rows whose column has this value, in key order."""
        if value is None:
            return iter(())
        rows = self._tables[table]
        text = value if isinstance(value, str) else str(value)
        if column == KEY:
            row = rows.get(text)
            return iter(()) if row is None else iter(((text, row),))
        keys = self._index[table, column].get(text)
        if not keys:
            return iter(())
        if len(keys) == 1:
            (key,) = keys
            return iter(((key, rows[key]),))
        return iter([(key, rows[key]) for key in sorted(keys, key=natural)])

    def all(self, table: str) -> Iterator[tuple[str, Row]]:
        """(key, row) of every row of a table, in key order."""
        rows = self._tables[table]
        for key in sorted(rows, key=natural):
            yield key, rows[key]

    def put(self, table: str, key: str, row: Row) -> None:
        """Insert or replace a row."""
        rows = self._tables[table]
        old = rows.get(key)
        rows[key] = row
        for column in self._columns[table]:
            value = row.get(column)
            before = None if old is None else old.get(column)
            if value == before:
                continue
            if before is not None:
                self._drop(table, column, str(before), key)
            if value is not None:
                self._index[table, column][str(value)][key] = None

    def remove(self, table: str, key: str) -> None:
        """Take a row out; one that is not there is no error."""
        row = self._tables[table].pop(key, None)
        if row is None:
            return
        for column in self._columns[table]:
            value = row.get(column)
            if value is not None:
                self._drop(table, column, str(value), key)

    def _drop(self, table: str, column: str, value: str, key: str) -> None:
        held = self._index[table, column]
        keys = held.get(value)
        if keys is not None:
            keys.pop(key, None)
            if not keys:
                del held[value]


def natural(key: str) -> tuple[int, str]:
    """Numbers before text and by value, so that `9` comes before `10`."""
    return (int(key), "") if key.isdecimal() and len(key) < 19 else (1 << 62, key)
