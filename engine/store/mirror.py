"""The mirror in the store: loads rows by key or by the value of a related column, and writes them back in bulk.

Each key is looked up by itself in an index (`LATERAL` with `OFFSET 0` keeps the planner to that): as long as a young
table has no statistics, it would rather read all of it for every batch.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from psycopg import Cursor

from engine.model.change import Position, Row
from engine.store.bulk import append, text_array, upsert

_DECODE = msgspec.json.Decoder(dict[str, Any])
_ENCODE = msgspec.json.Encoder()


class MirrorEntry(msgspec.Struct):
    """A row as it stands in the mirror. `row` of a deleted entry is what was known last."""

    row: Row
    position: Position
    deleted: bool
    snapshot: str | None = None


Key = tuple[str, str]
"""(table, key)"""
_COLUMNS = ("system", "tbl", "key", "row", "commit_lsn", "lsn", "deleted", "snapshot")
ENTRIES = """
    SELECT m.* FROM unnest(%s::text[], %s::text[]) AS wanted (tbl, key)
    CROSS JOIN LATERAL (
      SELECT m.tbl, m.key, m.row::text, m.commit_lsn, m.lsn, m.deleted, m.snapshot FROM mirror m
      WHERE m.system = %s AND m.tbl = wanted.tbl AND m.key = wanted.key OFFSET 0) AS m"""
RELATED = """
    SELECT m.* FROM unnest(%s::text[], %s::text[], %s::text[]) AS wanted (tbl, col, val)
    CROSS JOIN LATERAL (
      SELECT r.tbl, r.key FROM mirror_ref r WHERE r.system = %s
        AND r.tbl = wanted.tbl AND r.col = wanted.col AND r.val = wanted.val OFFSET 0) AS found
    CROSS JOIN LATERAL (
      SELECT m.tbl, m.key, m.row::text, m.commit_lsn, m.lsn, m.snapshot FROM mirror m WHERE m.system = %s
        AND m.tbl = found.tbl AND m.key = found.key AND NOT m.deleted OFFSET 0) AS m"""


def load_entries(cursor: Cursor[Any], system: str, keys: Iterable[Key]) -> dict[Key, MirrorEntry]:
    """The entries with these keys, tombstones too."""
    tables, names = _columns(keys, 2)
    cursor.execute(ENTRIES, (tables, names, system))
    return {
        (table, key): MirrorEntry(_DECODE.decode(row), Position(commit, lsn), deleted, snapshot)
        for table, key, row, commit, lsn, deleted, snapshot in cursor
    }


def forget_positions(cursor: Cursor[Any], system: str) -> None:
    """Let everything that is told from now on count as newer than what is mirrored."""
    _note_writing(cursor, system)
    cursor.execute("UPDATE mirror SET commit_lsn = 0, lsn = 0 WHERE system = %s", (system,))


def load_related(cursor: Cursor[Any], system: str, wanted: Iterable[tuple[str, str, str]]) -> dict[Key, MirrorEntry]:
    """All living rows whose (table, column, value) is wanted."""
    tables, columns, values = _columns(wanted, 3)
    cursor.execute(RELATED, (tables, columns, values, system, system))
    return {
        (table, key): MirrorEntry(_DECODE.decode(row), Position(commit, lsn), deleted=False, snapshot=snapshot)
        for table, key, row, commit, lsn, snapshot in cursor
    }


def load_tables(cursor: Cursor[Any], system: str, tables: Iterable[str]) -> list[tuple[str, str, Row]]:
    """Every living row of some small tables."""
    cursor.execute(
        "SELECT tbl, key, row::text FROM mirror WHERE system = %s AND tbl = ANY(%s) AND NOT deleted",
        (system, list(tables)),
    )
    return [(table, key, _DECODE.decode(row)) for table, key, row in cursor]


def keys_with(cursor: Cursor[Any], system: str, table: str, column: str, value: str) -> list[str]:
    """Keys of the living rows with this value in any column, related or not; reads the whole table."""
    cursor.execute(
        "SELECT key FROM mirror WHERE system = %s AND tbl = %s AND row ->> %s = %s AND NOT deleted",
        (system, table, column, value),
    )
    return [str(key) for (key,) in cursor]


def root_keys(cursor: Cursor[Any], system: str, table: str, after: str | None, limit: int) -> list[str]:
    """Keys of a root table behind `after`, deleted ones too, in key order."""
    cursor.execute(
        "SELECT key FROM mirror WHERE system = %s AND tbl = %s AND key > %s ORDER BY key LIMIT %s",
        (system, table, after or "", limit),
    )
    return [key for (key,) in cursor]


def save_entries(
    cursor: Cursor[Any],
    system: str,
    entries: Mapping[Key, MirrorEntry],
    before: Mapping[Key, MirrorEntry | None],
    related: Mapping[str, tuple[str, ...]],
) -> None:
    """Write entries, and those of their related values that are different from before.

    `before` has None for what the mirror has no entry of: such rows are added without a look at what is there.
    """
    _note_writing(cursor, system)
    fresh: list[tuple[Any, ...]] = []
    known: list[tuple[Any, ...]] = []
    gone: list[tuple[str, str, str, str, str]] = []
    new: list[tuple[str, str, str, str, str]] = []
    for (table, key), entry in entries.items():
        old, row, at = before.get((table, key)), entry.row, entry.position
        written = (system, table, key, _ENCODE.encode(row).decode(), at.commit, at.lsn, entry.deleted, entry.snapshot)
        (fresh if old is None else known).append(written)
        was = None if old is None or old.deleted else old.row
        for column in related.get(table, ()):
            left = None if was is None else was.get(column)
            now = None if entry.deleted else row.get(column)
            if left is now or (left == now and type(left) is type(now)):
                continue
            if left is not None:
                gone.append((system, table, column, str(left), key))
            if now is not None:
                new.append((system, table, column, str(now), key))
    append(cursor, "mirror", _COLUMNS, fresh)
    upsert(cursor, "mirror", ("system", "tbl", "key"), _COLUMNS, known)
    if gone:
        cursor.executemany(
            "DELETE FROM mirror_ref WHERE system = %s AND tbl = %s AND col = %s AND val = %s AND key = %s", gone
        )
    append(cursor, "mirror_ref", ("system", "tbl", "col", "val", "key"), new)


def rewrite_refs(
    cursor: Cursor[Any], system: str, keys: Iterable[Key], related: Mapping[str, tuple[str, ...]]
) -> None:
    """Write the related values of these rows anew, whatever stood there."""
    entries = load_entries(cursor, system, keys)
    tables, names = _columns(entries, 2)
    cursor.execute(
        """DELETE FROM mirror_ref r USING unnest(%s::text[], %s::text[]) AS wanted (tbl, key)
           WHERE r.system = %s AND r.tbl = wanted.tbl AND r.key = wanted.key""",
        (tables, names, system),
    )
    now = [
        (system, table, column, value, key)
        for (table, key), entry in entries.items()
        for column, value in _values(None if entry.deleted else entry.row, related.get(table, ())).items()
    ]
    append(cursor, "mirror_ref", ("system", "tbl", "col", "val", "key"), now)


def sweep(cursor: Cursor[Any], system: str, snapshot: str, position: int) -> int:
    """Bury the rows that a complete snapshot at `position` did not bring: they were deleted unannounced."""
    cursor.execute(
        """UPDATE mirror SET deleted = true, commit_lsn = %(at)s, lsn = %(at)s
           WHERE system = %(system)s AND NOT deleted AND commit_lsn <= %(at)s
             AND snapshot IS DISTINCT FROM %(snapshot)s""",
        {"system": system, "at": position, "snapshot": snapshot},
    )
    swept = cursor.rowcount
    if swept:
        cursor.execute(
            """DELETE FROM mirror_ref r USING mirror m WHERE r.system = %s AND m.system = r.system
               AND m.tbl = r.tbl AND m.key = r.key AND m.deleted""",
            (system,),
        )
    return swept


def _note_writing(cursor: Cursor[Any], system: str) -> None:
    """Whoever remembers the mirror's rows learns by it that they were written."""
    cursor.execute("UPDATE system SET mirrored = batch WHERE name = %s", (system,))


def _values(row: Row | None, columns: tuple[str, ...]) -> dict[str, str]:
    return {} if row is None else {column: str(row[column]) for column in columns if row.get(column) is not None}


def _columns(rows: Iterable[tuple[str, ...]], width: int) -> list[str]:
    listed = sorted(set(rows))
    return [text_array([row[place] for row in listed]) for place in range(width)]
