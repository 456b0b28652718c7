"""Takes in what comes from anywhere but the change stream: intents, answers, look-ups, clocks.

Intake and dispatcher hand each event in here, inside their unit of work: decided, journalled, kept.
"""

from collections.abc import Iterable
from typing import Any

from psycopg import Cursor

from engine.flow.reaching import reach
from engine.model.events import (
    ChoiceMade,
    ChoiceUndone,
    DocumentCompared,
    Event,
    IntentSubmitted,
    KeyLookedUp,
    OutcomeReceived,
    TimerFired,
)
from engine.model.records import (
    CommandRecord,
    ConflictKind,
    ConflictRecord,
    CustomerRecord,
    IntentRecord,
    InvoiceRecord,
)
from engine.rules.decide import decide
from engine.rules.desk import Decision, View
from engine.rules.leaving import left_different
from engine.rules.policy import Policy
from engine.store import chores, records
from engine.store.journal import Entry
from engine.store.unit import Unit as Work
from statemachines import ConflictState


class InStore:
    """Records of one system in the store; what is `at_hand` is not loaded again. See `engine.flow.reaching.Known`.

    The system's head lock keeps everybody else from writing any of them.
    """

    def __init__(self, cursor: Cursor[Any], system: str, at_hand: View) -> None:
        self._cursor = cursor
        self._system = system
        self._at_hand = at_hand

    def invoices(self, keys: set[str]) -> dict[str, InvoiceRecord]:
        have = self._at_hand.invoices
        return have | records.load_invoices(self._cursor, self._system, keys - set(have), lock=False)

    def customers(self, keys: set[str]) -> dict[str, CustomerRecord]:
        have = self._at_hand.customers
        return have | records.load_customers(self._cursor, self._system, keys - set(have))

    def commands(self, keys: set[str]) -> dict[str, CommandRecord]:
        return records.load_commands(self._cursor, self._system, keys)

    def intents(self, ids: set[str]) -> dict[str, IntentRecord]:
        return records.load_intents(self._cursor, self._system, ids)

    def conflicts(self, ids: set[str]) -> dict[str, ConflictRecord]:
        return records.load_conflicts(self._cursor, self._system, (), ids=ids)

    def conflicts_of(self, intents: set[str]) -> dict[str, ConflictRecord]:
        return records.load_conflicts(self._cursor, self._system, intents)

    def open_conflicts_about(self, documents: set[str]) -> dict[str, ConflictRecord]:
        return records.open_conflicts_about(self._cursor, self._system, documents) if documents else {}

    def numbered(self, names: set[str]) -> dict[str, tuple[str, ...]]:
        return records.invoice_numbers(self._cursor, self._system, names)


def load_view(cursor: Cursor[Any], system: str, *, at_hand: View | None = None, **asked: Iterable[str]) -> View:
    """The records asked for, as `reach` takes them, with everything that a decision on them can touch.

    Invoices and customers that are `at_hand` are in it in any case, and are not loaded again.
    """
    return reach(InStore(cursor, system, at_hand or View()), **asked)


def take_event(work: Work, view: View, event: Event, policy: Policy) -> Decision:
    """Decide on one event, journal it with what followed, and let the next one see it.

    What was told from outside is journalled even when nothing follows; a clock that came for nothing is not.
    """
    decision = decide(view, event, policy, work.system)
    after = left_different(view, decision)
    if after or decision.effects or not isinstance(event, TimerFired):
        kind, stream = _place(event)
        entry = Entry(f"{work.system}/{stream}", kind, event.at, event, decision.seen, decision.effects, after)
        work.record(entry, decision)
        view.absorb(decision)
        _read_drifting_again(work, decision)
    return decision


def _read_drifting_again(work: Work, decision: Decision) -> None:
    """To accept the ERP's word on a document that drifts is to read its rows again: the reader is asked to."""
    accepted = [
        conflict.document
        for conflict in decision.conflicts.values()
        if conflict.kind is ConflictKind.DRIFT and conflict.document and conflict.state == ConflictState.APPLIED
    ]
    chores.ask(work, chores.ChoreKind.READ_AGAIN, accepted, "arsync", "the ERP's word was accepted about a drift")


def _place(event: Event) -> tuple[str, str]:
    """The entry's kind, and the stream that it stands in."""
    if isinstance(event, IntentSubmitted):
        return "intent", "intents"
    if isinstance(event, OutcomeReceived):
        return "outcome", "outcomes"
    if isinstance(event, KeyLookedUp | DocumentCompared):
        return "erp_read", "outcomes"
    if isinstance(event, ChoiceMade | ChoiceUndone):
        return "choice", "operators"
    return "timer", "outcomes"
