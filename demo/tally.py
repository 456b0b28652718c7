"""The day's own arithmetic: what every invoice, the bank and the receivables must come to.

`demo.day` tells it each thing that moves money, before or after it happens; it never looks at Tryton or arsync.
Amounts are in the invoice's currency, totals in the company's, rounded half to even as Tryton does.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from demo.company import CompanyPlan
from demo.ledger import Difference, Entry

CENT = Decimal("0.01")
NOTHING = Decimal(0)


@dataclass(slots=True)
class Account:
    """One invoice: what was billed, what came in, and the same in the company's currency at each day's rate.

    `settled` (company's currency alone) came off without money: by a memo, or by money that was there already.
    """

    currency: str
    billed: Decimal
    billed_own: Decimal
    paid: Decimal = NOTHING
    paid_own: Decimal = NOTHING
    settled: Decimal = NOTHING
    void: bool = False

    @property
    def open(self) -> Decimal:
        """What the customer still owes, in the invoice's currency."""
        return NOTHING if self.void else self.billed - self.paid - self.settled

    @property
    def open_own(self) -> Decimal:
        """The same in the books: once all is paid, the difference of the rates is booked away."""
        return NOTHING if self.open == 0 else self.billed_own - self.paid_own - self.settled


@dataclass(slots=True)
class Tally:
    """All invoices of the day by Tryton's id."""

    plan: CompanyPlan
    accounts: dict[int, Account] = field(default_factory=dict)
    bank_besides: Decimal = NOTHING
    owed_besides: Decimal = NOTHING

    def billed(self, invoice: int, total: Decimal, currency: str, date: dt.date) -> None:
        """An invoice was posted."""
        self.accounts[invoice] = Account(currency, total, self._own(total, currency, date))

    def received(self, invoice: int, amount: Decimal, date: dt.date) -> None:
        """Money came in and was applied."""
        account = self.accounts[invoice]
        account.paid += amount
        account.paid_own += self._own(amount, account.currency, date)

    def taken_back(self, invoice: int, amount: Decimal, date: dt.date) -> None:
        """The bank took a receipt of that value date back."""
        self.received(invoice, -amount, date)

    def settled(self, invoice: int, amount: Decimal) -> None:
        """Something came off an invoice (below zero: went back onto it) that is no new money."""
        self.accounts[invoice].settled += amount

    def booked(self, *, bank: Decimal = NOTHING, receivable: Decimal = NOTHING) -> None:
        """The bank or what customers owe changed, and no invoice with it."""
        self.bank_besides += bank
        self.owed_besides += receivable

    def cancelled(self, invoice: int) -> None:
        """An invoice was voided."""
        self.accounts[invoice].void = True

    def expect(self, entries: Iterable[Entry]) -> None:
        """Take in all that the AR side's intents must have brought in."""
        for entry in entries:
            for invoice, amount in entry.effects:
                if invoice is not None:
                    self.received(invoice, amount, entry.date)
                else:
                    # What stays on account is owed to the customer; what is given up is a loss.
                    self.booked(bank=amount, receivable=min(-amount, NOTHING))

    @property
    def bank(self) -> Decimal:
        """What must have come in at the bank."""
        return sum((account.paid_own for account in self.accounts.values()), self.bank_besides)

    @property
    def receivable(self) -> Decimal:
        """What all customers must owe."""
        return sum((account.open_own for account in self.accounts.values()), self.owed_besides)

    def compare(self, invoices: Sequence[Mapping[str, Any]], bank: Decimal, receivable: Decimal) -> list[Difference]:
        """Hold Tryton's invoices (rows of `Books.invoices`) and its two totals against the arithmetic."""
        differences = []
        rows = {row["id"]: row for row in invoices}
        for number, account in self.accounts.items():
            row = rows.pop(number, None)
            if row is None:
                differences.append(Difference(f"Tryton's invoice {number}", "record", "there", "missing"))
            elif row["amount_to_pay"] != account.open:
                name = f"Tryton's invoice {row['number'] or number}"
                differences.append(Difference(name, "open amount", str(account.open), str(row["amount_to_pay"])))
        differences += [
            Difference(f"Tryton's invoice {number}", "record", "never written", "there") for number in rows
        ]
        for name, expected, found in (
            ("bank", self.bank, bank),
            ("receivables", self.receivable, receivable),
        ):
            if expected != found:
                differences.append(Difference(f"Tryton's {name}", "total", str(expected), str(found)))
        return differences

    def _own(self, amount: Decimal, currency: str, date: dt.date) -> Decimal:
        own = self.plan.currencies[0].code
        if currency == own:
            return amount
        rates = next(money.rates for money in self.plan.currencies if money.code == currency)
        rate = max((day, rate) for day, rate in rates if day <= date)[1]
        return (amount / rate).quantize(CENT, rounding=ROUND_HALF_EVEN)
