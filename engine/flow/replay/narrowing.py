"""Out of every record those that one event can touch, so that deciding costs as much as it cost when it happened.

It walks as `engine.flow.entering` and `engine.flow.assembly` do in the store. A record more than these load changes
no decision; the verifier's tests hold both walks to each other.
"""

from collections.abc import Iterable

from engine.flow.replay.state import State
from engine.model.commands import is_command_key
from engine.model.documents import Invoice, LedgerEntry, SalesOrder
from engine.model.events import (
    ChoiceMade,
    ChoiceUndone,
    DocumentCompared,
    DocumentsTold,
    Event,
    IntentSubmitted,
    KeyLookedUp,
    OutcomeReceived,
    Timer,
    TimerFired,
)
from engine.model.intents import SetCreditLimit, Withdraw
from engine.rules.desk import View


def narrowed(state: State, event: Event) -> View:
    """The view on which an event is decided."""
    if isinstance(event, DocumentsTold):
        return _of_documents(state, event)
    if isinstance(event, IntentSubmitted):
        intent = event.intent
        customers = {intent.customer} if isinstance(intent, SetCreditLimit) else set()
        others = {intent.id, *([intent.intent] if isinstance(intent, Withdraw) else [])}
        return _walk(state, intents=others, named={p.invoice for p in intent.parts}, customers=customers)
    if isinstance(event, OutcomeReceived | KeyLookedUp):
        return _walk(state, commands={event.command})
    if isinstance(event, TimerFired):
        if event.timer is Timer.STILL_UNKNOWN:
            return _walk(state, intents={event.subject})
        if event.timer is Timer.APPLY_CHOICE:
            return _walk(state, conflicts={event.subject})
        return _walk(state, commands={event.subject})
    if isinstance(event, ChoiceMade | ChoiceUndone):
        return _walk(state, conflicts={event.conflict})
    return _of_comparison(state, event)


def _of_comparison(state: State, event: DocumentCompared) -> View:
    kind, _, key = event.document.partition("/")
    invoices, customers = ({key}, set[str]()) if kind == "invoice" else (set[str](), {key})
    return _walk(state, invoices=invoices, customers=customers, conflicts=_open_about(state, [event.document]))


def _open_about(state: State, documents: Iterable[str]) -> set[str]:
    """Conflicts about which something can still be chosen, and to which one of these documents belongs."""
    names = {name for document in documents for name in state.conflicts_about.get(document, ())}
    return {name for name in names if state.view.conflicts[name].open}


def _of_documents(state: State, event: DocumentsTold) -> View:
    every = state.view
    invoices = {told.key for told in event.invoices}
    customers = {told.key for told in event.customers}
    known = [record for key in invoices if (record := every.invoices.get(key)) is not None]
    docs = [told.document for told in event.invoices if isinstance(told.document, Invoice)]
    keys = {a.text for doc in (*docs, *(r.doc for r in known)) for a in doc.applications if is_command_key(a.text)}
    keys |= {doc.reference for doc in docs if is_command_key(doc.reference)}
    keys |= {key for record in known for key in record.under_way}
    keys |= {key for name in customers if (one := every.customers.get(name)) is not None for key in one.changes}
    for told in event.papers:
        paper = told.document
        if isinstance(paper, LedgerEntry) and is_command_key(paper.text):
            keys.add(paper.text)
        elif isinstance(paper, SalesOrder):
            keys |= {key for name in (paper.key, paper.number) if name for key in state.releases.get(name, ())}
    commands = {key for key in keys if key is not None}
    disagreed = _open_about(state, [f"invoice/{key}" for key in invoices]) if state.conflicts_about else set()
    if not commands and not state.waiting and not disagreed and not any(record.disputes for record in known):
        return _of_nothing_under_way(state, event, docs)
    view = _walk(
        state, invoices=invoices, customers=customers, commands=commands, intents=state.waiting, conflicts=disagreed
    )
    for doc in docs:
        if doc.number is not None:
            view.numbers[doc.number] = tuple(dict.fromkeys((*view.numbers.get(doc.number, ()), doc.key)))
    return view


def _of_nothing_under_way(state: State, event: DocumentsTold, docs: list[Invoice]) -> View:
    """The most frequent case: no command, intent or conflict has to do with what is told. What `_walk` would find."""
    invoices, customers = state.view.invoices, state.view.customers
    return View(
        invoices={told.key: invoices[told.key] for told in event.invoices if told.key in invoices},
        customers={told.key: customers[told.key] for told in event.customers if told.key in customers},
        numbers={doc.number: (doc.key,) for doc in docs if doc.number is not None},
    )


def _walk(
    state: State,
    *,
    invoices: Iterable[str] = (),
    customers: Iterable[str] = (),
    commands: Iterable[str] = (),
    intents: Iterable[str] = (),
    named: Iterable[str] = (),
    conflicts: Iterable[str] = (),
) -> View:
    every = state.view
    asked = {name: every.conflicts[name] for name in conflicts if name in every.conflicts}
    known = {
        key: every.commands[key]
        for key in (*commands, *(c.command for c in asked.values() if c.command))
        if key in every.commands
    }
    ids = {*intents, *(c.intent for c in known.values()), *(c.intent for c in asked.values() if c.intent)}
    wanted = {name: every.intents[name] for name in ids if name in every.intents}
    for record in list(wanted.values()):
        if isinstance(record.intent, Withdraw) and record.intent.intent in every.intents:
            wanted[record.intent.intent] = every.intents[record.intent.intent]
    for name in wanted:
        for key in state.commands_of.get(name, ()):
            known[key] = every.commands[key]
    names = {part.invoice for record in wanted.values() for part in record.intent.parts}.union(named)
    numbers = {name: every.numbers[name] for name in names if name in every.numbers}
    keys = {*invoices, *names, *(key for found in numbers.values() for key in found)}
    for command in known.values():
        keys.update(command.echoed)
        keys.update(a.invoice for a in command.write.allocations)
    shown = (name for conflict in asked.values() for name in conflict.documents)
    keys.update(name.removeprefix("invoice/") for name in shown if "invoice/" in name)
    found = {key: every.invoices[key] for key in keys if key in every.invoices}
    for invoice in found.values():
        memos = (dispute.memo for dispute in invoice.disputes if dispute.memo is not None)
        for key in (*invoice.under_way, *memos):
            if key in every.commands:
                known.setdefault(key, every.commands[key])
    whose = {*customers, *(r.intent.customer for r in wanted.values() if isinstance(r.intent, SetCreditLimit))}
    about = (name for intent in wanted for name in state.conflicts_of.get(intent, ()))
    return View(
        invoices=found,
        customers={key: every.customers[key] for key in whose if key in every.customers},
        intents=wanted,
        commands=known,
        conflicts={**asked, **{name: every.conflicts[name] for name in about}},
        numbers=numbers,
    )
