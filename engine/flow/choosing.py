"""Takes in what people choose about conflicts, one unit of work each, and tells beforehand what a choice would do.

The command line and the analyst's screen call it, in a process of their own beside the daemon.
"""

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from psycopg import Cursor

from engine.flow.entering import load_view, take_event
from engine.model.events import ChoiceMade, ChoiceUndone, Declined, Effect, Event, Moved, Planned
from engine.model.records import ConflictRecord
from engine.rules.choices import why_not
from engine.rules.decide import decide
from engine.rules.desk import Decision, Desk, View
from engine.rules.policy import Choice, Policy
from engine.rules.standing import standing, version_of
from engine.store import records
from engine.store.journal import Entry
from engine.store.unit import Connection, unit_of_work

Clock = Callable[[], dt.datetime]


class UnknownConflictError(RuntimeError):
    """There is no such conflict; `arsync conflicts list` shows those that are known."""


class Settled(msgspec.Struct, frozen=True):
    """What became of a choice. `declined` says why nothing was changed; `apply_at` until when it can be undone."""

    conflict: str
    state: str
    choice: str | None
    apply_at: dt.datetime | None
    done: tuple[str, ...]
    declined: str | None = None


class Prospect(msgspec.Struct, frozen=True):
    """What one choice would do, step by step, if it were carried out now; or why it cannot be."""

    choice: str
    steps: tuple[str, ...]
    declined: str | None = None


class Explained(msgspec.Struct, frozen=True):
    """A conflict as it stands: the version that a choice names, what that is made of, what each choice would do."""

    conflict: ConflictRecord
    version: str
    standing: dict[str, str]
    prospects: tuple[Prospect, ...]


def choose(
    connection: Connection,
    system: str,
    conflict: str,
    choice: str,
    *,
    actor: str,
    reason: str,
    policy: Policy,
    clock: Clock,
    versions: Mapping[str, Any],
    shown: str | None = None,
    at_once: bool = False,
) -> Settled:
    """Choose what is to be done about a conflict.

    `shown` is the version of what the actor had before them: another one now declines the choice. It can be undone
    for as long as the policy says, unless it is carried out `at_once`.

    Raises:
        UnknownConflictError: there is no such conflict in this system.
    """
    now = clock()
    apply_at = None if at_once or not policy.undo_for else now + policy.undo_for
    made = ChoiceMade(conflict, choice, actor, reason, now, shown, apply_at)
    return _settle(connection, system, conflict, made, policy, versions)


def undo(
    connection: Connection,
    system: str,
    conflict: str,
    *,
    actor: str,
    reason: str,
    policy: Policy,
    clock: Clock,
    versions: Mapping[str, Any],
) -> Settled:
    """Take a choice back that has not been carried out. Raises UnknownConflictError."""
    return _settle(connection, system, conflict, ChoiceUndone(conflict, actor, reason, clock()), policy, versions)


def explain(cursor: Cursor[Any], system: str, conflict: str, policy: Policy, now: dt.datetime) -> Explained:
    """A conflict with what each choice would do. Reads only. Raises UnknownConflictError."""
    view = load_view(cursor, system, conflicts=[conflict])
    record = _known(view, system, conflict)
    desk = Desk(view, policy, system)
    choices = Choice if record.open else ()
    prospects = tuple(_prospect(view, record, choice, policy, system, now) for choice in choices)
    return Explained(record, version_of(desk, record), standing(desk, record), prospects)


def assign(connection: Connection, system: str, conflict: str, whom: str | None, *, actor: str, clock: Clock) -> None:
    """Say who works on a conflict; None gives it back. Raises UnknownConflictError."""
    with unit_of_work(connection, system, clock()) as work:
        found = work.cursor.execute(
            "UPDATE conflict SET assignee = %s WHERE system = %s AND id = %s", (whom, system, conflict)
        ).rowcount
        _require(found, system, conflict)
        told = {"assign": conflict, "to": whom, "by": actor}
        work.note(Entry(f"{system}/operators", "choice", work.now, told, {}, []))


def comment(connection: Connection, system: str, conflict: str, text: str, *, actor: str, clock: Clock) -> None:
    """Keep a sentence about a conflict. Raises UnknownConflictError."""
    with unit_of_work(connection, system, clock()) as work:
        _require(len(records.load_conflicts(work.cursor, system, (), ids=[conflict])), system, conflict)
        work.cursor.execute(
            "INSERT INTO conflict_note (system, conflict, at, actor, text) VALUES (%s, %s, %s, %s, %s)",
            (system, conflict, work.now, actor, text),
        )
        told = {"comment": conflict, "text": text, "by": actor}
        work.note(Entry(f"{system}/operators", "choice", work.now, told, {}, []))


def _settle(
    connection: Connection, system: str, conflict: str, event: Event, policy: Policy, versions: Mapping[str, Any]
) -> Settled:
    with unit_of_work(connection, system, event.at, versions, policy) as work:
        view = load_view(work.cursor, system, conflicts=[conflict])
        _known(view, system, conflict)
        decision = take_event(work, view, event, policy)
    record = view.conflicts[conflict]
    declined = next((one.sentence for one in decision.effects if isinstance(one, Declined)), None)
    return Settled(conflict, record.state, record.choice, record.apply_at, _told(decision), declined)


def _prospect(
    view: View, record: ConflictRecord, choice: Choice, policy: Policy, system: str, now: dt.datetime
) -> Prospect:
    declined = why_not(Desk(view, policy, system), record, choice, now)
    if declined is not None:
        return Prospect(choice, (), declined)
    made = ChoiceMade(record.id, choice, "preview", "", now)
    return Prospect(choice, _told(decide(view, made, policy, system)))


def _told(decision: Decision) -> tuple[str, ...]:
    """What a decision did, in words, without what it did to the conflict itself."""
    words = (_word(effect, decision) for effect in decision.effects)
    return tuple(dict.fromkeys(word for word in words if word is not None))


def _word(effect: Effect, decision: Decision) -> str | None:
    if isinstance(effect, Planned):
        command = decision.commands.get((effect.command, effect.revision))
        title = command.write.title if command else "a write"
        again = ", looked up in the ERP before it leaves" if command and command.sends else ""
        return f"{title} is sent under key {effect.command} (revision {effect.revision}){again}"
    if isinstance(effect, Moved) and effect.source != effect.destination and effect.machine != "conflict":
        return f"{effect.machine} {effect.subject}: {effect.source} -> {effect.destination}"
    if isinstance(effect, Moved) and effect.trigger == "dismiss":
        return f"conflict {effect.subject} is closed: {effect.reason}"
    return None


def _known(view: View, system: str, conflict: str) -> ConflictRecord:
    record = view.conflicts.get(conflict)
    if record is None:
        raise _unknown(system, conflict)
    return record


def _require(found: int, system: str, conflict: str) -> None:
    if not found:
        raise _unknown(system, conflict)


def _unknown(system: str, conflict: str) -> UnknownConflictError:
    hint = "`arsync conflicts list --state all` shows those that are known"
    return UnknownConflictError(f"system {system} has no conflict {conflict}; {hint}")
