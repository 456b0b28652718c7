"""What people are shown of an invoice: the facts that decisions rest on, now and at earlier content versions.

`invoices` keeps what an invoice was before, so that a conflict can say what the AR side had seen and not only its
digest; `conflicts` puts both beside each other.
"""

from typing import Any

from engine.model.documents import Invoice
from engine.model.records import InvoiceRecord, Past, Word
from engine.rules.desk import plain

_MOST_PAST = 4
_MOST_SHOWN = 4


def facts(doc: Invoice) -> dict[str, str | None]:
    """The facts of an invoice as text, one name each."""
    return plain({
        "number": doc.number, "customer": doc.customer, "state": doc.erp_state, "phase": doc.phase,
        "total_amount": doc.total_amount, "open_amount": doc.open_amount, "currency": doc.currency,
        "due": ", ".join(str(day) for day, _ in doc.due) or None, "blocked": "yes" if doc.blocked else "no",
        "applied": _applied(doc),
    })  # fmt: skip


def erp_side(record: InvoiceRecord) -> dict[str, Any]:
    """The ERP's present word on an invoice, as a conflict keeps it."""
    return {**facts(record.doc), **_of_version(record.version, record.told)}


def facts_at(record: InvoiceRecord, version: str) -> dict[str, Any]:
    """What an invoice was at a content version; of one that is not remembered the version alone."""
    if version == record.version:
        return erp_side(record)
    known = facts(record.doc)
    for past in record.past:
        known |= past.facts
        if past.version == version:
            return {**known, **_of_version(version, past.told)}
    return {"content_version": version}


def remembered(old: InvoiceRecord, doc: Invoice) -> tuple[Past, ...]:
    """The past of what follows `old`. Only what is another fact now is kept: it stands in every record and entry."""
    now = facts(doc)
    other = {name: value for name, value in facts(old.doc).items() if now[name] != value}
    return (Past(old.version, other, old.told), *old.past)[:_MOST_PAST]


def _of_version(version: str, told: Word | None) -> dict[str, Any]:
    return {"content_version": version, **({"read_at": told.at.isoformat(), "position": told.commit} if told else {})}


def _applied(doc: Invoice) -> str | None:
    """What was applied last; a key or a text says by whom."""
    shown = [
        " ".join(str(part) for part in (one.amount, one.text or one.item, one.date) if part is not None)
        for one in doc.applications[-_MOST_SHOWN:]
    ]
    more = len(doc.applications) - len(shown)
    return ", ".join([*shown, *([f"and {more} before"] if more > 0 else [])]) or None
