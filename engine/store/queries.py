"""What the command line shows: read-only queries over documents and their steps."""

import json
from typing import Any

from psycopg import Cursor


def list_invoices(cursor: Cursor[Any], system: str | None) -> list[dict[str, Any]]:
    """Every invoice that the ERP has not deleted, by system and key."""
    cursor.execute(
        """SELECT system, record::text, parked FROM invoice
           WHERE NOT deleted AND (%(system)s::text IS NULL OR system = %(system)s)
           ORDER BY system, length(key), key""",
        {"system": system},
    )
    return [_invoice(name, json.loads(record), parked) for name, record, parked in cursor]


def show_invoice(cursor: Cursor[Any], system: str | None, name: str) -> list[dict[str, Any]]:
    """Invoices with this key or number, deleted ones too, each with its steps."""
    cursor.execute(
        """SELECT system, record::text, parked FROM invoice
           WHERE (key = %(name)s OR number = %(name)s) AND (%(system)s::text IS NULL OR system = %(system)s)
           ORDER BY key = %(name)s DESC, system""",
        {"system": system, "name": name},
    )
    found = [_invoice(owner, json.loads(record), parked) for owner, record, parked in cursor]
    for invoice in found:
        invoice["transitions"] = transitions(cursor, invoice["system"], f"invoice/{invoice['key']}")
    return found


def transitions(cursor: Cursor[Any], system: str, document: str) -> list[dict[str, Any]]:
    """The steps of one document's life, in order."""
    cursor.execute(
        """SELECT seq, trigger, source, destination, reason, tx, commit_lsn, stream, entry FROM transition
           WHERE system = %s AND document = %s ORDER BY seq""",
        (system, document),
    )
    names = ("seq", "trigger", "source", "destination", "reason", "tx", "position", "stream", "entry")
    return [dict(zip(names, row, strict=True)) for row in cursor]


def list_customers(cursor: Cursor[Any], system: str | None) -> list[dict[str, Any]]:
    """Every customer that the ERP has not deleted. The amounts are those of the first company."""
    cursor.execute(
        """SELECT c.system, c.record::text, c.parked, p.data::text FROM customer c
           LEFT JOIN personal p ON p.system = c.system AND p.key = c.key
           WHERE NOT c.deleted AND (%(system)s::text IS NULL OR c.system = %(system)s)
           ORDER BY c.system, length(c.key), c.key""",
        {"system": system},
    )
    return [_customer(name, json.loads(record), parked, personal) for name, record, parked, personal in cursor]


def _invoice(system: str, record: dict[str, Any], parked: str | None) -> dict[str, Any]:
    doc = record["doc"]
    return {
        "system": system, **{field: value for field, value in doc.items() if field != "applications"},
        "state": record["state"], "clearing": record["clearing"], "content_version": record["version"],
        "deleted": record["deleted"], "parked": parked, "applications": doc["applications"],
    }  # fmt: skip


def _customer(system: str, record: dict[str, Any], parked: str | None, personal: str | None) -> dict[str, Any]:
    doc = record["doc"]
    account: dict[str, Any] = doc["accounts"][0] if doc["accounts"] else {}
    return {
        "system": system, "key": doc["key"], "name": json.loads(personal)["name"] if personal else None,
        "active": doc["active"], "receivable": account.get("receivable"),
        "credit_limit": account.get("credit_limit"), "currency": account.get("currency"),
        "accounts": doc["accounts"], "content_version": record["version"], "parked": parked,
    }  # fmt: skip
