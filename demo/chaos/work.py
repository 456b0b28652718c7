"""What is decided during a chaos, and what must be found in Tryton's books for it afterwards.

All of it follows from the seed. Every amount is used once, so that it names its decision.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import msgspec

from demo.accountant import Accountant, Bill, Item
from demo.bills import BILLED, LONG_TERM, OTHER_DAY, PAID
from demo.chaos.evidence import Effect, Expected, Trace
from demo.company import CompanyPlan
from demo.engine import SYSTEM
from engine.model.commands import Memo
from engine.model.intents import (
    Allocation,
    ApplyPayment,
    ApplyReceipt,
    Intent,
    IssueMemo,
    PostEntry,
    RaiseDispute,
    ReleaseOrder,
    ReverseApplication,
    SetCreditLimit,
    Side,
)

COUNTS = {
    "paid": 5, "in parts": 3, "together": 3, "deducted": 2, "overpaid": 2, "credited": 2, "debited": 6, "disputed": 2,
    "receiving": 2, "taken back": 2, "raced": 3, "entry": 9, "limit": 3, "order": 2,
}  # fmt: skip
TOGETHER = 3
CENT = Decimal("0.01")

Row = dict[str, Any]


@dataclass(slots=True)
class Race:
    """The accountant books the very receipt that an intent is about, before arsync's request reaches Tryton."""

    intent: str
    invoice: int
    amount: Decimal


@dataclass(slots=True)
class Work:
    """The decisions of one seed. `prepare` fills the books, `decide` writes the intents."""

    chance: random.Random
    plan: CompanyPlan
    intents: list[tuple[str, str]] = field(default_factory=list)
    expected: list[Expected] = field(default_factory=list)
    handed_in: list[list[tuple[str, str]]] = field(default_factory=list)
    """The intents in their order. Those about one invoice are handed in together, so that what is killed in between
    does not decide whether the second one comes before the first one's money."""
    races: dict[str, Race] = field(default_factory=dict)
    _follows: dict[int, int] = field(default_factory=dict)
    _invoices: dict[str, list[int]] = field(default_factory=dict)
    _totals: dict[int, Decimal] = field(default_factory=dict)
    _parties: dict[int, int] = field(default_factory=dict)
    _customers: list[Row] = field(default_factory=list)
    _orders: list[tuple[int, int, Decimal]] = field(default_factory=list)
    _on_account: list[tuple[str, Decimal]] = field(default_factory=list)
    _used: set[Decimal] = field(default_factory=set)
    _rows: Mapping[int, Row] = field(default_factory=dict)

    def prepare(self, accountant: Accountant) -> None:
        """Write the invoices, the receipts on account and the orders, before arsync is there."""
        self._customers = [row for row in accountant.customers() if row["active"]]
        names = [
            name for name, count in COUNTS.items() for _ in range(count) if name not in ("entry", "limit", "order")
        ]
        names += ["together"] * (COUNTS["together"] * (TOGETHER - 1))
        bills = []
        for place, name in enumerate(names):
            # Those that are paid together belong to one customer.
            whose = place // TOGETHER if name == "together" else place
            party = self._customers[whose % len(self._customers)]["id"]
            bills.append(self._bill(party, name))
        for name, number, bill in zip(names, accountant.create_invoices(bills), bills, strict=True):
            self._invoices.setdefault(name, []).append(number)
            self._parties[number] = bill.party
        self._totals = {row["id"]: row["total_amount"] for row in accountant.invoices()}
        self._used |= set(self._totals.values())
        by_customer: dict[int, list[int]] = {}
        for number in self._invoices["together"]:
            by_customer.setdefault(self._parties[number], []).append(number)
        self._invoices["together"] = [number for numbers in by_customer.values() for number in numbers]
        for place, number in enumerate(self._invoices["receiving"]):
            text, amount = f"on account {place}", self._amount(50)
            accountant.book_on_account(self._parties[number], amount, text, OTHER_DAY)
            self._on_account.append((text, amount))
        for number in self._invoices["taken back"]:
            accountant.pay(number, self._amount(60), "by hand", OTHER_DAY)
        for place in range(COUNTS["order"]):
            customer = min(self._customers, key=lambda row: row["credit_limit_amount"] or Decimal(10**9))
            amount = (customer["credit_limit_amount"] or Decimal(0)) + self._amount(900) + place
            self._orders.append((accountant.quote_order(customer["id"], amount), customer["id"], amount))

    def decide(self, rows: Mapping[int, Row]) -> None:
        """Write all intents in a random order; `rows` are arsync's invoices by id, as the AR side reads them."""
        self._rows = rows
        for kind in COUNTS:
            getattr(self, f"_{kind.replace(' ', '_')}")()
        order = [place for place in range(len(self.intents)) if place not in self._follows]
        self.chance.shuffle(order)
        after = {first: place for place, first in self._follows.items()}
        self.handed_in = [[self.intents[n] for n in (place, after.get(place)) if n is not None] for place in order]
        self.intents = [one for part in self.handed_in for one in part]

    @property
    def disputed(self) -> list[int]:
        """Invoices with a dispute that nobody ends."""
        return self._invoices["disputed"]

    # One kind after the other.

    def _paid(self) -> None:
        for number in self._invoices["paid"]:
            self._pay([(number, self._totals[number])])

    def _in_parts(self) -> None:
        for number in self._invoices["in parts"]:
            self._follows[len(self.intents) + 1] = len(self.intents)
            for _ in range(2):
                self._pay([(number, self._amount(80))])

    def _together(self) -> None:
        numbers = self._invoices["together"]
        for start in range(0, len(numbers), TOGETHER):
            several = [n for n in numbers[start:] if self._parties[n] == self._parties[numbers[start]]][:TOGETHER]
            self._pay([(number, self._amount(70)) for number in several])

    def _deducted(self) -> None:
        for number in self._invoices["deducted"]:
            given_up = self._amount(9)
            self._pay([(number, self._totals[number] - given_up)], write_off=given_up)

    def _overpaid(self) -> None:
        for number in self._invoices["overpaid"]:
            self._pay([(number, self._totals[number])], on_account=self._amount(40))

    def _credited(self) -> None:
        for number in self._invoices["credited"]:
            about = self._about("credit", number, self._totals[number])
            self._add(IssueMemo(**about, memo=Memo.CREDIT, date=PAID), self._memo(number, -self._totals[number]))

    def _debited(self) -> None:
        for number in self._invoices["debited"]:
            charge = self._amount(20)
            about = self._about("debit", number, charge)
            self._add(IssueMemo(**about, memo=Memo.DEBIT, date=PAID), self._memo(number, charge))

    def _disputed(self) -> None:
        for number in self._invoices["disputed"]:
            about = self._about("dispute", number, self._totals[number])
            trace = (Effect.BLOCK, number, Decimal(0))
            self._add(RaiseDispute(**about, reason_code="damaged", hold=True), (trace, 1))

    def _receiving(self) -> None:
        for number, (text, amount) in zip(self._invoices["receiving"], self._on_account, strict=True):
            about = self._about("apply", number, amount)
            left = (Effect.ON_ACCOUNT, self._parties[number], amount)
            self._add(ApplyReceipt(**about, receipt=text), ((Effect.APPLIED, number, amount), 1), (left, 0))

    def _taken_back(self) -> None:
        for number in self._invoices["taken back"]:
            (application,) = self._rows[number]["applications"]
            amount = Decimal(str(application["amount"]))
            about = self._about("reverse", number, amount)
            left = (Effect.ON_ACCOUNT, self._parties[number], amount)
            self._add(
                ReverseApplication(**about, item=application["item"]),
                ((Effect.APPLIED, number, amount), 0),
                (left, 1),
            )

    def _raced(self) -> None:
        for number in self._invoices["raced"]:
            amount = self._amount(90)
            name = self._pay([(number, amount)], state="refused")
            self.races[name] = Race(name, number, amount)

    def _entry(self) -> None:
        chart = self.plan.chart
        for _ in range(COUNTS["entry"]):
            amount = self._amount(30)
            sides = (Side(chart.expense, debit=amount), Side(chart.cash, credit=amount))
            whose = str(self.chance.choice(self._customers)["id"])
            asked = PostEntry(
                id=self._name("entry"), system=SYSTEM, customer=whose, company="1", currency="EUR", date=PAID,
                lines=sides,
            )  # fmt: skip
            self._add(asked, ((Effect.ENTRY, 0, amount), 1))

    def _limit(self) -> None:
        for row in sorted(self._customers, key=lambda row: -row["id"])[: COUNTS["limit"]]:
            limit = 20000 + self._amount(5000)
            asked = SetCreditLimit(
                id=self._name("limit"), system=SYSTEM, customer=str(row["id"]), company="1", currency="EUR",
                limit=limit, replaces=row["credit_limit_amount"],
            )  # fmt: skip
            self._add(asked, ((Effect.LIMIT, row["id"], limit), 1))

    def _order(self) -> None:
        for order, party, amount in self._orders:
            asked = ReleaseOrder(
                id=self._name("order"), system=SYSTEM, customer=str(party), company="1", currency="EUR",
                order=str(order), amount=amount,
            )  # fmt: skip
            self._add(asked, ((Effect.ORDER, order, Decimal(0)), 1))

    # What they share.

    def _pay(
        self,
        allocations: list[tuple[int, Decimal]],
        *,
        write_off: Decimal | None = None,
        on_account: Decimal | None = None,
        state: str = "done",
    ) -> str:
        first = self._rows[allocations[0][0]]
        name = self._name("pay")
        intent = ApplyPayment(
            id=name, system=SYSTEM, customer=str(first["customer"]), currency=str(first["currency"]),
            amount=sum((amount for _, amount in allocations), on_account or Decimal(0)), date=PAID, reference=name,
            allocations=tuple(
                Allocation(str(number), amount, str(self._rows[number]["content_version"]), write_off)
                for number, amount in allocations
            ),
            on_account=on_account,
        )  # fmt: skip
        traces: list[tuple[Trace, int]] = [
            ((Effect.APPLIED, number, amount + (write_off or 0)), 1) for number, amount in allocations
        ]
        if on_account is not None:
            traces.append(((Effect.ON_ACCOUNT, self._parties[allocations[0][0]], on_account), 1))
        self._add(intent, *traces, state=state)
        return name

    def _add(self, intent: Intent, *traces: tuple[Trace, int], state: str = "done") -> None:
        self.intents.append((intent.id, msgspec.json.encode(intent).decode()))
        self.expected.append(Expected(intent.id, state, traces))

    def _memo(self, invoice: int, total: Decimal) -> tuple[Trace, int]:
        return (Effect.MEMO, self._parties[invoice], total), 1

    def _about(self, what: str, invoice: int, amount: Decimal) -> dict[str, Any]:
        row = self._rows[invoice]
        return {
            "id": self._name(what), "system": SYSTEM, "customer": str(row["customer"]), "currency": row["currency"],
            "invoice": str(invoice), "basis": row["content_version"], "amount": amount,
        }  # fmt: skip

    def _name(self, what: str) -> str:
        return f"chaos-{len(self.intents) + 1:02}-{what}"

    def _bill(self, party: int, name: str) -> Bill:
        net = 300 + self._amount(500)
        return Bill(party, (Item(f"Goods, {name}", net),), BILLED, "EUR", LONG_TERM, name)

    def _amount(self, about: int) -> Decimal:
        """An amount of this size that was not used before."""
        while True:
            amount = Decimal(self.chance.randint(about * 50, about * 100)) / 100
            amount = amount.quantize(CENT, rounding=ROUND_HALF_EVEN)
            if amount not in self._used:
                self._used.add(amount)
                return amount
