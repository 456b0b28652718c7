"""Takes in what comes from anywhere but the change stream: intents, answers, look-ups, clocks.

Intake and dispatcher hand each event in here, inside their unit of work: decided, journalled, kept.
"""

from collections.abc import Iterable
from typing import Any

from psycopg import Cursor

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
from engine.model.intents import SetCreditLimit, Withdraw
from engine.model.records import ConflictKind
from engine.rules.decide import decide
from engine.rules.desk import Decision, View
from engine.rules.leaving import left_different
from engine.rules.policy import Policy
from engine.store import chores, records
from engine.store.journal import Entry
from engine.store.unit import Unit as Work
from statemachines import ConflictState


def load_view(
    cursor: Cursor[Any],
    system: str,
    *,
    invoices: Iterable[str] = (),
    customers: Iterable[str] = (),
    commands: Iterable[str] = (),
    intents: Iterable[str] = (),
    named: Iterable[str] = (),
    intent_state: str | None = None,
    conflicts: Iterable[str] = (),
    about: Iterable[str] = (),
    at_hand: View | None = None,
) -> View:
    """The records asked for, with everything that a decision on them can touch.

    `named` are invoices by key or number; `intent_state` adds all intents in that state; `about` the open conflicts
    about documents (`kind/key`). What is `at_hand` is not loaded again. The system's head lock keeps everybody else
    from writing any of them.
    """
    asked = records.load_conflicts(cursor, system, (), ids=conflicts) if conflicts else {}
    asked |= records.open_conflicts_about(cursor, system, about) if about else {}
    keys = {*commands, *(c.command for c in asked.values() if c.command)}
    known = records.load_commands(cursor, system, keys)
    ids = {*intents, *(command.intent for command in known.values()), *(c.intent for c in asked.values() if c.intent)}
    wanted = records.load_intents(cursor, system, ids, state=intent_state)
    withdrawn = {r.intent.intent for r in wanted.values() if isinstance(r.intent, Withdraw)} - set(wanted)
    if withdrawn:
        wanted |= records.load_intents(cursor, system, withdrawn)
    caused = {key for record in wanted.values() for key in record.commands}
    known |= records.load_commands(cursor, system, caused - set(known))
    names = {part.invoice for record in wanted.values() for part in record.intent.parts} | set(named)
    numbers = records.invoice_numbers(cursor, system, names)
    # A command may promise money to invoices that were not asked for, and show it on others.
    promised = {a.invoice for command in known.values() for a in command.write.allocations}
    shown = {name.removeprefix("invoice/") for c in asked.values() for name in c.documents if "invoice/" in name}
    echoed = {name for command in known.values() for name in command.echoed}
    numbered = {key for keys in numbers.values() for key in keys}
    have = at_hand or View()
    keys = {*invoices, *promised, *echoed, *names, *numbered, *shown} - set(have.invoices)
    found = have.invoices | records.load_invoices(cursor, system, keys, lock=False)
    others = {dispute.memo for record in found.values() for dispute in record.disputes if dispute.memo}
    others |= {key for record in found.values() for key in record.under_way}
    known |= records.load_commands(cursor, system, others - set(known))
    whose = {*customers, *(r.intent.customer for r in wanted.values() if isinstance(r.intent, SetCreditLimit))}
    return View(
        invoices=found,
        customers=have.customers | records.load_customers(cursor, system, whose - set(have.customers)),
        intents=wanted,
        commands=known,
        conflicts={**asked, **records.load_conflicts(cursor, system, wanted)},
        numbers=numbers,
    )


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
