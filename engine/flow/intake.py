"""Takes the AR side's intents in, exactly once each.

`arsync intents submit` calls it, in a process of its own beside the daemon: the system's head lock puts its units
of work between those of the pipeline and the dispatcher.
"""

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from engine.flow.entering import load_view, take_event
from engine.model.events import IntentSubmitted
from engine.model.intents import Intent, SetCreditLimit, Withdraw
from engine.rules.policy import Policy
from engine.store.unit import Connection, unit_of_work

MOST = 200
"""Intents that are taken in one unit of work."""


class Taken(msgspec.Struct, frozen=True):
    """What became of a submitted intent. `known` when the same one had been submitted before.

    `trouble` says why it was not taken: its id belongs to another intent.
    """

    id: str
    state: str
    reason: str | None
    known: bool
    trouble: str | None = None


def submit(
    connection: Connection,
    system: str,
    intents: Sequence[Intent],
    policy: Policy,
    clock: Callable[[], dt.datetime],
    versions: dict[str, Any],
) -> list[Taken]:
    """Take intents in their order; each is committed when this returns, and the same one again changes nothing."""
    taken: list[Taken] = []
    for start in range(0, len(intents), MOST):
        part = intents[start : start + MOST]
        now = clock()
        with unit_of_work(connection, system, now, versions) as work:
            view = load_view(
                work.cursor,
                system,
                intents=[*(one.id for one in part), *(one.intent for one in part if isinstance(one, Withdraw))],
                named={one.invoice for intent in part for one in intent.parts},
                customers={one.customer for one in part if isinstance(one, SetCreditLimit)},
            )
            for place, intent in enumerate(part):
                known = view.intents.get(intent.id)
                if known is None:
                    # Each has a time of its own: commands of one customer go out in the order of their intents.
                    at = now + dt.timedelta(microseconds=place)
                    take_event(work, view, IntentSubmitted(intent, at), policy)
                taken.append(_taken(view.intents[intent.id], intent, known=known is not None))
    return taken


def _taken(record: Any, intent: Intent, *, known: bool) -> Taken:
    trouble = None
    if known and record.intent != intent:
        trouble = f"intent {intent.id} was submitted before with other content; give the new one an id of its own"
    return Taken(intent.id, record.state, record.reason, known, trouble)
