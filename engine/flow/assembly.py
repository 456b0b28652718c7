"""Between the rows and the rules: what a unit told of its documents becomes an event, with the records it needs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from psycopg import Cursor
from psycopg.types.json import Jsonb

from engine.flow.batch import Told as Assembly
from engine.flow.entering import load_view
from engine.model.canonical import to_plain
from engine.model.commands import PostEntry, ReleaseOrder, is_command_key
from engine.model.documents import Customer, DocumentKind, Invoice, LedgerEntry, Paper, SalesOrder
from engine.model.events import DocumentsTold, Told
from engine.rules.desk import View
from engine.store import records
from engine.store.unit import Unit as Work


class Telling(msgspec.Struct):
    """What one unit made of the documents that it touched."""

    tx: str
    commit: int
    assemblies: Sequence[Assembly]
    papers: Sequence[Paper] = ()

    def journalled(self, event: DocumentsTold, before: Mapping[str, Any], *, touched: bool) -> dict[str, Any]:
        """For each document of the event what is different now; the whole document when it is new, None when gone.

        With `touched`, documents of which only the guard is new are named too: something was decided on them.
        """
        told: dict[str, Any] = {}
        kinds = (("invoice", event.invoices), ("customer", event.customers), ("paper", event.papers))
        for kind, items in kinds:
            for item in items:
                name = f"{kind}/{item.key}"
                delta = _delta(before.get(name), item.document)
                if delta is None or delta or touched:
                    told[name] = delta
        return told


def view_for(cursor: Cursor[Any], system: str, tellings: Sequence[Telling]) -> View:
    """Every record that deciding on these tellings can touch."""
    roots = {assembly.root for telling in tellings for assembly in telling.assemblies}
    invoices = {key for kind, key in roots if kind is DocumentKind.INVOICE}
    known = records.load_invoices(cursor, system, invoices, lock=True)
    docs = [a.assembled.document for t in tellings for a in t.assemblies if a.assembled is not None]
    told = [doc for doc in docs if isinstance(doc, Invoice)]
    texts = (a.text for doc in (*told, *(r.doc for r in known.values())) for a in doc.applications)
    keys = {text for text in texts if text is not None and is_command_key(text)}
    keys |= {doc.reference for doc in told if doc.reference is not None and is_command_key(doc.reference)}
    keys |= {key for record in known.values() for key in record.under_way}
    customers = {key for kind, key in roots if kind is DocumentKind.CUSTOMER}
    keys |= {key for record in records.load_customers(cursor, system, customers).values() for key in record.changes}
    papers = [paper for telling in tellings for paper in telling.papers]
    keys |= {p.text for p in papers if isinstance(p, LedgerEntry) and p.text is not None and is_command_key(p.text)}
    orders = {name for p in papers if isinstance(p, SalesOrder) for name in (p.key, p.number) if name is not None}
    keys |= records.commands_of_orders(cursor, system, orders) if orders else set()
    view = load_view(
        cursor,
        system,
        invoices=invoices,
        customers=customers,
        commands=keys,
        intent_state="waiting",
        about=[f"invoice/{key}" for key in invoices],
    )
    named = {a.invoice for record in view.intents.values() for a in record.intent.parts}
    view.numbers |= {doc.number: doc.key for doc in told if doc.number in named and doc.number}
    return view


def event_of(telling: Telling, view: View, work: Work) -> DocumentsTold | None:
    """The event, without the documents of which nothing is new; None when nothing is."""
    invoices: list[Told] = []
    customers: list[Told] = []
    for assembly in telling.assemblies:
        kind, key = assembly.root
        if assembly.trouble is not None:
            _park(work, assembly)
        elif kind is DocumentKind.INVOICE:
            invoices += _invoice_told(assembly, view, work)
        else:
            customers += _customer_told(assembly, view, work, key)
    papers = [Told(paper.key, paper, {}) for paper in telling.papers if _is_ours(paper, view)]
    if not invoices and not customers and not papers:
        return None
    return DocumentsTold(telling.tx, work.now, tuple(invoices), tuple(customers), tuple(papers), telling.commit)


def _is_ours(paper: Paper, view: View) -> bool:
    """Whether a command of ours is about this order or entry."""
    if isinstance(paper, LedgerEntry):
        entry = view.commands.get(paper.text or "")
        return entry is not None and isinstance(entry.write, PostEntry)
    asked = [command.write for command in view.commands.values()]
    return any(isinstance(write, ReleaseOrder) and write.order in (paper.key, paper.number) for write in asked)


def _invoice_told(assembly: Assembly, view: View, work: Work) -> Iterable[Told]:
    key, assembled = assembly.root[1], assembly.assembled
    known = view.invoices.get(key)
    if assembled is None:
        return [Told(key, None, {})] if known is not None and not known.deleted else []
    if known is not None:
        work.park("invoice", key, None)
        if known.doc == assembled.document and known.guard == assembled.guard and not known.deleted:
            return []
    return [Told(key, assembled.document, assembled.guard)]


def _customer_told(assembly: Assembly, view: View, work: Work, key: str) -> Iterable[Told]:
    assembled = assembly.assembled
    known = view.customers.get(key)
    if assembled is None:
        return [Told(key, None, {})] if known is not None and not known.deleted else []
    if not isinstance(assembled.document, Customer):
        return []
    number = _keep_personal(work, key, assembled.personal or {})
    document = msgspec.structs.replace(assembled.document, personal=f"customer/{key}#{number}")
    if known is not None and known.doc == document and known.guard == assembled.guard and not known.deleted:
        return []
    return [Told(key, document, assembled.guard)]


def _keep_personal(work: Work, key: str, data: dict[str, Any]) -> int:
    """Store a customer's personal data beside the journal; returns its number, which rises with every change."""
    row = work.cursor.execute(
        """INSERT INTO personal AS p (system, key, number, data) VALUES (%s, %s, 1, %s)
           ON CONFLICT (system, key) DO UPDATE
             SET number = p.number + (p.data IS DISTINCT FROM EXCLUDED.data)::int, data = EXCLUDED.data
           RETURNING number""",
        (work.system, key, Jsonb(data)),
    ).fetchone()
    return int(row[0]) if row else 1


def _park(work: Work, assembly: Assembly) -> None:
    """Keep an unreadable document's reason; its last readable state stays, and the stream goes on."""
    kind, key = assembly.root
    reason = assembly.trouble or ""
    work.park(str(kind), key, reason)
    work.dead_letter("mapping", reason, "", f"{kind}/{key}")


def _delta(before: Any, now: Any) -> dict[str, Any] | None:
    if now is None:
        return None
    new = to_plain(now)
    if before is None:
        return dict(new)
    old = to_plain(before)
    return {name: value for name, value in new.items() if old.get(name) != value}
