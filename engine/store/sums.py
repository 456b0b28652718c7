"""Sums over rows that are kept for documents by differences, and computed whole once, after a snapshot."""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

import msgspec
from psycopg import Connection, Cursor

from engine.model.change import Row
from engine.model.documents import DocumentKind
from engine.store.bulk import upsert

Root = tuple[DocumentKind, str]
_DECODE = msgspec.json.Decoder(dict[str, Any])
SUMS = """
    SELECT s.* FROM unnest(%s::text[], %s::text[]) AS wanted (kind, key)
    CROSS JOIN LATERAL (
      SELECT s.kind, s.key, s.measure, s.amount FROM document_sum s
      WHERE s.system = %s AND s.kind = wanted.kind AND s.key = wanted.key OFFSET 0) AS s"""


def load_sums(cursor: Cursor[Any], system: str, roots: Iterable[Root]) -> dict[Root, dict[str, Decimal]]:
    """The sums of these documents, by measure."""
    listed = sorted(set(roots))
    cursor.execute(SUMS, ([str(kind) for kind, _ in listed], [key for _, key in listed], system))
    found: dict[Root, dict[str, Decimal]] = {}
    for kind, key, measure, amount in cursor:
        found.setdefault((DocumentKind(kind), key), {})[measure] = amount
    return found


def save_sums(cursor: Cursor[Any], system: str, sums: Iterable[tuple[Root, str, Decimal]]) -> None:
    """Replace sums."""
    upsert(
        cursor,
        "document_sum",
        ("system", "kind", "key", "measure"),
        ("system", "kind", "key", "measure", "amount"),
        [(system, str(kind), key, measure, amount) for (kind, key), measure, amount in sums],
    )


def clear_sums(cursor: Cursor[Any], system: str) -> None:
    """Forget all sums of a system; they are computed anew."""
    cursor.execute("DELETE FROM document_sum WHERE system = %s", (system,))


def stream_rows(connection: Connection[Any], system: str, tables: Iterable[str]) -> Iterator[tuple[str, Row]]:
    """(table, row) of every living row, read in pages so that memory stays flat."""
    with connection.cursor("summed_rows") as cursor:
        cursor.itersize = 5000
        cursor.execute(
            "SELECT tbl, row::text FROM mirror WHERE system = %s AND tbl = ANY(%s) AND NOT deleted",
            (system, list(tables)),
        )
        for table, row in cursor:
            yield table, _DECODE.decode(row)
