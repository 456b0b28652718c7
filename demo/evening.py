"""The evening of the day: all that the AR side decides besides plain receipts, each seen in Tryton's own books.

`demo.day` plays it last. Two rounds: what the second one decides rests on what the first one brought about.
"""

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from demo import proofs
from demo.bills import PAID
from demo.ledger import HELD, REFUSED
from engine.model.commands import Memo
from engine.model.intents import (
    Allocation,
    ApplyPayment,
    ApplyReceipt,
    IssueMemo,
    PostEntry,
    RaiseDispute,
    RejectDispute,
    ReleaseOrder,
    ReverseApplication,
    SetCreditLimit,
    Side,
)

if TYPE_CHECKING:
    from demo.day import Day

LOSS = Decimal("12.00")
LEFT_OVER = Decimal("40.00")
CLAIM = Decimal("30.00")
CHARGE = Decimal("20.00")
EXPENSE = Decimal("70.00")
LIMIT = Decimal("45000.00")
ORDER = Decimal("9000.00")
ONE = Decimal("1.00")
LONG_AGO = dt.date(2011, 3, 1)
"""Before Tryton has any fiscal year."""


class Evening:
    """Plays on the people and the books of a day."""

    def __init__(self, day: "Day") -> None:
        self._day = day
        self._analyst = day.analyst

    def play(self) -> None:
        """Both rounds; returns when everything that was submitted has ended, or does not move any more."""
        self._day.tell("The AR side decides on deductions, disputes, memos, limits, an order and a ledger entry")
        self._analyst.read()
        self._receipts()
        self._claims()
        self._charges()
        self._credit()
        self._entry()
        self._analyst.submit()
        self._analyst.await_final()
        self._day.tell("And on what that brought: one claim is right, one is not; money is applied, and taken off")
        self._analyst.read()
        self._judge()
        self._move_money()
        self._mistakes()
        self._analyst.submit()
        self._analyst.await_final()
        self._count_memos()

    def _receipts(self) -> None:
        ids, totals = self._day.ids, self._day.totals
        short = totals["deducted"] - LOSS
        self._analyst.decide(
            "deducted", "is short, and the deduction is given up", [(ids["deducted"], short)], PAID, write_off=LOSS
        )
        over = [(ids["overpaid"], totals["overpaid"])]
        self._analyst.decide("overpaid", "is too much, the rest stays on account", over, PAID, on_account=LEFT_OVER)

    def _claims(self) -> None:
        for name, story in (("disputed", "contests a part, held meanwhile"), ("claimed", "contests all, held")):
            amount = CLAIM if name == "disputed" else self._day.totals[name]
            intent = RaiseDispute(**self._about(f"raise-{name}", name, amount), reason_code="damaged", hold=True)
            self._analyst.hand_in(intent, story, PAID)

    def _charges(self) -> None:
        credit = self._about("credited", "credited", self._day.totals["credited"])
        shown = f"-{self._day.totals['credited']} paid"
        self._analyst.hand_in(
            IssueMemo(**credit, memo=Memo.CREDIT, date=PAID), "credits a whole invoice", PAID, shown, proofs.memo
        )
        debit = self._about("debited", "debited", CHARGE)
        charge = IssueMemo(**debit, memo=Memo.DEBIT, date=PAID)
        self._analyst.hand_in(charge, "charges for a reminder", PAID, f"{CHARGE} posted", proofs.memo)

    def _credit(self) -> None:
        parties = {str(row["name"]): row for row in self._day.accountant.customers()}
        raised = parties["Fjordline Shipping"]
        whose: dict[str, Any] = {"system": self._analyst.system, "company": "1", "currency": "EUR"}
        self._analyst.hand_in(
            SetCreditLimit(
                id=self._analyst.reference("limit"), customer=str(raised["id"]), limit=LIMIT,
                replaces=raised["credit_limit_amount"], **whose,
            ),
            "raises a credit limit", PAID, str(LIMIT), proofs.limit(raised["id"]),
        )  # fmt: skip
        party = parties["Granite Retail"]["id"]
        order = self._day.accountant.quote_order(party, ORDER)
        self._analyst.hand_in(
            ReleaseOrder(
                id=self._analyst.reference("order"), customer=str(party), order=str(order), amount=ORDER, **whose
            ),
            "releases an order over the limit", PAID, "released", proofs.order(order),
        )  # fmt: skip

    def _entry(self) -> None:
        chart = self._day.tally.plan.chart
        sides = (Side(chart.expense, debit=EXPENSE), Side(chart.cash, credit=EXPENSE))
        asked = PostEntry(
            id=self._analyst.reference("entry"), system=self._analyst.system, customer="bank", company="1",
            currency="EUR", date=PAID, lines=sides, reference="Bank charges",
        )  # fmt: skip
        self._analyst.hand_in(asked, "books bank charges", PAID, str(EXPENSE), proofs.entry)
        self._day.tally.booked(bank=-EXPENSE)

    def _judge(self) -> None:
        right = self._about("approve", "disputed", CLAIM)
        approved = IssueMemo(**right, memo=Memo.CREDIT, date=PAID, dispute=self._analyst.reference("raise-disputed"))
        self._analyst.hand_in(approved, "approves the claim", PAID, f"-{CLAIM} posted", proofs.memo)
        wrong = self._about("reject", "claimed", self._day.totals["claimed"])
        rejected = RejectDispute(**wrong, dispute=self._analyst.reference("raise-claimed"))
        free = proofs.blocked(self._day.ids["claimed"])
        self._analyst.hand_in(rejected, "rejects the other", PAID, "free", free)

    def _move_money(self) -> None:
        ids, totals = self._day.ids, self._day.totals
        receipt = self._analyst.key("overpaid")
        on_account = ApplyReceipt(**self._about("apply", "receiving", LEFT_OVER), receipt=receipt)
        proof = proofs.applied(ids["receiving"], LEFT_OVER)
        self._analyst.hand_in(on_account, "applies what was left over", PAID, f"1 of {LEFT_OVER}", proof)
        self._day.tally.settled(ids["receiving"], LEFT_OVER)
        self._day.tally.booked(receivable=LEFT_OVER)
        amount = totals["printed"]
        items = self._analyst.invoices.get(ids["printed"], {}).get("applications") or [{"item": "none"}]
        back = ReverseApplication(**self._about("reverse", "printed", amount), item=items[0]["item"])
        proof = proofs.applied(ids["printed"], amount)
        self._analyst.hand_in(back, "takes a receipt off again", PAID, f"0 of {amount}", proof)
        self._day.tally.settled(ids["printed"], -amount)
        self._day.tally.booked(receivable=-amount)

    def _mistakes(self) -> None:
        """What cannot be done: each is a conflict that says why, and Tryton's books show nothing of it."""
        about = self._about("none", "withdrawn", ONE)
        part = Allocation(about["invoice"], ONE, about["basis"])
        parties = {str(row["name"]): row for row in self._day.accountant.customers()}
        stranger = str(parties["Granite Retail"]["id"])
        for name, changes, story, conflict, end in (
            ("stranger", {"customer": stranger}, "pays another customer's invoice", "customer_mismatch", REFUSED),
            ("currency", {"currency": "USD"}, "pays in the wrong currency", "precondition_failed", HELD),
            ("long-ago", {"date": LONG_AGO}, "books into a period that is not open", "period_closed", HELD),
        ):
            said = {"customer": about["customer"], "currency": about["currency"], "date": PAID, **changes}
            intent = ApplyPayment(
                id=self._analyst.reference(name), system=self._analyst.system, amount=ONE, allocations=(part,), **said
            )
            self._analyst.hand_in_wrong(intent, story, PAID, conflict, end)
        raised = str(parties["Fjordline Shipping"]["id"])
        limit = SetCreditLimit(
            id=self._analyst.reference("race"), system=self._analyst.system, customer=raised, company="1",
            currency="EUR", limit=2 * LIMIT, replaces=ONE,
        )  # fmt: skip
        self._analyst.hand_in_wrong(limit, "replaces a limit that is another one", PAID, "credit_limit_race", HELD)

    def _count_memos(self) -> None:
        """Tryton gave the memos ids of their own: from now on the day's arithmetic knows them."""
        ids, tally = self._day.ids, self._day.tally
        for name, total in (("credited", -self._day.totals["credited"]), ("debited", CHARGE), ("approve", -CLAIM)):
            for row in self._day.accountant.with_reference(self._analyst.key(name)):
                tally.billed(row["id"], total, "EUR", PAID)
                if name == "credited":
                    tally.settled(row["id"], total)
                    tally.settled(ids["credited"], -total)

    def _about(self, name: str, invoice: str, amount: Decimal) -> dict[str, Any]:
        """What every intent about one invoice says, as her last reading showed it."""
        known = self._analyst.invoices.get(self._day.ids[invoice], {})
        return {
            "id": self._analyst.reference(name),
            "system": self._analyst.system,
            "customer": str(known.get("customer", "unknown")),
            "currency": str(known.get("currency", "EUR")),
            "invoice": str(self._day.ids[invoice]),
            "basis": str(known.get("content_version", "unread")),
            "amount": amount,
        }
