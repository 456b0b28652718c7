"""Loads and saves the engine's records, many at a time: one statement for each table."""

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec
from psycopg import Connection, Cursor

from engine.model.canonical import canonical_bytes
from engine.model.documents import Customer, DocumentKind, Invoice
from engine.model.records import CommandRecord, ConflictRecord, CustomerRecord, IntentRecord, InvoiceRecord
from engine.store.bulk import upsert

T = TypeVar("T")


def load_invoices(cursor: Cursor[Any], system: str, keys: Iterable[str], *, lock: bool) -> dict[str, InvoiceRecord]:
    """Invoices by key; with `lock` their rows are taken for change, in key order."""
    asked = sorted(set(keys))
    if not asked:
        return {}
    cursor.execute(
        f"SELECT record::text FROM invoice WHERE system = %s AND key = ANY(%s) ORDER BY key{_lock(lock)}",  # noqa: S608
        (system, asked),
    )
    return {record.key: record for record in _decoded(cursor, InvoiceRecord)}


def invoice_numbers(cursor: Cursor[Any], system: str, numbers: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Keys of the invoices with these numbers, by number; deleted ones too."""
    asked = sorted(set(numbers))
    if not asked:
        return {}
    cursor.execute(
        """SELECT number, array_agg(key ORDER BY key) FROM invoice
           WHERE system = %s AND number = ANY(%s) GROUP BY number""",
        (system, asked),
    )
    return {number: tuple(keys) for number, keys in cursor}


def parked_documents(cursor: Cursor[Any], system: str) -> dict[str, str]:
    """The reason of every parked document, by `kind/key`."""
    cursor.execute(
        """SELECT 'invoice/' || key, parked FROM invoice WHERE system = %(system)s AND parked IS NOT NULL
           UNION ALL
           SELECT 'customer/' || key, parked FROM customer WHERE system = %(system)s AND parked IS NOT NULL""",
        {"system": system},
    )
    return dict(cursor.fetchall())


def load_customers(cursor: Cursor[Any], system: str, keys: Iterable[str]) -> dict[str, CustomerRecord]:
    """Customers by key."""
    asked = sorted(set(keys))
    if not asked:
        return {}
    cursor.execute("SELECT record::text FROM customer WHERE system = %s AND key = ANY(%s)", (system, asked))
    return {record.key: record for record in _decoded(cursor, CustomerRecord)}


def kept_documents(
    connection: Connection[Any], system: str, kind: DocumentKind, keys: Iterable[str] | None
) -> dict[str, Invoice | Customer]:
    """What the store holds of a kind and the ERP has not deleted: these keys, or all."""
    table = "invoice" if kind is DocumentKind.INVOICE else "customer"
    asked = {"system": system, "keys": None if keys is None else sorted(keys)}
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(
            f"""SELECT record::text FROM {table}
                WHERE system = %(system)s AND NOT deleted AND (%(keys)s::text[] IS NULL OR key = ANY(%(keys)s))""",  # noqa: S608
            asked,
        )
        if kind is DocumentKind.INVOICE:
            return {record.key: record.doc for record in _decoded(cursor, InvoiceRecord)}
        return {record.key: record.doc for record in _decoded(cursor, CustomerRecord)}


def numbered_invoices(connection: Connection[Any], system: str, limit: int) -> dict[str, str]:
    """Key and number of some invoices that the ERP has numbered."""
    found = connection.execute(
        """SELECT key, record -> 'doc' ->> 'number' FROM invoice
           WHERE system = %s AND NOT deleted AND record -> 'doc' ->> 'number' IS NOT NULL LIMIT %s""",
        (system, limit),
    )
    return {str(key): str(number) for key, number in found}


def load_commands(cursor: Cursor[Any], system: str, keys: Iterable[str]) -> dict[str, CommandRecord]:
    """The newest revision of commands, by key."""
    asked = sorted(set(keys))
    if not asked:
        return {}
    cursor.execute(
        "SELECT record::text FROM command WHERE system = %s AND current AND key = ANY(%s) ORDER BY key",
        (system, asked),
    )
    return {record.key: record for record in _decoded(cursor, CommandRecord)}


def commands_of_orders(cursor: Cursor[Any], system: str, orders: Iterable[str]) -> set[str]:
    """Keys of the commands that release one of these orders and are not known to be done."""
    cursor.execute(
        """SELECT key FROM command WHERE system = %s AND current AND state <> 'confirmed'
             AND record -> 'write' ->> 'order' IS NOT NULL AND record -> 'write' ->> 'order' = ANY(%s)""",
        (system, sorted(set(orders))),
    )
    return {str(key) for (key,) in cursor}


def load_intents(
    cursor: Cursor[Any], system: str, ids: Iterable[str] = (), *, state: str | None = None
) -> dict[str, IntentRecord]:
    """Intents by id, and all in one state."""
    ids = list(ids)
    if not ids and state is None:
        return {}
    cursor.execute(
        "SELECT record::text FROM intent WHERE system = %s AND (id = ANY(%s) OR state = %s) ORDER BY id",
        (system, sorted(set(ids)), state),
    )
    return {record.id: record for record in _decoded(cursor, IntentRecord)}


def some_wait(cursor: Cursor[Any], system: str) -> bool:
    """Whether any intent waits for its document."""
    row = cursor.execute(
        "SELECT EXISTS (SELECT FROM intent WHERE system = %s AND state = 'waiting')", (system,)
    ).fetchone()
    return bool(row and row[0])


def waiting_for(cursor: Cursor[Any], system: str, invoices: Iterable[str], customers: Iterable[str]) -> set[str]:
    """Ids of the intents that wait for an invoice of these keys or numbers, or for one of these customers."""
    names = [*(f"invoice/{name}" for name in invoices), *(f"customer/{key}" for key in customers)]
    cursor.execute(
        "SELECT id FROM intent WHERE system = %s AND state = 'waiting' AND (waits_for && %s OR waits_for IS NULL)",
        (system, sorted(names)),
    )
    return {str(name) for (name,) in cursor}


def some_disagree(cursor: Cursor[Any], system: str) -> bool:
    """Whether there is any conflict about which something can still be chosen."""
    row = cursor.execute(
        "SELECT EXISTS (SELECT FROM conflict WHERE system = %s AND state IN ('detected', 'held', 'chosen'))",
        (system,),
    ).fetchone()
    return bool(row and row[0])


def load_conflicts(
    cursor: Cursor[Any], system: str, intents: Iterable[str], *, ids: Iterable[str] = ()
) -> dict[str, ConflictRecord]:
    """All conflicts about these intents, and those with these ids."""
    intents, ids = list(intents), list(ids)
    if not intents and not ids:
        return {}
    cursor.execute(
        "SELECT record::text FROM conflict WHERE system = %s AND (intent = ANY(%s) OR id = ANY(%s)) ORDER BY id",
        (system, sorted(set(intents)), sorted(set(ids))),
    )
    return {record.id: record for record in _decoded(cursor, ConflictRecord)}


def open_conflicts_about(cursor: Cursor[Any], system: str, documents: Iterable[str]) -> dict[str, ConflictRecord]:
    """Conflicts to which one of these documents (`kind/key`) belongs, about which there is something to choose."""
    cursor.execute(
        """SELECT record::text FROM conflict WHERE system = %s AND record -> 'documents' ?| %s::text[]
             AND state IN ('detected', 'held', 'chosen') ORDER BY id""",
        (system, sorted(set(documents))),
    )
    return {record.id: record for record in _decoded(cursor, ConflictRecord)}


def save_invoices(cursor: Cursor[Any], system: str, records: Iterable[InvoiceRecord], now: dt.datetime) -> None:
    """Insert or replace invoices. Whether they are parked is left as it is."""
    upsert(
        cursor,
        "invoice",
        ("system", "key"),
        ("system", "key", "number", "customer", "state", "open_amount", "currency", "deleted", "record",
         "updated_at"),
        [
            (system, r.key, r.doc.number, r.doc.customer, r.state, r.doc.open_amount, r.doc.currency, r.deleted,
             _text(r), now)
            for r in records
        ],
    )  # fmt: skip


def save_customers(cursor: Cursor[Any], system: str, records: Iterable[CustomerRecord], now: dt.datetime) -> None:
    """Insert or replace customers. Whether they are parked is left as it is."""
    upsert(
        cursor,
        "customer",
        ("system", "key"),
        ("system", "key", "deleted", "record", "updated_at"),
        [(system, r.key, r.deleted, _text(r), now) for r in records],
    )


def save_intents(cursor: Cursor[Any], system: str, records: Iterable[IntentRecord]) -> None:
    """Insert or replace intents."""
    upsert(
        cursor,
        "intent",
        ("system", "id"),
        ("system", "id", "state", "customer", "received_at", "waits_for", "record"),
        [(system, r.id, r.state, r.intent.customer, r.received_at, _waits_for(r), _text(r)) for r in records],
    )


def save_commands(cursor: Cursor[Any], system: str, records: Mapping[tuple[str, int], CommandRecord]) -> None:
    """Insert or replace commands; only the newest revision of a key stays current. Leases are left as they are."""
    newest = dict(sorted(records))
    older = [(system, key, revision) for key, revision in newest.items() if revision > 1]
    if older:
        cursor.executemany(
            "UPDATE command SET current = false WHERE system = %s AND key = %s AND revision < %s", older
        )
    upsert(
        cursor,
        "command",
        ("system", "key", "revision"),
        ("system", "key", "revision", "current", "intent", "customer", "state", "created_at", "due_at", "sent_at",
         "fence", "record"),
        [
            (system, key, revision, revision == newest[key], c.intent, c.customer, c.state, c.created_at, c.due_at,
             c.sent_at, c.fence, _text(c))
            for (key, revision), c in records.items()
        ],
    )  # fmt: skip


def save_conflicts(cursor: Cursor[Any], system: str, records: Iterable[ConflictRecord]) -> None:
    """Insert or replace conflicts."""
    upsert(
        cursor,
        "conflict",
        ("system", "id"),
        ("system", "id", "kind", "state", "intent", "command", "document", "customer", "company", "amount",
         "currency", "detected_at", "apply_at", "ended_at", "record"),
        [
            (system, r.id, str(r.kind), r.state, r.intent, r.command, r.document, r.customer, r.company, r.amount,
             r.currency, r.detected_at, r.apply_at, r.ended_at, _text(r))
            for r in records
        ],
    )  # fmt: skip


def _waits_for(record: IntentRecord) -> list[str]:
    """What an intent names: the documents whose arrival it may wait for."""
    parts = [f"invoice/{part.invoice}" for part in record.intent.parts]
    return parts or [f"customer/{record.intent.customer}"]


def _lock(wanted: bool) -> str:  # noqa: FBT001 - the one caller names it
    return " FOR UPDATE" if wanted else ""


def _text(record: object) -> str:
    return canonical_bytes(record).decode()


def _decoded(cursor: Cursor[Any], kind: type[T]) -> Iterable[T]:
    decoder = msgspec.json.Decoder(kind)
    return [decoder.decode(text) for (text,) in cursor]
