"""What Tryton's books show of each decision, found by what it is about and by its amount, never by a key.

Every amount of a chaos is used once, so that an invoice and an amount name one decision. `demo.chaos.work` says what
must be found, `demo.chaos.run` compares.
"""

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from demo.books import Books


class Effect(StrEnum):
    """What a decision brings about. `subject` is an invoice, a customer or an order; none for a ledger entry."""

    APPLIED = "applied to invoice"
    ON_ACCOUNT = "on account of customer"
    ENTRY = "ledger entry"
    MEMO = "memo to customer"
    LIMIT = "credit limit of customer"
    ORDER = "released order"
    BLOCK = "blocked invoice"


Trace = tuple[Effect, int, Decimal]
"""An effect, its subject (0 for none) and its amount (0 for none)."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What must come of one intent: its state at arsync, and how often each trace must be found in Tryton."""

    intent: str
    state: str
    traces: tuple[tuple[Trace, int], ...]


@dataclass(frozen=True, slots=True)
class Miscount:
    """A trace that is not there as often as it must be."""

    intent: str
    trace: Trace
    expected: int
    found: int

    @property
    def kind(self) -> str:
        """Lost, or done too often."""
        return "lost" if self.found < self.expected else "twice"

    def __str__(self) -> str:
        effect, subject, amount = self.trace
        what = " ".join(str(part) for part in (effect, subject or "", amount or "") if part != "")
        return f"{self.kind}: {self.intent}: {what} is there {self.found} times, must be {self.expected}"


def gather(books: Books, expense: str) -> Counter[Trace]:
    """Every trace in the books, counted; `expense` is the number of the account that entries are booked on."""
    found: Counter[Trace] = Counter()
    linked: set[int] = set()
    for invoice, applied in books.applications().items():
        for line, amount in applied:
            linked.add(line)
            found[Effect.APPLIED, invoice, amount] += 1
    for line, party, amount in books.receipts_of_customers():
        if line not in linked:
            found[Effect.ON_ACCOUNT, party, amount] += 1
    for amount in books.debits(expense):
        found[Effect.ENTRY, 0, amount] += 1
    for row in books.invoices():
        if row["state"] in ("posted", "paid"):
            found[Effect.MEMO, row["party"], row["total_amount"]] += 1
    for row in books.customers():
        if row["credit_limit_amount"] is not None:
            found[Effect.LIMIT, row["id"], row["credit_limit_amount"]] += 1
    for order in books.released_orders():
        found[Effect.ORDER, order, Decimal(0)] += 1
    for invoice in books.blocked_invoices():
        found[Effect.BLOCK, invoice, Decimal(0)] += 1
    return found


def miscounts(expected: list[Expected], found: Counter[Trace]) -> list[Miscount]:
    """Everything that is not there as often as it must be."""
    return [
        Miscount(one.intent, trace, times, found[trace])
        for one in expected
        for trace, times in one.traces
        if found[trace] != times
    ]
