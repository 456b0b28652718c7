"""The scripted day: what the accountant does in Tryton, what the AR side decides, and what must come of it.

`demo.verb` plays it on a real Tryton and a running arsync. Each act is written into the ledger and the tally while
it is played. Nothing rests on fixed ids, and nothing on luck: where two things must meet at one moment, the proxy
holds one of them. The order of the acts is that of `play`.
"""

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from demo.accountant import Accountant
from demo.analyst import Analyst
from demo.bills import AFTER, BEFORE, BILLED, NEW_DUE, OTHER_DAY, PAID, Planned
from demo.engine import Arsync
from demo.evening import Evening
from demo.stage import Stage
from demo.tally import Tally
from engine.model.intents import Withdraw

LIMIT = Decimal(15000)


@dataclass(slots=True)
class Day:
    """The people, what stands between them, and the invoices by the script's own names."""

    accountant: Accountant
    analyst: Analyst
    engine: Arsync
    stage: Stage
    tally: Tally
    tell: Callable[[str], None]
    ids: dict[str, int] = field(default_factory=dict)
    totals: dict[str, Decimal] = field(default_factory=dict)

    def play(self) -> None:
        """The whole day; returns when everything that was submitted has ended, or does not move any more."""
        self.before_arsync()
        self.tell("Starting arsync: it reads Tryton's database as it is now, then every change")
        self.engine.start()
        self.engine.await_ready()
        self.while_arsync_reads()
        self.morning()
        self.noon()
        self.afternoon()
        Evening(self).play()

    def before_arsync(self) -> None:
        """The books are not empty when arsync comes."""
        self.tell(f"The accountant writes {len(BEFORE)} invoices and books two receipts, before arsync is there")
        self._write(BEFORE)
        self._paid_directly("paid early", self.totals["paid early"])
        self._paid_directly("instalments", Decimal("100.00"))

    def while_arsync_reads(self) -> None:
        """More invoices, seen as they are written."""
        self.tell(f"The accountant writes {len(AFTER)} more; arsync hears of each from the database's log")
        self._write(AFTER)
        wanted = set(self.ids.values())
        self.analyst.read_until(lambda rows: wanted <= set(rows))

    def morning(self) -> None:
        """After the AR side has read, the accountant goes on working; then all that was decided is submitted."""
        self.tell("The AR side has read; meanwhile one invoice is cancelled, one printed, one due later")
        seen = self.analyst.invoices.get(self.ids["due date"], {}).get("content_version")
        self._decide_morning()
        self.accountant.cancel(self.ids["cancelled"])
        self.tally.cancelled(self.ids["cancelled"])
        self.accountant.move_due_date(self.ids["due date"], NEW_DUE)
        self.accountant.print_invoice(self.ids["printed"])
        party = next(row["id"] for row in self.accountant.customers() if row["name"] == "Duinzicht Glass")
        self.accountant.set_credit_limit(party, LIMIT)
        self.analyst.read_until(
            lambda rows: (
                rows.get(self.ids["cancelled"], {}).get("erp_state") == "cancelled"
                and rows.get(self.ids["due date"], {}).get("content_version") != seen
            )
        )
        self.tell("The AR side submits its decisions of the morning, in one go")
        self.analyst.submit()
        self.analyst.await_final()

    def _decide_morning(self) -> None:
        pay = self._decide
        pay("full", "pays one invoice", "full")
        three = ("first of three", "second of three", "third of three")
        allocations = [(self.ids[name], self.totals[name]) for name in three]
        self.analyst.decide("three", "one receipt over three invoices", allocations, PAID)
        pay("part-1", "first of three part payments", "in parts", "100.00")
        pay("both-1", "two part payments at once, both fit", "two parts", "184.00")
        pay("both-2", "the other of the two", "two parts", "300.00")
        pay("rival-1", "two payments at once, together too much", "rivals", "200.00")
        pay("rival-2", "the later of the two", "rivals", "150.00", "concurrent_claims", effect=False)
        pay("dollars", "pays in dollars, at another day's rate", "in dollars")
        pay("bouncing", "is paid, and taken back by the bank at noon", "bouncing", None, "erp_reversed")
        pay("due", "decided before the due date was moved", "due date", None, "stale_basis")
        pay("printed", "decided before the invoice was printed", "printed")
        pay("cancelled", "decided before the invoice was cancelled", "cancelled", None, "voided_target", effect=False)
        pay("too-much", "pays more than is open", "too much", "30.00", "over_application", effect=False)
        pay("twice", "submitted three times", "twice")
        self.analyst.repeat("twice")

    def noon(self) -> None:
        """One payment is held on its way; those behind it wait while the accountant works on their invoices."""
        self.tell("A payment is held up; the accountant pays two of the invoices behind it, and prints a third")
        self.analyst.read()
        pay = self._decide
        hold = self.stage.hold(self.ids["held up"])
        pay("held", "is held up on its way", "held up")
        pay("cleared", "the accountant pays first", "cleared", None, "already_cleared", effect=False)
        pay("same", "the accountant books the same receipt", "same receipt", None, "duplicate_receipt", effect=False)
        pay("in-line", "printed while it waits", "printed in line")
        pay("part-2", "second of three part payments", "in parts", "200.00")
        pay("late", "another receipt for what is paid", "twice", "1.00", "already_cleared", effect=False)
        pay("withdrawn", "taken back while it waits", "withdrawn", effect=False, end="withdrawn")
        self.analyst.repeat("twice")
        self.analyst.submit()

        def meanwhile() -> None:
            self._withdraw("withdrawn")
            # While the request is held Tryton has nothing else to do: two writers would refuse each other's numbers.
            self._bounce("bouncing")
            self._paid_directly("cleared", self.totals["cleared"])
            self._paid_directly("same receipt", self.totals["same receipt"], self.analyst.reference("same"), PAID)
            self.accountant.print_invoice(self.ids["printed in line"])
            self.analyst.await_final("cleared", "same")

        self.stage.play([(hold, meanwhile)])
        self.tell("Let go; meanwhile the bank took back a receipt that arsync had written")
        self.analyst.await_final()

    def afternoon(self) -> None:
        """Between arsync's last look and its write the accountant is quicker; one answer is lost."""
        self.tell("The accountant is quicker than a request under way: pays in full, pays in part, prints")
        number = self.ids["bouncing"]
        owed = self.totals["bouncing"]
        self.analyst.read_until(lambda rows: Decimal(rows.get(number, {}).get("open_amount", 0)) == owed)
        pay = self._decide
        overtaken = self.stage.hold(self.ids["overtaken"])
        beaten = self.stage.hold(self.ids["beaten"], last=True)
        fits = self.stage.hold(self.ids["still fits"], last=True)
        printed = self.stage.hold(self.ids["printed on the way"])
        self.stage.drop_answer(self.ids["lost answer"])
        pay(
            "overtaken",
            "paid by hand between read and write",
            "overtaken",
            None,
            "already_cleared",
            effect=False,
            sends=1,
        )
        pay("beaten", "paid by hand between two steps", "beaten", "90.00", "already_cleared", effect=False, sends=1)
        pay("fits", "part paid by hand between read and write", "still fits", "100.00", "stale_basis", sends=2)
        pay("on-the-way", "printed between read and write", "printed on the way", sends=2)
        pay("again", "pays once more what had bounced", "bouncing")
        pay("part-3", "last of three part payments", "in parts", "63.00")
        pay("lost", "written, and the answer is lost", "lost answer")
        self.analyst.submit()
        self.stage.play([
            (overtaken, lambda: self._paid_directly("overtaken", self.totals["overtaken"])),
            (beaten, lambda: self._paid_directly("beaten", self.totals["beaten"])),
            (fits, lambda: self._paid_directly("still fits", Decimal("50.00"))),
            (printed, lambda: self.accountant.print_invoice(self.ids["printed on the way"])),
        ])  # fmt: skip
        self.tell("Let go; of the last payment, Tryton's answer is dropped")
        self.analyst.await_final()

    # What the people do.

    def _write(self, plans: Mapping[str, Planned]) -> None:
        parties = {str(row["name"]): int(row["id"]) for row in self.accountant.customers()}
        made = self.accountant.create_invoices([plan.bill(parties, name) for name, plan in plans.items()])
        for number, (name, plan) in zip(made, plans.items(), strict=True):
            self.ids[name], self.totals[name] = number, plan.total
            self.tally.billed(number, plan.total, plan.currency, BILLED)

    def _decide(
        self,
        name: str,
        story: str,
        invoice: str,
        amount: str | None = None,
        *conflicts: str,
        effect: bool = True,
        sends: int = 0,
        end: str | None = None,
    ) -> None:
        money = self.totals[invoice] if amount is None else Decimal(amount)
        allocations = [(self.ids[invoice], money)]
        self.analyst.decide(name, story, allocations, PAID, conflicts=conflicts, effect=effect, sends=sends, end=end)

    def _withdraw(self, name: str) -> None:
        row = self.analyst.invoices.get(self.ids[name], {})
        intent = Withdraw(
            id=self.analyst.reference("back"), system=self.analyst.system, customer=str(row.get("customer")),
            intent=self.analyst.reference(name),
        )  # fmt: skip
        self.analyst.hand_in(intent, "takes it back", PAID)
        self.analyst.submit()

    def _paid_directly(self, name: str, amount: Decimal, text: str = "By hand", date: dt.date = OTHER_DAY) -> None:
        self.accountant.pay(self.ids[name], amount, text, date)
        self.tally.received(self.ids[name], amount, date)

    def _bounce(self, name: str) -> None:
        self.tally.taken_back(self.ids[name], self.totals[name], PAID)
        try:
            self.accountant.bounce(self.ids[name], "Taken back by the bank")
        except ValueError as error:
            self.tell(f"There is nothing to take back: {error}")
