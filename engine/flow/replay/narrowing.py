"""Out of every record those that one event can touch, so that deciding costs as much as it cost when it happened.

The walk is `engine.flow.reaching`, here over a state in memory instead of the store.
"""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from engine.flow.reaching import commands_shown, orders_shown, reach, with_numbers
from engine.flow.replay.state import State
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
from engine.model.records import CommandRecord, ConflictRecord, CustomerRecord, IntentRecord, InvoiceRecord
from engine.rules.desk import View

T = TypeVar("T")


class InState:
    """Records of a state. See `engine.flow.reaching.Known`."""

    def __init__(self, state: State) -> None:
        self._state = state

    def invoices(self, keys: set[str]) -> dict[str, InvoiceRecord]:
        return _some(self._state.view.invoices, keys)

    def customers(self, keys: set[str]) -> dict[str, CustomerRecord]:
        return _some(self._state.view.customers, keys)

    def commands(self, keys: set[str]) -> dict[str, CommandRecord]:
        return _some(self._state.view.commands, keys)

    def intents(self, ids: set[str]) -> dict[str, IntentRecord]:
        return _some(self._state.view.intents, ids)

    def conflicts(self, ids: set[str]) -> dict[str, ConflictRecord]:
        return _some(self._state.view.conflicts, ids)

    def conflicts_of(self, intents: set[str]) -> dict[str, ConflictRecord]:
        of = self._state.conflicts_of
        return self.conflicts({name for intent in intents for name in of.get(intent, ())})

    def open_conflicts_about(self, documents: set[str]) -> dict[str, ConflictRecord]:
        about = self._state.conflicts_about
        found = self.conflicts({name for document in documents for name in about.get(document, ())})
        return {name: conflict for name, conflict in found.items() if conflict.open}

    def numbered(self, names: set[str]) -> dict[str, tuple[str, ...]]:
        return _some(self._state.view.numbers, names)


def _some(every: Mapping[str, T], keys: Iterable[str]) -> dict[str, T]:
    return {key: found for key in keys if (found := every.get(key)) is not None}


def narrowed(state: State, event: Event) -> View:
    """The view on which an event is decided."""
    known = InState(state)
    if isinstance(event, DocumentsTold):
        return _of_documents(state, known, event)
    if isinstance(event, IntentSubmitted):
        intent = event.intent
        customers = {intent.customer} if isinstance(intent, SetCreditLimit) else set()
        others = {intent.id, *([intent.intent] if isinstance(intent, Withdraw) else [])}
        return reach(known, intents=others, named={p.invoice for p in intent.parts}, customers=customers)
    if isinstance(event, OutcomeReceived | KeyLookedUp):
        return reach(known, commands={event.command})
    if isinstance(event, TimerFired):
        if event.timer is Timer.STILL_UNKNOWN:
            return reach(known, intents={event.subject})
        if event.timer is Timer.APPLY_CHOICE:
            return reach(known, conflicts={event.subject})
        return reach(known, commands={event.subject})
    if isinstance(event, ChoiceMade | ChoiceUndone):
        return reach(known, conflicts={event.conflict})
    return _of_comparison(known, event)


def _of_comparison(known: InState, event: DocumentCompared) -> View:
    kind, _, key = event.document.partition("/")
    invoices, customers = ({key}, set[str]()) if kind == "invoice" else (set[str](), {key})
    return reach(known, invoices=invoices, customers=customers, about=[event.document])


def _of_documents(state: State, known: InState, event: DocumentsTold) -> View:
    told = [one.document for one in event.invoices if isinstance(one.document, Invoice)]
    papers = [one.document for one in event.papers if isinstance(one.document, SalesOrder | LedgerEntry)]
    before = View(
        invoices=known.invoices({one.key for one in event.invoices}),
        customers=known.customers({one.key for one in event.customers}),
    )
    commands = commands_shown(told, before.invoices.values(), before.customers.values(), papers)
    for order in orders_shown(papers) if papers else ():
        commands.update(state.releases.get(order, ()))
    about = [f"invoice/{one.key}" for one in event.invoices] if state.conflicts_about else []
    disagreed = known.open_conflicts_about(set(about)) if about else {}
    if not commands and not state.waiting and not disagreed:
        # The most frequent case: no command, intent or conflict has to do with what is told.
        return before
    view = reach(
        known,
        invoices=before.invoices,
        customers=before.customers,
        commands=commands,
        intents=state.waiting,
        conflicts=disagreed,
    )
    return with_numbers(view, told)
