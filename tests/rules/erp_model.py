"""A small ERP in memory: invoices, an accountant who works on them, an API that compares guards, a log of commits.

It knows nothing of the rules. What it keeps beside its documents is what a judge needs: who caused each commit, what
was written under which key and with which guard, and whether a key was looked up before it was written again.
"""

import dataclasses
import datetime as dt
from decimal import Decimal

from engine.model.commands import Found, Outcome, OutcomeKind, PostPayment
from engine.model.documents import Application, Invoice, InvoiceType, Phase
from engine.model.events import Told

DAY = dt.date(2026, 11, 1)
NONE = Decimal("0.00")
CUSTOMERS = ("7", "8")


@dataclasses.dataclass(frozen=True)
class Line:
    """Money applied to an invoice. `key` is a command's key, or what the accountant wrote."""

    item: int
    amount: Decimal
    key: str
    ours: bool
    final: bool = True
    date: dt.date = DAY


@dataclasses.dataclass
class Bill:
    """An invoice as the ERP keeps it. `token` rises with every write to its rows."""

    key: str
    customer: str
    total: Decimal
    exists: bool = True
    draft: bool = False
    cancelled: bool = False
    blocked: bool = False
    posted: bool = False
    due_day: int = 1
    lines: tuple[Line, ...] = ()
    token: int = 1

    @property
    def balance(self) -> Decimal:
        return self.total - sum((line.amount for line in self.lines), NONE)

    @property
    def payable(self) -> bool:
        return self.exists and not self.draft and not self.cancelled and self.balance > 0

    @property
    def guard(self) -> dict[str, str]:
        return {f"bill/{self.key}": str(self.token)}

    def shown(self, key: str) -> Decimal:
        """How much stands applied under a key."""
        return sum((line.amount for line in self.lines if line.key == key), NONE)

    def facts(self) -> tuple[object, ...]:
        """What others than us made of it: equal facts mean that only our own writes differ."""
        foreign = sum((line.amount for line in self.lines if not line.ours), NONE)
        return self.total, self.due_day, self.blocked, self.cancelled, self.draft, self.customer, foreign

    def is_final(self, key: str) -> bool:
        """Nothing that stands applied under a key is still to be posted."""
        return all(line.final for line in self.lines if line.key == key)

    def ours(self) -> dict[str, Decimal]:
        return {line.key: self.shown(line.key) for line in self.lines if line.ours}

    def phase(self) -> Phase:
        if self.cancelled:
            return Phase.VOID
        if self.draft:
            return Phase.DRAFT
        if self.balance > 0:
            return Phase.OPEN
        return Phase.FINAL if self.posted else Phase.CLEARED

    def doc(self) -> Invoice:
        """The document that a mapping would assemble."""
        day = DAY + dt.timedelta(days=self.due_day)
        open_amount = NONE if self.cancelled else self.balance
        return Invoice(
            self.key, "1", InvoiceType.INVOICE, None if self.draft else f"INV{self.key}", self.customer, "EUR",
            self.total, open_amount, self.phase(), str(self.phase()), DAY,
            ((day, open_amount),) if self.phase() is Phase.OPEN else (), blocked=self.blocked,
            applications=tuple(Application(str(line.item), line.amount, line.key, line.date, line.final)
                               for line in self.lines),
        )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Commit:
    """One transaction: the invoices that it wrote, as they were at its end."""

    bills: tuple[Bill, ...]

    def told(self) -> tuple[Told, ...]:
        return tuple(Told(bill.key, bill.doc(), bill.guard) for bill in self.bills if bill.exists)


@dataclasses.dataclass(frozen=True)
class Waiting:
    """A write that the ERP has received and not carried out yet."""

    key: str
    write: PostPayment
    guard: dict[str, str]


class Erp:
    """`log` holds every commit in commit order; nothing that was booked under a key is ever forgotten."""

    def __init__(self, bills: int, total: Decimal) -> None:
        self.bills = {str(n): Bill(str(n), CUSTOMERS[n % 2], total, exists=n != bills) for n in range(1, bills + 1)}
        self.log: list[Commit] = []
        self.booked: dict[str, list[PostPayment]] = {}
        self.halves: dict[str, PostPayment] = {}
        self.drafts: set[str] = set()
        self.late: list[Waiting] = []
        self.wrongs: list[str] = []
        self._asked: dict[str, bool] = {}
        self._items = 0
        self.commit(*(key for key, bill in self.bills.items() if bill.exists))

    def commit(self, *keys: str) -> None:
        for key in keys:
            self.bills[key].token += 1
        self.log.append(Commit(tuple(dataclasses.replace(self.bills[key]) for key in sorted(keys))))

    def line(self, amount: Decimal, key: str, *, ours: bool, final: bool = True) -> Line:
        self._items += 1
        return Line(self._items, amount, key, ours, final)

    # The accountant. Each does nothing where the ERP would not let it be done.

    def pay_by_hand(self, key: str, amount: Decimal) -> None:
        bill = self.bills[key]
        if bill.payable:
            bill.lines += (self.line(min(amount, bill.balance), "by hand", ours=False),)
            self.commit(key)

    def bounce(self, key: str, place: int) -> None:
        """Money comes back: one line is gone."""
        bill = self.bills[key]
        if bill.lines and not bill.cancelled:
            gone = bill.lines[place % len(bill.lines)]
            bill.lines = tuple(line for line in bill.lines if line != gone)
            bill.posted = False
            self.commit(key)

    def rewrite(self, key: str) -> None:
        """The clearing is made anew: other lines with the same keys and amounts, one of them in two parts."""
        bill = self.bills[key]
        if bill.lines:
            cent = Decimal("0.01")
            first = bill.lines[0]
            amounts = [first.amount - cent, cent] if first.amount > cent else [first.amount]
            parts = [self.line(amount, first.key, ours=first.ours, final=first.final) for amount in amounts]
            rest = [self.line(line.amount, line.key, ours=line.ours, final=line.final) for line in bill.lines[1:]]
            bill.lines = (*parts, *rest)
            self.commit(key)

    def move_due_date(self, key: str) -> None:
        self._change(key, due_day=self.bills[key].due_day % 3 + 1)

    def block(self, key: str) -> None:
        self._change(key, blocked=not self.bills[key].blocked)

    def change_amount(self, key: str, amount: Decimal) -> None:
        if self.bills[key].balance + amount > 0 and self.bills[key].payable:
            self._change(key, total=self.bills[key].total + amount)

    def cancel(self, key: str) -> None:
        if not self.bills[key].lines:
            self._change(key, cancelled=True)

    def uncancel(self, key: str) -> None:
        if self.bills[key].cancelled:
            self._change(key, cancelled=False)

    def post_clearing(self, key: str) -> None:
        if self.bills[key].phase() is Phase.CLEARED and all(line.final for line in self.bills[key].lines):
            self._change(key, posted=True)

    def touch(self, key: str) -> None:
        self._change(key)

    def open(self, key: str) -> None:
        """Write down an invoice that was not there: first a draft, then posted."""
        bill = self.bills[key]
        if not bill.exists:
            bill.exists = bill.draft = True
            self.commit(key)
        elif bill.draft:
            self._change(key, draft=False)

    def _change(self, key: str, **facts: object) -> None:
        if self.bills[key].exists:
            self.bills[key] = dataclasses.replace(self.bills[key], **facts)  # type: ignore[arg-type]
            self.commit(key)

    # The API.

    def find(self, key: str) -> Found | None:
        self._asked[key] = True
        if key in self.halves or key in self.drafts:
            return Found("D1", complete=False)
        return Found("M1") if key in self.booked else None

    def is_silent(self, key: str) -> bool:
        """Nothing of this key can still be carried out."""
        return all(waiting.key != key for waiting in self.late)

    def write(self, key: str, write: PostPayment, guard: dict[str, str], fault: str) -> Outcome:
        """Carry out a command, with a fault: none, throttled, rejected, lost_before, lost_after, late, half (booked
        and not applied), draft (applied and not posted), refused_after (carried out and yet refused), elsewhere
        (booked on another invoice), split (in two commits)."""
        if key in self._asked and not self._asked[key]:
            self.wrongs.append(f"{key} was sent again without a look")
        if not self.is_silent(key):
            self.wrongs.append(f"{key} was sent again while the first one could still be carried out")
        self._asked[key] = False
        if fault in ("throttled", "rejected"):
            return Outcome(OutcomeKind(fault), "as told")
        if fault == "lost_before":
            return Outcome(OutcomeKind.UNKNOWN)
        if fault == "late":
            self.late.append(Waiting(key, write, guard))
            return Outcome(OutcomeKind.UNKNOWN)
        said = self._carry_out(key, write, guard, fault)
        if said.kind is OutcomeKind.ACCEPTED and fault in ("lost_after", "half", "draft"):
            return Outcome(OutcomeKind.UNKNOWN)
        if said.kind is OutcomeKind.ACCEPTED and fault == "refused_after":
            return Outcome(OutcomeKind.REJECTED, "and yet it was done")
        return said

    def end_late(self, *, done: bool) -> None:
        """What was received late is carried out, if its guard still holds, or dropped."""
        for waiting in self.late:
            if done:
                self._carry_out(waiting.key, waiting.write, waiting.guard, "")
        self.late = []

    def resume(self, key: str, write: PostPayment) -> Outcome:
        """The second step: the receipt stands, and is applied; or it is applied, and is posted."""
        if key in self.drafts:
            return self._post(key)
        if not self._fits(write):
            return Outcome(OutcomeKind.REJECTED, "nothing to apply it to")
        del self.halves[key]
        self._apply(key, write, "")
        return Outcome(OutcomeKind.ACCEPTED, "", "M1")

    def _post(self, key: str) -> Outcome:
        held = [bill for bill in self.bills.values() if not bill.is_final(key)]
        if not held:
            return Outcome(OutcomeKind.REJECTED, "nothing is left to post")
        self.drafts.discard(key)
        for bill in held:
            bill.lines = tuple(
                dataclasses.replace(line, final=True) if line.key == key else line for line in bill.lines
            )
        self.commit(*(bill.key for bill in held))
        return Outcome(OutcomeKind.ACCEPTED, "", "M1")

    def _carry_out(self, key: str, write: PostPayment, guard: dict[str, str], fault: str) -> Outcome:
        present: dict[str, str] = {}
        for part in write.allocations:
            present |= self.bills[part.invoice].guard
        if guard != present:
            return Outcome(OutcomeKind.STALE, "another token")
        if not self._fits(write):
            # Whoever decided on these very tokens had to know.
            self.wrongs.append(f"{key} was decided on rows that do not allow it")
            return Outcome(OutcomeKind.REJECTED, "does not fit")
        if fault == "half":
            self.halves[key] = write
            self.booked.setdefault(key, []).append(write)
            return Outcome(OutcomeKind.ACCEPTED)
        self.booked.setdefault(key, []).append(write)
        if fault == "draft":
            self.drafts.add(key)
        self._apply(key, write, fault)
        return Outcome(OutcomeKind.ACCEPTED, "", "M1")

    def _fits(self, write: PostPayment) -> bool:
        bills = [(self.bills[part.invoice], part.amount) for part in write.allocations]
        return all(b.payable and b.balance >= amount and b.customer == write.customer for b, amount in bills)

    def _apply(self, key: str, write: PostPayment, fault: str) -> None:
        written = []
        for part in write.allocations:
            bill = self.bills[part.invoice]
            if fault == "elsewhere":
                others = [b for b in self.bills.values() if b.payable and b != bill and b.balance >= part.amount]
                bill = others[0] if others else bill
            bill.lines += (self.line(part.amount, key, ours=True, final=fault != "draft"),)
            written.append(bill.key)
            if fault == "split":
                self.commit(bill.key)
        if fault != "split":
            self.commit(*dict.fromkeys(written))
