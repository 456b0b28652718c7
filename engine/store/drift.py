"""What reconciling asks of the store: documents as they stand with what changed meanwhile, and its own record."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

import msgspec
from psycopg import Connection, Cursor

from engine.model.documents import Customer, DocumentKind, Invoice
from engine.store import records

Documents = dict[str, Invoice | Customer]


class Reconciliation(msgspec.Struct, frozen=True):
    """One reconcile that came to its end. `position` is through which the mirror was found to be the ERP's word."""

    at: dt.datetime
    position: int | None
    epoch: str | None
    invoices: int
    customers: int
    differences: int
    unsettled: int
    seconds: float


def journal_head(connection: Connection[Any], system: str) -> int:
    """The last entry of what the ERP has told; 0 for none."""
    row = connection.execute("SELECT seq FROM stream_head WHERE stream = %s", (f"{system}/changes",)).fetchone()
    return int(row[0]) if row else 0


def documents_and_changes(
    connection: Connection[Any],
    system: str,
    kind: DocumentKind,
    keys: Sequence[str] | None,
    *,
    after: int,
    since: int | None,
) -> tuple[Documents, set[str]]:
    """The documents of a kind as they stand (these keys, or all), and the keys of those that the ERP has changed by a
    transaction that ended at `since` or above, or, without a position, by anything told behind the entry `after`.

    Both are of one moment.
    """
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        documents = records.kept_documents(connection, system, kind, keys)
        told = connection.execute(
            """SELECT DISTINCT name FROM journal, jsonb_object_keys(body::jsonb #> '{input,documents}') AS name
               WHERE stream = %(stream)s AND seq > %(after)s AND kind = 'change' AND name LIKE %(kind)s
                 AND (%(since)s::bigint IS NULL OR (body::jsonb #>> '{input,commit}')::bigint >= %(since)s)""",
            {"stream": f"{system}/changes", "after": after, "since": since, "kind": f"{kind}/%"},
        )
        return documents, {str(name).partition("/")[2] for (name,) in told}


def save_reconciliation(cursor: Cursor[Any], system: str, done: Reconciliation) -> None:
    """Keep that a reconcile was carried through."""
    cursor.execute(
        """INSERT INTO reconciliation
             (system, at, position, epoch, invoices, customers, differences, unsettled, seconds)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (system, at) DO NOTHING""",
        (system, *msgspec.structs.astuple(done)),
    )


def last_reconciliation(cursor: Cursor[Any], system: str) -> Reconciliation | None:
    """The newest one; None before the first."""
    row = cursor.execute(
        """SELECT at, position, epoch, invoices, customers, differences, unsettled, seconds FROM reconciliation
           WHERE system = %s ORDER BY at DESC LIMIT 1""",
        (system,),
    ).fetchone()
    return Reconciliation(*row) if row else None


def drifting(cursor: Cursor[Any], system: str) -> list[str]:
    """The documents with an open drift."""
    cursor.execute(
        """SELECT DISTINCT document FROM conflict WHERE system = %s AND kind = 'drift' AND document IS NOT NULL
             AND state IN ('detected', 'held', 'chosen') ORDER BY document""",
        (system,),
    )
    return [str(name) for (name,) in cursor]


def drifts_about(cursor: Cursor[Any], system: str, documents: Sequence[str]) -> list[str]:
    """The ids of all drifts that ever were of these documents."""
    cursor.execute(
        "SELECT id FROM conflict WHERE system = %s AND kind = 'drift' AND document = ANY(%s) ORDER BY id",
        (system, list(documents)),
    )
    return [str(id_) for (id_,) in cursor]
