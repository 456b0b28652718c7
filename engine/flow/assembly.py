"""Between the rows and the rules: what a unit told of its documents becomes an event, with the records it needs."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from psycopg import Cursor

from engine.flow.batch import Told as Assembly
from engine.flow.entering import load_view
from engine.flow.reaching import commands_shown, orders_shown, with_numbers
from engine.flow.recall import Recall
from engine.flow.telling import documents_written, in_order
from engine.model.commands import PostEntry, ReleaseOrder
from engine.model.documents import Customer, DocumentKind, Invoice, LedgerEntry, Paper
from engine.model.events import DocumentsTold, Told
from engine.rules.decide import decide
from engine.rules.desk import Decision, View
from engine.rules.leaving import left_different
from engine.rules.policy import Policy
from engine.store import records
from engine.store.journal import Entry
from engine.store.unit import Unit as Work

Parked = dict[str, str | None]
"""By `kind/key` the reason why a document cannot be read, None where it can be again."""


class Telling(msgspec.Struct):
    """What one unit made of the documents that it touched."""

    tx: str
    commit: int
    assemblies: Sequence[Assembly] = ()
    papers: Sequence[Paper] = ()


def view_for(cursor: Cursor[Any], system: str, tellings: Sequence[Telling], recall: Recall) -> View:
    """Every record that deciding on these tellings can touch."""
    roots = dict.fromkeys(assembly.root for telling in tellings for assembly in telling.assemblies)
    invoices = [key for kind, key in roots if kind is DocumentKind.INVOICE]
    customers = [key for kind, key in roots if kind is DocumentKind.CUSTOMER]
    recall.learn(cursor, invoices, customers)
    known = recall.view(invoices, customers)
    docs = [a.assembled.document for t in tellings for a in t.assemblies if a.assembled is not None]
    told = [doc for doc in docs if isinstance(doc, Invoice)]
    papers = [paper for telling in tellings for paper in telling.papers]
    keys = commands_shown(told, known.invoices.values(), known.customers.values(), papers)
    orders = orders_shown(papers)
    keys |= records.commands_of_orders(cursor, system, orders) if orders else set()
    names = {name for doc in told for name in (doc.key, doc.number) if name is not None}
    waiting = recall.waiting(cursor, names, customers)
    about = [f"invoice/{key}" for key in invoices] if recall.some_disagree(cursor) else []
    if not keys and not waiting and not about:
        return known
    return with_numbers(load_view(cursor, system, commands=keys, intents=waiting, about=about, at_hand=known), told)


def take_telling(
    work: Work, view: View, telling: Telling, event: DocumentsTold | None, policy: Policy, parked: Parked
) -> Decision:
    """Decide on what a unit told, journal it with what followed, and let the next one see it.

    `parked` are the documents of which the unit parks some, with the reason, or None where one is readable again.
    """
    if event is None and not parked:
        return Decision()
    told: dict[str, Any] = {"tx": telling.tx, "commit": telling.commit}
    if parked:
        told["parked"] = parked
    stream = f"{work.system}/changes"
    if event is None:
        work.note(Entry(stream, "change", work.now, told))
        return Decision()
    decision = decide(view, event, policy, work.system)
    after = left_different(view, decision)
    written = told["documents"] = documents_written(event, view)
    entry = Entry(stream, "change", event.at, told, decision.seen, decision.effects, after)
    decided = after or decision.effects
    guards_only = not decided and all(isinstance(one, dict) and "doc" not in one for one in written.values())
    work.record(entry, decision, tx=telling.tx, commit=telling.commit, guards_only=guards_only)
    view.absorb(decision)
    return decision


def event_of(
    telling: Telling, view: View, work: Work, parked: Mapping[str, str], recall: Recall
) -> tuple[DocumentsTold | None, Parked]:
    """The event, without the documents of which nothing is new, None when nothing is; and what is parked by it.

    `parked` are the documents that are parked already.
    """
    invoices: list[Told] = []
    customers: list[Told] = []
    changed: Parked = {}
    for assembly in telling.assemblies:
        kind, key = assembly.root
        name = f"{kind}/{key}"
        if assembly.trouble is not None:
            if parked.get(name) != assembly.trouble:
                changed[name] = assembly.trouble
            continue
        if name in parked:
            changed[name] = None
        if kind is DocumentKind.INVOICE:
            invoices += _invoice_told(assembly, view)
        else:
            customers += _customer_told(assembly, view, recall, key)
    for name, reason in changed.items():
        work.park(name, reason)
    papers = [Told(paper.key, paper, {}) for paper in telling.papers if _is_ours(paper, view)]
    if not invoices and not customers and not papers:
        return None, changed
    told = DocumentsTold(telling.tx, work.now, tuple(invoices), tuple(customers), tuple(papers), telling.commit)
    return in_order(told), changed


def _is_ours(paper: Paper, view: View) -> bool:
    """Whether a command of ours is about this order or entry."""
    if isinstance(paper, LedgerEntry):
        entry = view.commands.get(paper.text or "")
        return entry is not None and isinstance(entry.write, PostEntry)
    asked = [command.write for command in view.commands.values()]
    return any(isinstance(write, ReleaseOrder) and write.order in (paper.key, paper.number) for write in asked)


def _invoice_told(assembly: Assembly, view: View) -> Iterable[Told]:
    key, assembled = assembly.root[1], assembly.assembled
    known = view.invoices.get(key)
    if assembled is None:
        return [Told(key, None, {})] if known is not None and not known.deleted else []
    if known is not None and known.doc == assembled.document and known.guard == assembled.guard and not known.deleted:
        return []
    return [Told(key, assembled.document, assembled.guard)]


def _customer_told(assembly: Assembly, view: View, recall: Recall, key: str) -> Iterable[Told]:
    assembled = assembly.assembled
    known = view.customers.get(key)
    if assembled is None:
        return [Told(key, None, {})] if known is not None and not known.deleted else []
    if not isinstance(assembled.document, Customer):
        return []
    number = recall.number_personal(key, assembled.personal or {})
    document = msgspec.structs.replace(assembled.document, personal=f"customer/{key}#{number}")
    if known is not None and known.doc == document and known.guard == assembled.guard and not known.deleted:
        return []
    return [Told(key, document, assembled.guard)]
