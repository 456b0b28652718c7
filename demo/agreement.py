"""Tryton's word on every invoice and customer against arsync's, field by field.

`demo.verb` calls it at the end of the day. Pure: rows of `demo.books` and of arsync's lists in, lines and
differences out. A document that only one side has, or that one side has twice, is a difference.
"""

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from demo.ledger import Difference

Row = Mapping[str, Any]
Due = list[tuple[dt.date | None, Decimal]]


@dataclass(frozen=True, slots=True)
class Pair:
    """One document as both sides have it; None where a side has none."""

    key: str
    erp: Row | None
    engine: Row | None
    differences: tuple[Difference, ...]


def compare_invoices(
    erp: Sequence[Row], due: Mapping[int, Due], engine: Sequence[Row], disputed: Collection[int] = ()
) -> list[Pair]:
    """Pairs by Tryton's order. `due` are Tryton's unpaid instalments by invoice, as `Books.instalments` gives;
    `disputed` are invoices with a dispute that has not ended.
    """

    def fields(row: Row) -> dict[str, object]:
        instalments = due.get(row["id"], [])
        return {
            "number": row["number"],
            "erp_state": row["state"],
            "total_amount": row["total_amount"],
            "open_amount": row["amount_to_pay"],
            "currency": row["currency"],
            "customer": str(row["party"]),
            "due": instalments,
            "state": "disputed" if row["id"] in disputed else _life(str(row["state"]), instalments),
        }

    return _pairs("invoice", erp, engine, fields)


def compare_customers(erp: Sequence[Row], engine: Sequence[Row], own: int) -> list[Pair]:
    """Pairs by Tryton's order; `own` is the company's own party, which is nobody's customer."""

    def fields(row: Row) -> dict[str, object]:
        return {
            "name": row["name"],
            "active": row["active"],
            "receivable": row["receivable"],
            "credit_limit": row["credit_limit_amount"],
        }

    return _pairs("customer", erp, [row for row in engine if row["key"] != str(own)], fields)


def _life(erp_state: str, instalments: Due) -> str:
    """Where an invoice of this state stands in its life when nothing is in flight."""
    if erp_state == "cancelled":
        return "cleared"
    if erp_state in {"posted", "paid"}:
        return "open" if instalments else "posted"
    return "new"


def _pairs(kind: str, erp: Sequence[Row], engine: Sequence[Row], fields: Any) -> list[Pair]:
    theirs: dict[str, list[Row]] = {}
    for row in engine:
        theirs.setdefault(str(row["key"]), []).append(row)
    pairs = []
    for row in erp:
        key = str(row["id"])
        found = theirs.pop(key, [])
        subject = f"{kind} {row.get('number') or row.get('name') or key}"
        differences = _compared(subject, fields(row), found)
        pairs.append(Pair(key, row, found[0] if found else None, tuple(differences)))
    for key, found in theirs.items():
        extra = Difference(f"{kind} {key}", "record", "not in Tryton", "listed by arsync")
        pairs.append(Pair(key, None, found[0], (extra,)))
    return pairs


def _compared(subject: str, expected: Mapping[str, object], found: Sequence[Row]) -> list[Difference]:
    if len(found) != 1:
        return [Difference(subject, "record", "listed once", f"listed {len(found)} times")]
    (row,) = found
    differences = [
        Difference(subject, name, _text(value), _text(row.get(name)))
        for name, value in expected.items()
        if _text(value) != _text(row.get(name))
    ]
    if row.get("parked"):
        differences.append(Difference(subject, "parked", "no", str(row["parked"])))
    return differences


def _text(value: object) -> str:
    """One spelling for both sides: money without needless zeros, days as ISO, lists of them in order."""
    if isinstance(value, (list, tuple)):
        return ", ".join(" ".join(_text(part) for part in item) for item in value) or "none"
    if value is None or isinstance(value, (bool, dt.date)):
        return str(value)
    try:
        return f"{Decimal(str(value)).normalize():f}"
    except ArithmeticError:
        return str(value)
