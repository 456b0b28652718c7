"""Writes many rows at once: COPY into a table of the connection's own, then one statement to merge them."""

from collections.abc import Iterable, Sequence
from typing import Any

from psycopg import Cursor, sql


def append(cursor: Cursor[Any], table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Add new rows by COPY."""
    if not rows:
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
    staging = f"staging_{table}"
    cursor.execute(
        sql.SQL("CREATE TEMP TABLE IF NOT EXISTS {} (LIKE {} INCLUDING DEFAULTS) ON COMMIT DELETE ROWS").format(
            sql.Identifier(staging), sql.Identifier(table)
        )
    )
    append(cursor, staging, columns, rows)
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    sets = [sql.SQL("{0} = EXCLUDED.{0}").format(sql.Identifier(column)) for column in columns if column not in key]
    action = sql.SQL("DO UPDATE SET {}").format(sql.SQL(", ").join(sets)) if sets else sql.SQL("DO NOTHING")
    cursor.execute(
        sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {} ON CONFLICT ({}) {}").format(
            sql.Identifier(table),
            names,
            names,
            sql.Identifier(staging),
            sql.SQL(", ").join(map(sql.Identifier, key)),
            action,
        )
    )
    # A unit of work may merge into one table more than once.
    cursor.execute(sql.SQL("TRUNCATE {}").format(sql.Identifier(staging)))
