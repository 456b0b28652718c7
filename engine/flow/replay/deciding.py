"""Decides again on what an entry says was told, and writes the entry anew: it must come out byte for byte."""

import datetime as dt
from typing import Any, get_args

import msgspec

from engine.flow.replay.narrowing import narrowed
from engine.flow.replay.reading import DECODER, Body
from engine.flow.replay.state import FoldError, State
from engine.flow.telling import documents_read, documents_written
from engine.model import events
from engine.model.canonical import canonical_bytes
from engine.model.events import DocumentsTold
from engine.rules.desk import Decision
from engine.rules.leaving import left_different
from engine.rules.policy import Policy
from engine.rules.versions import Decide, UnknownRulesError, rules_of

_TOLD_WHOLE: Any = None
for _kind in get_args(events.Event):
    if _kind is not DocumentsTold:
        _TOLD_WHOLE = _kind if _TOLD_WHOLE is None else _TOLD_WHOLE | _kind


class _Whole(msgspec.Struct):
    input: Any
    versions: Any = None


_WHOLE = msgspec.json.Decoder(_Whole)


class Difference(msgspec.Struct, frozen=True):
    """A field of an entry that comes out otherwise: what is recorded, and what deciding again gives."""

    field: str
    recorded: str
    again: str


class Again:
    """Decides again for one system, from a state on. The state follows what is recorded."""

    def __init__(self, system: str, state: State) -> None:
        self._system = system
        self.state = state
        self._rules: dict[str, tuple[Decide, Policy]] = {}
        self.policy: Policy | None = None
        """Decide by this one in place of the recorded ones."""

    def entry(self, kind: str, at: dt.datetime, text: str) -> list[Difference]:
        """Go over one entry; the fields that come out otherwise, none where all is as recorded.

        Raises:
            FoldError: it cannot be read, or decides under settings that nothing before it told.
        """
        try:
            return self._entry(kind, at, text)
        except (msgspec.DecodeError, KeyError, TypeError, AttributeError, ValueError) as error:
            raise FoldError(f"its content cannot be read: {error!r}") from None

    def _entry(self, kind: str, at: dt.datetime, text: str) -> list[Difference]:
        body = _WHOLE.decode(text)
        told = body.input
        event = self._event(kind, at, told)
        if event is None:
            whole = DECODER.decode(text)
            self.state.note(kind, whole)
            return [Difference("effects", str(whole.effects), "[]")] if whole.effects or whole.after else []
        decision, again = self._decide(event, told, body.versions)
        if again == text.encode():
            self._absorb(decision)
            if isinstance(event, DocumentsTold):
                self.state.told(event)
                for name, reason in told.get("parked", {}).items():
                    self.state.set_parked(name, reason)
            return []
        recorded = DECODER.decode(text)
        self.state.apply(kind, at, recorded)
        return differences(recorded, DECODER.decode(again)) or [Difference("body", "another spelling", "canonical")]

    def compare(self, kind: str, at: dt.datetime, text: str) -> list[Difference]:
        """What `policy` would have led to otherwise at one entry; the state stays where it is.

        Raises:
            FoldError: as `entry`.
        """
        body = _WHOLE.decode(text)
        event = self._event(kind, at, body.input)
        if event is None:
            self.state.note(kind, DECODER.decode(text))
            return []
        _, again = self._decide(event, body.input, body.versions)
        return differences(DECODER.decode(text), DECODER.decode(again)) if again != text.encode() else []

    def _event(self, kind: str, at: dt.datetime, told: Any) -> events.Event | None:
        """What an entry says was told; None where nothing is decided on it."""
        if kind == "change" and "documents" in told:
            return documents_read(told, at, self.state.view)
        if kind != "config" and isinstance(told, dict) and "type" in told:
            event: events.Event = msgspec.convert(told, _TOLD_WHOLE)
            return event
        return None

    def _decide(self, event: events.Event, told: Any, versions: Any) -> tuple[Decision, bytes]:
        """The decision, and the entry's body as it is written for it."""
        decide, policy = self._settings(versions)
        view = narrowed(self.state, event)
        decision = decide(view, event, self.policy or policy, self._system)
        written: Any = event
        if isinstance(event, DocumentsTold):
            written = {**told, "documents": documents_written(event, view)}
        return decision, canonical_bytes({
            "after": left_different(view, decision), "basis": decision.seen, "effects": decision.effects,
            "input": written, "versions": versions,
        })  # fmt: skip

    def _absorb(self, decision: Decision) -> None:
        put = self.state.put
        for key, invoice in decision.invoices.items():
            self.state.put_invoice(key, invoice)
        for key, customer in decision.customers.items():
            self.state.view.customers[key] = customer
        for key, intent in decision.intents.items():
            put(f"intent/{key}", intent)
        for (key, revision), command in sorted(decision.commands.items()):
            put(f"command/{key}/{revision}", command)
        for key, conflict in decision.conflicts.items():
            put(f"conflict/{key}", conflict)

    def _settings(self, versions: Any) -> tuple[Decide, Policy]:
        known = self._rules.get(versions)
        if known is None:
            settings = self.state.settings.get(versions)
            if settings is None:
                raise FoldError(f"it was decided under settings {versions}, which no entry before it tells")
            try:
                known = rules_of(settings.rules), msgspec.convert(settings.policy, Policy)
            except UnknownRulesError as error:
                raise FoldError(str(error)) from None
            self._rules[versions] = known
        return known


def differences(recorded: Body, again: Body) -> list[Difference]:
    """Field by field, named by where it stands in the entry."""
    found: list[Difference] = []
    for name in Body.__struct_fields__:
        _compare(name, getattr(recorded, name), getattr(again, name), found)
    return found


def _compare(where: str, recorded: Any, again: Any, found: list[Difference]) -> None:
    if recorded == again:
        return
    if isinstance(recorded, dict) and isinstance(again, dict):
        for name in sorted({*recorded, *again}):
            _compare(f"{where}.{name}", recorded.get(name), again.get(name), found)
    elif isinstance(recorded, list) and isinstance(again, list):
        for place in range(max(len(recorded), len(again))):
            was, now = (side[place] if place < len(side) else None for side in (recorded, again))
            _compare(f"{where}[{place}]", was, now, found)
    else:
        found.append(Difference(where, _shown(recorded), _shown(again)))


def _shown(value: Any) -> str:
    return "nothing" if value is None else canonical_bytes(value).decode()
