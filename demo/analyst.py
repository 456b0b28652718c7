"""A person on the AR side, who sees what arsync shows and nothing else, and decides what a receipt settles.

`demo.day` directs her. Each intent carries the content versions that her last reading showed, and everything that
she submits is written into the ledger together with what must come of it. Waiting is bounded: whoever waits here
goes on when nothing has changed for a while, and the comparison at the end tells what is missing.
"""

import datetime as dt
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from demo.engine import SYSTEM, Arsync
from demo.ledger import DONE, FINAL, Entry, Ledger
from demo.proofs import Proof
from engine.model.commands import command_key
from engine.model.intents import Allocation, ApplyPayment, Intent

LOOK_SECONDS = 0.15
MOST_SECONDS = 240.0
"""The longest wait for anything: Tryton's answer may be in doubt for three minutes."""

Row = dict[str, Any]
T = TypeVar("T")


@dataclass(slots=True)
class Analyst:
    """One person; `patience` is how many seconds without any change she waits for something to happen."""

    engine: Arsync
    ledger: Ledger
    patience: float
    prefix: str
    system: str = SYSTEM
    invoices: dict[int, Row] = field(default_factory=dict)
    _written: dict[str, str] = field(default_factory=dict)
    _desk: list[str] = field(default_factory=list)

    def read(self) -> dict[int, Row]:
        """Look at all invoices anew; these versions are the basis of what she decides next."""
        self.invoices = {int(row["key"]): row for row in self.engine.ask("invoices", "list")}
        return self.invoices

    def read_until(self, seen: Callable[[dict[int, Row]], bool]) -> bool:
        """Look again until it is as expected; False when nothing has changed for too long."""
        return seen(self._watch(self.read, seen))

    def decide(
        self,
        name: str,
        story: str,
        allocations: Sequence[tuple[int, Decimal]],
        date: dt.date,
        *,
        conflicts: Sequence[str] = (),
        effect: bool = True,
        sends: int = 0,
        write_off: Decimal | None = None,
        on_account: Decimal | None = None,
        end: str | None = None,
    ) -> None:
        """Put an intent on the desk; the keywords are what must come of it (`demo.ledger.Entry`).

        An invoice that her reading did not show is paid by a basis that cannot be right. `write_off` is given up of
        the first invoice besides what is received.
        """
        known = [self.invoices.get(invoice, {}) for invoice, _ in allocations]
        intent = ApplyPayment(
            id=self.reference(name),
            system=self.system,
            customer=str(known[0].get("customer", "unknown")),
            currency=str(known[0].get("currency", "EUR")),
            amount=sum((amount for _, amount in allocations), on_account or Decimal(0)),
            date=date,
            allocations=tuple(
                Allocation(
                    str(invoice),
                    amount,
                    str(row.get("content_version", "unread")),
                    write_off if place == 0 else None,
                )
                for place, ((invoice, amount), row) in enumerate(zip(allocations, known, strict=True))
            ),
            on_account=on_account,
            reference=self.reference(name),
        )
        self._put(intent)
        effects = _effects(allocations, write_off, on_account) if effect else ()
        self.ledger.add(Entry(intent.id, story, date, effects, tuple(conflicts), sends, end))

    def hand_in(self, intent: Intent, story: str, date: dt.date, shows: str = "", proof: Proof | None = None) -> None:
        """Put an intent of another kind on the desk; it must be done, and Tryton's books must show it."""
        self._put(intent)
        self.ledger.add(Entry(intent.id, story, date, end=DONE, shows=shows, proof=proof))

    def hand_in_wrong(self, intent: Intent, story: str, date: dt.date, conflict: str, end: str) -> None:
        """Put an intent on the desk that must end so, with this conflict and without any effect in Tryton."""
        self._put(intent)
        self.ledger.add(Entry(intent.id, story, date, conflicts=(conflict,), end=end))

    def key(self, name: str) -> str:
        """The key under which an intent of hers is written."""
        return command_key(self.system, self.reference(name), 0)

    def _put(self, intent: Intent) -> None:
        self._written[intent.id] = msgspec.json.encode(intent).decode()
        self._desk.append(self._written[intent.id])

    def repeat(self, name: str) -> None:
        """Put an intent on the desk once more, word for word as it was."""
        self._desk.append(self._written[self.reference(name)])

    def reference(self, name: str) -> str:
        """The id of an intent of hers, which is also the reference of its receipt."""
        return f"{self.prefix}-{name}"

    def submit(self) -> None:
        """Hand in everything on the desk in one go, in the order in which it was decided."""
        self.engine.submit(self._desk)
        self._desk.clear()

    def await_final(self, *names: str) -> bool:
        """Wait until these intents, or all that were ever submitted, have ended; False when they do not move."""
        wanted = {self.reference(name) for name in names} or set(self._written)

        def ended(rows: list[Row]) -> bool:
            return wanted <= {row["id"] for row in rows if row["state"] in FINAL}

        return ended(self._watch(lambda: self.engine.ask("intents", "list"), ended))

    def _watch(self, look: Callable[[], T], enough: Callable[[T], bool]) -> T:
        for found in changes(look, self.patience):
            self.engine.check()
            last = found
            if enough(found):
                break
        return last


def changes(look: Callable[[], T], patience: float) -> Iterator[T]:
    """Look again and again, until what is seen has been the same for `patience` seconds, or it takes too long."""
    before: T | None = None
    began = since = time.monotonic()
    while True:
        found = look()
        yield found
        if time.monotonic() - began > MOST_SECONDS:
            return
        if found != before:
            before, since = found, time.monotonic()
        elif time.monotonic() - since > patience:
            return
        time.sleep(LOOK_SECONDS)


def _effects(
    allocations: Sequence[tuple[int, Decimal]], write_off: Decimal | None, on_account: Decimal | None
) -> tuple[tuple[int | None, Decimal], ...]:
    """What must stand in Tryton: on the invoices, and besides them."""
    effects: list[tuple[int | None, Decimal]] = list(allocations)
    if write_off is not None:
        effects[0] = (allocations[0][0], allocations[0][1] + write_off)
        effects.append((None, -write_off))
    if on_account is not None:
        effects.append((None, on_account))
    return tuple(effects)
