"""Reads whole canonical documents as the AR side sees them: some by key, or page by page.

HTTP and the publishers of topics call it.
"""

import json
from collections.abc import Iterable
from typing import Any

import msgspec
from psycopg import Cursor

from engine.model.documents import DocumentKind
from engine.model.outbound import (
    CustomerDocument,
    InvoiceDocument,
    OutDocument,
    customer_document,
    invoice_document,
)
from engine.model.records import CustomerRecord, InvoiceRecord

_INVOICE = msgspec.json.Decoder(InvoiceRecord)
_CUSTOMER = msgspec.json.Decoder(CustomerRecord)


def some_documents(cursor: Cursor[Any], system: str, kind: DocumentKind, keys: Iterable[str]) -> list[OutDocument]:
    """Documents by key, deleted ones too, in key order."""
    if kind is DocumentKind.INVOICE:
        return list(_invoices(cursor, system, "key = ANY(%(keys)s)", {"keys": sorted(set(keys))}))
    return list(_customers(cursor, system, "c.key = ANY(%(keys)s)", {"keys": sorted(set(keys))}))


def document_page(
    cursor: Cursor[Any], system: str, kind: DocumentKind, after: str, limit: int, *, deleted: bool = False
) -> list[OutDocument]:
    """The next documents of a kind after a key, in key order; deleted ones only when asked for."""
    asked = {"after": after, "limit": limit, "deleted": deleted}
    if kind is DocumentKind.INVOICE:
        return list(_invoices(cursor, system, "key > %(after)s AND (NOT deleted OR %(deleted)s)", asked))
    return list(_customers(cursor, system, "c.key > %(after)s AND (NOT c.deleted OR %(deleted)s)", asked))


def invoice_page(
    cursor: Cursor[Any],
    system: str,
    after: str,
    limit: int,
    *,
    state: str | None,
    customer: str | None,
    number: str | None,
) -> list[InvoiceDocument]:
    """The next invoices that fit, in key order."""
    where = """key > %(after)s AND NOT deleted AND (%(state)s::text IS NULL OR state = %(state)s)
        AND (%(customer)s::text IS NULL OR customer = %(customer)s)
        AND (%(number)s::text IS NULL OR number = %(number)s)"""
    asked = {"after": after, "limit": limit, "state": state, "customer": customer, "number": number}
    return _invoices(cursor, system, where, asked)


def _invoices(cursor: Cursor[Any], system: str, where: str, asked: dict[str, Any]) -> list[InvoiceDocument]:
    cursor.execute(
        f"""SELECT record::text, parked FROM invoice WHERE system = %(system)s AND {where}
            ORDER BY key LIMIT %(limit)s""",  # noqa: S608 - conditions of this file
        {"limit": None, **asked, "system": system},
    )
    return [invoice_document(system, _INVOICE.decode(text), parked) for text, parked in cursor]


def _customers(cursor: Cursor[Any], system: str, where: str, asked: dict[str, Any]) -> list[CustomerDocument]:
    cursor.execute(
        f"""SELECT c.record::text, c.parked, p.data::text FROM customer c
            LEFT JOIN personal p ON p.system = c.system AND p.key = c.key
            WHERE c.system = %(system)s AND {where} ORDER BY c.key LIMIT %(limit)s""",  # noqa: S608 - as above
        {"limit": None, **asked, "system": system},
    )
    return [
        customer_document(system, _CUSTOMER.decode(text), json.loads(data) if data else None, parked)
        for text, parked, data in cursor
    ]
