"""What the day must have brought about, intent by intent, held against Tryton's books and arsync's lists.

`demo.day` writes the entries while it plays, `demo.verb` compares at the end. Pure: rows in, differences out. Of
money it believes Tryton's receipts alone; of states and conflicts it asks arsync, for nobody else knows them.
"""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from demo.books import Receipt
from demo.proofs import Proof

DONE = "done"
REFUSED = "refused"
HELD = "held"
FINAL = frozenset({DONE, REFUSED, HELD, "withdrawn"})
"""States of an intent in which nothing more happens to it by itself."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Something is not as it must be: what it is about, which field, and both words on it."""

    subject: str
    field: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.field} must be {self.expected}, is {self.found}"


@dataclass(frozen=True, slots=True)
class Entry:
    """One intent of the day: its effects in Tryton by invoice, and the kinds of the conflicts that it must raise.

    An amount is in the invoice's currency, that of no invoice stays on account (below zero: is given up); `date` is
    the receipt's value date. `sends` is how often its command must have left at the least: one that Tryton refused
    once, because it came too late, leaves twice. What is no receipt has a `proof`, which must come to `shows`; `end`
    is how the intent must end, where its effects do not tell.
    """

    intent: str
    story: str
    date: dt.date
    effects: tuple[tuple[int | None, Decimal], ...] = ()
    conflicts: tuple[str, ...] = ()
    sends: int = 0
    end: str | None = None
    shows: str = ""
    proof: Proof | None = None

    @property
    def state(self) -> str:
        """How the intent must end."""
        return self.end or (DONE if self.effects else REFUSED)


@dataclass(frozen=True, slots=True)
class Line:
    """One entry with what was found for it."""

    entry: Entry
    state: str
    effects: tuple[tuple[int | None, Decimal], ...]
    conflicts: tuple[str, ...]
    differences: tuple[Difference, ...]
    shown: str = ""


@dataclass(slots=True)
class Ledger:
    """The entries in the order in which they were submitted."""

    entries: list[Entry] = field(default_factory=list)

    def add(self, entry: Entry) -> None:
        """Expect this of an intent."""
        self.entries.append(entry)

    def compare(
        self,
        receipts: Mapping[str, Sequence[Receipt]],
        intents: Sequence[Mapping[str, Any]],
        conflicts: Sequence[Mapping[str, Any]],
        shown: Mapping[str, str] | None = None,
    ) -> tuple[list[Line], list[Difference]]:
        """Each entry with what was found, and all differences.

        `receipts` are Tryton's by intent, and so are the words `shown`; `intents` and `conflicts` are arsync's lists.
        A conflict or an intent that nobody expected is a difference too.
        """
        by_id: dict[str, list[Mapping[str, Any]]] = {}
        for row in intents:
            by_id.setdefault(str(row["id"]), []).append(row)
        kinds: dict[str | None, list[str]] = {}
        for conflict in conflicts:
            kinds.setdefault(conflict.get("intent"), []).append(str(conflict["kind"]))
        lines = [
            _line(
                e,
                receipts.get(e.intent, ()),
                by_id.pop(e.intent, []),
                kinds.pop(e.intent, []),
                (shown or {}).get(e.intent, ""),
            )
            for e in self.entries
        ]
        differences = [difference for line in lines for difference in line.differences]
        differences += [Difference(f"intent {name}", "submitted", "never", "listed by arsync") for name in by_id]
        for subject, found in kinds.items():
            place = f"intent {subject}" if subject else "no intent"
            differences.append(Difference(place, "conflicts", "none", ", ".join(sorted(found))))
        return lines, differences


def _line(
    entry: Entry,
    receipts: Iterable[Receipt],
    rows: Sequence[Mapping[str, Any]],
    conflicts: Sequence[str],
    shown: str,
) -> Line:
    found = tuple(sorted(((r.invoice, r.amount) for r in receipts), key=str))
    state = str(rows[0]["state"]) if len(rows) == 1 else f"listed {len(rows)} times"
    kinds = tuple(sorted(conflicts))
    subject = f"intent {entry.intent}"
    differences = [*_effects(subject, entry.effects, found)]
    if state != entry.state:
        differences.append(Difference(subject, "state", entry.state, state))
    sends = sum(int(command["sends"]) for row in rows for command in row.get("commands", ()))
    if sends < entry.sends:
        differences.append(Difference(subject, "sends", f"{entry.sends} at the least", str(sends)))
    if Counter(kinds) != Counter(entry.conflicts):
        expected = ", ".join(sorted(entry.conflicts)) or "none"
        differences.append(Difference(subject, "conflicts", expected, ", ".join(kinds) or "none"))
    if shown != entry.shows:
        differences.append(Difference(subject, "effect in Tryton", entry.shows or "nothing", shown or "nothing"))
    return Line(entry, state, found, kinds, tuple(differences), shown)


def _effects(
    subject: str, expected: Sequence[tuple[int | None, Decimal]], found: Sequence[tuple[int | None, Decimal]]
) -> Iterable[Difference]:
    """By invoice: nothing there, more than one receipt, or another amount than was asked for."""
    for invoice in dict.fromkeys([*(i for i, _ in expected), *(i for i, _ in found)]):
        wanted = [amount for i, amount in expected if i == invoice]
        there = [amount for i, amount in found if i == invoice]
        if Counter(wanted) == Counter(there):
            continue
        place = "effect on account" if invoice is None else f"effect on invoice {invoice}"
        yield Difference(subject, place, _amounts(wanted), _amounts(there))


def _amounts(amounts: Sequence[Decimal]) -> str:
    return " and ".join(str(amount) for amount in amounts) or "nothing"
