"""Takes the AR side's intents in, exactly once each.

`arsync intents submit`, HTTP and the inbox of a topic call it, in processes of their own or beside the daemon: the
system's head lock puts its units of work between those of the pipeline and the dispatcher.
"""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from engine.flow.entering import load_view, take_event
from engine.model.events import IntentSubmitted
from engine.model.intents import Intent, IntentError, SetCreditLimit, UnsoundIntentError, Withdraw, parse_intent
from engine.rules.policy import Policy
from engine.store import letters
from engine.store.calling import call
from engine.store.letters import Letter, LetterKind
from engine.store.unit import Connection, unit_of_work

Clock = Callable[[], dt.datetime]
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
    system: str = ""


def submit(
    connection: Connection,
    system: str,
    intents: Sequence[Intent],
    policy: Policy,
    clock: Callable[[], dt.datetime],
    versions: dict[str, Any],
    by: str | None = None,
) -> list[Taken]:
    """Take intents in their order; each is committed when this returns, and the same one again changes nothing.

    `by` is kept in the journal: who brought them.
    """
    taken: list[Taken] = []
    for start in range(0, len(intents), MOST):
        part = intents[start : start + MOST]
        now = clock()
        with unit_of_work(connection, system, now, versions, policy) as work:
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
                    take_event(work, view, IntentSubmitted(intent, at, by), policy)
                taken.append(_taken(view.intents[intent.id], intent, known=known is not None))
            call(work.cursor, system)
    return taken


def _taken(record: Any, intent: Intent, *, known: bool) -> Taken:
    trouble = None
    if known and record.intent != intent:
        trouble = f"intent {intent.id} was submitted before with other content; give the new one an id of its own"
    return Taken(intent.id, record.state, record.reason, known, trouble, intent.system)


class Door(msgspec.Struct, frozen=True):
    """By what a system's intents are decided on: its policy, and the versions that the journal notes."""

    policy: Policy
    versions: dict[str, Any]


class NotTaken(msgspec.Struct, frozen=True):
    """A message that is no intent, or one for a system that is not configured.

    `understood`: it has the form of an intent.
    """

    reason: str
    id: str | None = None
    system: str | None = None
    understood: bool = False


def read_intent(raw: bytes, systems: Mapping[str, Door]) -> Intent | NotTaken:
    """One intent out of JSON, if it can be taken here."""
    try:
        intent = parse_intent(raw)
    except IntentError as error:
        return NotTaken(str(error), *_named(raw), understood=isinstance(error, UnsoundIntentError))
    if intent.system not in systems:
        known = ", ".join(sorted(systems)) or "none"
        reason = f"intent {intent.id} names system {intent.system}; configured are: {known}"
        return NotTaken(reason, intent.id, intent.system, understood=True)
    return intent


def submit_all(
    connection: Connection,
    doors: Mapping[str, Door],
    raws: Sequence[bytes],
    clock: Callable[[], dt.datetime],
    by: str | None,
) -> list[Taken | NotTaken]:
    """Take messages in their order, each system's for itself; gives what became of each, in the same order."""
    read = [read_intent(raw, doors) for raw in raws]
    results: dict[int, Taken | NotTaken] = {n: one for n, one in enumerate(read) if isinstance(one, NotTaken)}
    by_system: dict[str, list[tuple[int, Intent]]] = {}
    for place, one in enumerate(read):
        if not isinstance(one, NotTaken):
            by_system.setdefault(one.system, []).append((place, one))
    for system, numbered in by_system.items():
        door = doors[system]
        intents = [intent for _, intent in numbered]
        taken = submit(connection, system, intents, door.policy, clock, door.versions, by)
        results |= {place: one for (place, _), one in zip(numbered, taken, strict=True)}
    return [results[place] for place in range(len(read))]


def _named(raw: bytes) -> tuple[str | None, str | None]:
    """The id and the system that a message names which is no intent, as far as they can be read."""
    try:
        said = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None, None
    if not isinstance(said, dict):
        return None, None
    name, system = (value if _is_name(value := said.get(field)) else None for field in ("id", "system"))
    return name, system


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 200 and "\x00" not in value


def keep_refused(
    connection: Connection, doors: Mapping[str, Door], refused: Sequence[tuple[bytes, str]], clock: Clock
) -> list[int | None]:
    """Keep messages that cannot be taken as dead letters: (as it came, why); gives the letters' ids, in that order.

    Each under the system that it names, or under the only one; None where that leaves it open.
    """
    only = next(iter(doors)) if len(doors) == 1 else None
    kept: list[int | None] = []
    for raw, why in refused:
        _, named = _named(raw)
        system = named if named in doors else only
        if system is None:
            kept.append(None)
            continue
        line = raw.decode("utf-8", "replace").strip()
        with unit_of_work(connection, system, clock(), doors[system].versions) as work:
            id_ = letters.keep(
                work.cursor, system, work.now, LetterKind.INTENT, origin="intents", reason=why, payload=line
            )
        kept.append(id_)
    return kept


def retry_refused(connection: Connection, letter: Letter, door: Door, clock: Clock, by: str) -> str | None:
    """Take the intent of a letter as it reads now; why it still cannot be taken, or None when it is."""
    read = read_intent(letter.payload.encode(), {letter.system: door})
    if isinstance(read, NotTaken):
        return read.reason
    (taken,) = submit(connection, letter.system, [read], door.policy, clock, door.versions, by)
    if taken.trouble is None:
        with unit_of_work(connection, letter.system, clock(), door.versions) as work:
            letters.close(work, [letter.id], "retried", by, f"intent {read.id} was taken: {taken.state}")
    return taken.trouble
