"""How the journal writes down what an ERP transaction told of documents, and how replay reads it again.

`engine.flow.assembly` writes, `engine.flow.replay` reads. Only what is different from the record before is written:
of the document its fields, of the guard its tokens. What is read back is the very event that was decided on.
"""

import datetime as dt
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import msgspec
from msgspec import convert
from msgspec.structs import astuple, replace

from engine.model.canonical import same_bytes
from engine.model.documents import Customer, Invoice, LedgerEntry, Paper, SalesOrder
from engine.model.events import DocumentsTold, Told
from engine.model.records import CustomerRecord, InvoiceRecord
from engine.ports.rows import natural
from engine.rules.desk import View

_PAPERS: dict[str, type[SalesOrder | LedgerEntry]] = {"order": SalesOrder, "entry": LedgerEntry}


def in_order(event: DocumentsTold) -> DocumentsTold:
    """The same event with its documents in the one order in which they are decided on."""
    return DocumentsTold(
        event.tx, event.at, _sorted(event.invoices), _sorted(event.customers),
        tuple(sorted(event.papers, key=lambda told: (paper_name(told), natural(told.key)))), event.commit,
    )  # fmt: skip


def documents_written(event: DocumentsTold, view: View) -> dict[str, Any]:
    """For each document of the event, by `kind/key`, what is different from the view's; None when it is gone."""
    written: dict[str, Any] = {}
    for told in event.invoices:
        written[f"invoice/{told.key}"] = _difference(view.invoices.get(told.key), told)
    for told in event.customers:
        written[f"customer/{told.key}"] = _difference(view.customers.get(told.key), told)
    for told in event.papers:
        written[f"{paper_name(told)}/{told.key}"] = told.document
    return written


def documents_read(told: Mapping[str, Any], at: dt.datetime, view: View) -> DocumentsTold:
    """The event of an entry's input, given the records as they were before it.

    Raises:
        msgspec.ValidationError: what is written is no document.
        KeyError: it is about a kind of document that is not known.
    """
    invoices, customers, papers = [], [], []
    for name, difference in told["documents"].items():
        kind, _, key = name.partition("/")
        if kind == "invoice":
            invoices.append(told_again(key, difference, view.invoices.get(key), Invoice))
        elif kind == "customer":
            customers.append(told_again(key, difference, view.customers.get(key), Customer))
        else:
            papers.append(Told(key, msgspec.convert(difference, _PAPERS[kind]), {}))
    event = DocumentsTold(told["tx"], at, tuple(invoices), tuple(customers), tuple(papers), told.get("commit"))
    return in_order(event)


def told_again(
    key: str, difference: Any, known: InvoiceRecord | CustomerRecord | None, kind: type[Invoice | Customer]
) -> Told:
    """One document of a journalled event as it was told."""
    if difference is None:
        return Told(key, None, {})
    change, tokens = difference.get("doc"), difference.get("guard")
    if known is None:
        document = msgspec.convert(change or {}, kind)
    elif change:
        # What is not told stays the very same value, so that nothing of it is compared or hashed again.
        types = fields_of(kind)
        document = replace(known.doc, **{n: _read(v, types[n]) for n, v in change.items() if n in types})
    else:
        document = known.doc
    guard = known.guard if known else {}
    if tokens:
        guard = dict(guard)
    for record, token in (tokens or {}).items():
        if token is None:
            guard.pop(record, None)
        else:
            guard[record] = token
    return Told(key, document, guard)


def _read(value: Any, kind: Any) -> Any:
    return value if type(value) is kind else convert(value, kind)


@cache
def fields_of(kind: type) -> dict[str, Any]:
    """The type of each field of a struct."""
    return {field.name: field.type for field in msgspec.structs.fields(kind)}


def paper_name(told: Told) -> str:
    """`order` or `entry`."""
    return "entry" if isinstance(told.document, LedgerEntry) else "order"


def _sorted(told: Iterable[Told]) -> tuple[Told, ...]:
    every = tuple(told)
    return every if len(every) < 2 else tuple(sorted(every, key=lambda one: natural(one.key)))


def _difference(known: InvoiceRecord | CustomerRecord | None, told: Told) -> dict[str, Any] | None:
    if told.document is None:
        return None
    different: dict[str, Any] = {}
    change = _fields(None if known is None else known.doc, told.document)
    before = {} if known is None else known.guard
    guard: dict[str, str | None] = {}
    if told.guard is not before:
        guard = {name: token for name, token in told.guard.items() if before.get(name) != token}
        guard |= dict.fromkeys(before.keys() - told.guard.keys())
    if change:
        different["doc"] = change
    if guard:
        different["guard"] = guard
    return different


def _fields(before: Invoice | Customer | None, now: Invoice | Customer | Paper) -> dict[str, Any]:
    if before is now:
        return {}
    if type(before) is not type(now):
        return dict(zip(now.__struct_fields__, astuple(now), strict=True))
    return {
        name: new
        for name, old, new in zip(now.__struct_fields__, astuple(before), astuple(now), strict=True)
        if old is not new and not same_bytes(old, new)
    }
