"""Writes many rows at once: COPY into a table of the connection's own, then one statement to merge them.

A few rows, as a single intent or answer leads to, go by one plain statement: a COPY costs four round trips.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from psycopg import Cursor, sql

FEW = 16
"""Up to so many rows one plain statement is quicker than a COPY."""


def text_array(values: Sequence[str]) -> str:
    """Values as PostgreSQL spells a `text[]`: for thousands of them much faster than a list as a parameter."""
    joined = '","'.join(values)
    if "\\" in joined or joined.count('"') != 2 * max(len(values) - 1, 0):
        joined = '","'.join([value.replace("\\", "\\\\").replace('"', '\\"') for value in values])
    return f'{{"{joined}"}}' if values else "{}"


def append(cursor: Cursor[Any], table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Add new rows."""
    if not rows:
        return
    if len(rows) <= FEW:
        cursor.execute(_few(table, (), tuple(columns), len(rows)), [value for row in rows for value in row])
        return
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), names)
    with cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)


def upsert(
    cursor: Cursor[Any], table: str, key: Sequence[str], columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Insert rows, or replace those with the same key. `columns` begin with the key's; no key may occur twice."""
    rows = list(rows)
    if not rows:
        return
    if len(rows) <= FEW:
        statement = _few(table, tuple(key), tuple(columns), len(rows))
        cursor.execute(statement, [value for row in rows for value in row])
        return
    staging = f"staging_{table}"
    cursor.execute(
        sql.SQL("CREATE TEMP TABLE IF NOT EXISTS {} (LIKE {} INCLUDING DEFAULTS) ON COMMIT DELETE ROWS").format(
            sql.Identifier(staging), sql.Identifier(table)
        )
    )
    # A unit of work may merge into one table more than once.
    cursor.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(staging)))
    append(cursor, staging, columns, rows)
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    cursor.execute(
        sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {}").format(
            sql.Identifier(table), names, names, sql.Identifier(staging)
        )
        + _merge(tuple(key), tuple(columns))
    )


@lru_cache(maxsize=1024)
def _few(table: str, key: tuple[str, ...], columns: tuple[str, ...], count: int) -> bytes:
    """The statement that writes so many rows; with a `key`, one that replaces those with the same. Made once."""
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    row = sql.SQL("({})").format(sql.SQL(", ").join([sql.Placeholder()] * len(columns)))
    values = sql.SQL(", ").join([row] * count)
    insert = sql.SQL("INSERT INTO {} ({}) VALUES {}").format(sql.Identifier(table), names, values)
    return (insert + _merge(key, columns) if key else insert).as_bytes(None)


@lru_cache
def _merge(key: tuple[str, ...], columns: tuple[str, ...]) -> sql.Composed:
    sets = [sql.SQL("{0} = EXCLUDED.{0}").format(sql.Identifier(column)) for column in columns if column not in key]
    action = sql.SQL("DO UPDATE SET {}").format(sql.SQL(", ").join(sets)) if sets else sql.SQL("DO NOTHING")
    return sql.SQL(" ON CONFLICT ({}) {}").format(sql.SQL(", ").join(map(sql.Identifier, key)), action)
