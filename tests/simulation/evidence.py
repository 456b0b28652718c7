"""What the oracle reads: what the ERP did, what the AR side asked, and what arsync reported. Nothing of the rules.

arsync's reports are read as the JSON that it keeps, by plain SQL; of its code only the form of a key is used.
"""

import datetime as dt
import json
from bisect import bisect_right
from collections import defaultdict
from decimal import Decimal
from typing import Any

from engine.model import intents as asked
from engine.model.commands import command_key
from engine.model.intents import Allocation, Intent
from tests.simulation.books import ZERO, Facts, Moment
from tests.simulation.database import Commit
from tests.simulation.world import World

Json = dict[str, Any]
ENDED = ("done", "refused", "held", "withdrawn")


class Evidence:
    """One world after its end."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.books = world.books
        self.asked = world.ar.asked
        self.calls = world.api.calls
        self.intents = self._records("intent", "id")
        self.invoices = self._records("invoice", "key")
        self.customers = self._records("customer", "key")
        self.commands: dict[str, Json] = self._records("command", "key", "AND current")
        self.conflicts: list[Json] = list(self._records("conflict", "id").values())
        self._conflict = {str(conflict["id"]): conflict for conflict in self.conflicts}
        self._known_at = [at for at, _ in world.known]
        self.raised_at: dict[str, int] = {}
        self.ends: defaultdict[str, list[tuple[dt.datetime, str]]] = defaultdict(list)
        self.confirmed: dict[str, int] = {}
        self.rebased_at: defaultdict[str, list[tuple[dt.datetime, int]]] = defaultdict(list)
        """By intent, when and at which position it was decided again on the ERP's word of then."""
        self.planned_at: dict[str, int] = {}
        """By intent, at which position it was decided on last."""
        self._echoed: defaultdict[tuple[str, int], set[str]] = defaultdict(set)
        self._read_journal()
        self.effects: defaultdict[str, list[Commit]] = defaultdict(list)
        for commit in self.books.db.log:
            if commit.key is not None:
                self.effects[commit.key].append(commit)
        self._shown = [lsn for lsn, _ in world.wire.told]
        self._snapshots = [(taken.lsn, taken.epoch) for taken in world.wire.snapshots]

    def _records(self, table: str, key: str, further: str = "") -> dict[str, Json]:
        rows = self.world.store.execute(
            f"SELECT {key}, record::text FROM {table} WHERE system = %s {further} ORDER BY {key}",
            (self.world.system,),
        )
        return {str(name): json.loads(str(text)) for name, text in rows}

    def journal(self) -> list[tuple[Any, ...]]:
        """Every entry, in the order in which it was decided on."""
        return self.world.store.execute(
            """SELECT stream, seq, system, batch, place, at, kind, body, previous, hash FROM journal WHERE system = %s
               ORDER BY batch, place, stream, seq""",
            (self.world.system,),
        ).fetchall()

    def _read_journal(self) -> None:
        for _, _, _, _, _, at, kind, body, _, _ in self.journal():
            if '"effects":[]' in body:
                continue
            entry = json.loads(body)
            position = entry["input"]["commit"] if kind == "change" else self.known(at)
            for effect in entry["effects"]:
                if effect["type"] == "raised":
                    self.raised_at[effect["conflict"]] = position
                elif effect["type"] == "moved" and effect["machine"] == "intent":
                    self.ends[effect["subject"]].append((at, effect["destination"]))
                elif effect["type"] == "moved" and effect["destination"] == "applied":
                    self._note_applied(effect["subject"], at, position)
                elif effect["type"] == "moved" and effect["destination"] == "confirmed":
                    self.confirmed[effect["subject"]] = position
                elif effect["type"] == "planned":
                    self.planned_at[effect["intent"]] = position
                elif effect["type"] == "echoed":
                    self._echoed[effect["invoice"], position].add(effect["command"])

    def _note_applied(self, conflict: str, at: dt.datetime, position: int) -> None:
        record = self._conflict[conflict]
        if record["choice"] == "rebase":
            self.rebased_at[str(record["intent"])].append((at, position))

    # The AR side's history.

    def key(self, intent: str) -> str:
        """The key that every write of an intent must carry."""
        return command_key(self.world.system, intent, 0)

    def parts(self, intent: Intent) -> dict[str, Allocation]:
        """What an intent takes off which invoice, by the invoice's key."""
        return dict(zip(self.asked[intent.id].positions, intent.parts, strict=True))

    def was(self, intent: str, at: dt.datetime, *states: str) -> bool:
        """Whether arsync had ever reported an intent so by then."""
        return any(state in states and when <= at for when, state in self.ends[intent])

    def state_at(self, intent: str, at: dt.datetime) -> str:
        """What arsync reported of an intent then."""
        return next((state for when, state in reversed(self.ends[intent]) if when <= at), "received")

    def given_up(self, key: str, position: int) -> bool:
        """Whether arsync had reported what was asked for under this key as not done before it read the ERP's log up
        to there."""
        name = next((name for name in self.asked if self.key(name) == key), None)
        read = next((at for at, known in self.world.known if known >= position), None)
        return name is not None and read is not None and self.state_at(name, read) in ("refused", "held", "withdrawn")

    # The ERP's history.

    def known(self, at: dt.datetime) -> int:
        """Up to where arsync had read the ERP's log."""
        place = bisect_right(self._known_at, at)
        return self.world.known[place - 1][1] if place else 0

    def facts_at(self, invoice: str, position: int) -> Facts | None:
        """An invoice as the ERP had it at a position of its log."""
        moments = self.books.history.get(invoice, [])
        place = bisect_right([moment.lsn for moment in moments], position)
        return moments[place - 1].facts if place else None

    def facts_then(self, invoice: str, at: dt.datetime) -> Facts | None:
        """An invoice as the ERP had it at a time."""
        moments = self.books.history.get(invoice, [])
        place = bisect_right([moment.at for moment in moments], at)
        return moments[place - 1].facts if place else None

    def moments(self, invoice: str, after: int, until: int) -> list[Moment]:
        return [moment for moment in self.books.history.get(invoice, []) if after < moment.lsn <= until]

    def was_told(self, lsn: int) -> bool:
        """Whether the change stream told of this transaction by itself, not in a snapshot that came after it."""
        return lsn in self._shown

    def visible(self, invoice: str) -> list[Moment]:
        """What the change stream told of an invoice: single transactions, and what snapshots found."""
        told: list[Moment] = []
        moments = self.books.history.get(invoice, [])
        shown, snapshots = set(self._shown), [lsn for lsn, _ in self._snapshots]
        for moment in moments:
            while snapshots and snapshots[0] < moment.lsn:
                self._show_snapshot(told, moments, snapshots.pop(0))
            if moment.lsn in shown:
                told.append(moment)
        for lsn in snapshots:
            self._show_snapshot(told, moments, lsn)
        return told

    def _show_snapshot(self, told: list[Moment], moments: list[Moment], lsn: int) -> None:
        before = [moment for moment in moments if moment.lsn <= lsn]
        if before and (not told or told[-1].lsn < before[-1].lsn):
            last = before[-1]
            told.append(Moment(lsn, last.at, last.who, "as a snapshot found it", last.key, last.facts))

    def drift(self, invoice: str, since: int, until: int, *, refused_too: bool = False) -> list[Moment]:
        """The moments at which an invoice was not what it was at `since` but for what our own commands did.

        With `refused_too` as well those of which the ERP had said that they were not done.
        """
        base = self.facts_at(invoice, since)
        expected = _decisive(base)
        previous = base
        strayed = []
        for moment in self.moments(invoice, since, until):
            now, before = _decisive(moment.facts), _decisive(previous)
            ours = moment.key is not None and not (refused_too and self.given_up(moment.key, moment.lsn))
            if ours or self._as_asked(invoice, moment, previous):
                expected = tuple(_followed(e, b, n) for e, b, n in zip(expected, before, now, strict=True))
            if now != expected:
                strayed.append(moment)
            if now == _decisive(base):
                expected = now  # it has come back: from here on it is again what it was
            previous = moment.facts
        return strayed

    def _as_asked(self, invoice: str, moment: Moment, before: Facts | None) -> bool:
        """Whether somebody else did just what intents under way had asked for: that surprises nobody.

        What has no place for a key cannot be told from our own write. Which intents were under way arsync reports;
        that the change is theirs, and nothing else, is held against the ERP's history.
        """
        now, keys = moment.facts, self._echoed.get((invoice, moment.lsn), set())
        if not keys or now is None or before is None:
            return False
        intents = [self.asked[name].intent for name in self.asked if self.key(name) in keys]
        left = before.balance
        blocked = before.blocked
        for intent in intents:
            left += self._moved_as_asked(invoice, intent, before, now)
            if isinstance(intent, asked.RaiseDispute | asked.RejectDispute):
                blocked = isinstance(intent, asked.RaiseDispute)
        same = (before.customer, before.total) == (now.customer, now.total)
        moved = left != before.balance
        schedule = moved or (before.phase, before.schedule) == (now.phase, now.schedule)
        return same and schedule and (left, blocked) == (now.balance, now.blocked)

    def _moved_as_asked(self, invoice: str, intent: Intent, before: Facts, now: Facts) -> Decimal:
        """What an intent asked for adds to an invoice's balance, as far as it happened between two moments."""
        old, new = {line.item: line for line in before.lines}, {line.item: line for line in now.lines}
        if isinstance(intent, asked.ReverseApplication):
            return old[intent.item].amount if intent.item in old and intent.item not in new else ZERO
        if isinstance(intent, asked.ApplyReceipt):
            applied = [line for item, line in new.items() if item not in old and line.text == intent.receipt]
            return -sum((line.amount for line in applied), ZERO)
        part, key = self.parts(intent).get(invoice), self.key(intent.id)
        if part is None:
            return ZERO
        # What is taken back nobody had asked for, nor what is more than that.
        return min(before.shown(key) - min(now.shown(key), part.taken_off), ZERO)

    def same_facts(self, invoice: str, one: int, other: int) -> bool:
        """Whether an invoice was the same at two positions."""
        return _decisive(self.facts_at(invoice, one)) == _decisive(self.facts_at(invoice, other))

    def still_drifted(self, invoice: str, since: int, until: int) -> bool:
        """Whether it is so at `until`, and the facts are others than at `since`: what came back is no surprise."""
        if self.same_facts(invoice, since, until):
            return False
        strayed, moments = self.drift(invoice, since, until), self.moments(invoice, since, until)
        return bool(strayed) and strayed[-1] == moments[-1]

    def applied_by_us(self, key: str) -> dict[str, Decimal]:
        """What our own requests under a key applied, by invoice, whatever became of it."""
        applied: defaultdict[str, Decimal] = defaultdict(lambda: ZERO)
        for commit in self.effects.get(key, []):
            for change in commit.changes:
                if change.table == "settle" and change.op == "c" and change.row["receipt"] is not None:
                    applied[str(change.row["bill"])] += change.row["amount"]
        return applied

    def created(self, key: str, table: str) -> int:
        """How many rows of a table our requests under a key made."""
        return sum(c.table == table and c.op == "c" for commit in self.effects.get(key, []) for c in commit.changes)

    def call(self, key: str, until: dt.datetime, *said: str, reason: str | None = None) -> bool:
        """Whether the ERP ever answered so."""
        return any(
            c.key == key and c.at <= until and c.said in said and (reason is None or c.reason == reason)
            for c in self.calls
        )


def _decisive(facts: Facts | None) -> tuple[object, ...]:
    if facts is None:
        return ("gone", None, None, None, None, None)
    return facts.phase, facts.customer, facts.total, facts.balance, facts.blocked, facts.schedule


def _followed(expected: object, before: object, now: object) -> object:
    """What is expected after a write of our own that led from `before` to `now`."""
    if before == now:
        return expected
    if isinstance(expected, Decimal) and isinstance(before, Decimal) and isinstance(now, Decimal):
        return expected + now - before
    return now
