"""What the ERP's API does for a request that has reached it: each write with its own checks, as the ERP has them."""

import dataclasses
import datetime as dt
from collections.abc import Callable
from decimal import Decimal

from engine.model.commands import (
    ApplyReceipt,
    Found,
    IssueMemo,
    Memo,
    Outcome,
    OutcomeKind,
    PostEntry,
    PostPayment,
    ReleaseOrder,
    ReverseApplication,
    SetBlock,
    SetCreditLimit,
    Write,
)
from tests.simulation.books import ZERO, Books
from tests.simulation.database import Row, Transaction
from tests.simulation.settings import Temper

OURS = "arsync"


@dataclasses.dataclass(frozen=True)
class Request:
    """A write on its way. `guard` is empty where the ERP compares nothing; `due` is when it is carried out."""

    key: str
    write: Write
    guard: dict[str, str]
    due: dt.datetime


class Refusal(Exception):
    """The ERP does not do it. `reason` as in `Outcome`."""

    def __init__(self, text: str, kind: OutcomeKind = OutcomeKind.REJECTED, reason: str | None = None) -> None:
        super().__init__(text)
        self.outcome = Outcome(kind, text, reason=reason)


class Clerk:
    """Carries requests out. `between` is called between the steps of a write: others may work then."""

    def __init__(self, books: Books, temper: Temper, between: Callable[[str], None]) -> None:
        self.books = books
        self.temper = temper
        self.between = between

    def perform(self, request: Request) -> Outcome:
        """All or the first steps of it; a refusal leaves no trace of the step that it refuses."""
        if request.guard and not self.books.holds(request.guard):
            return Outcome(OutcomeKind.STALE, "a record was changed by somebody else")
        try:
            return self._do(request.key, request.write)
        except Refusal as refusal:
            return refusal.outcome

    def _do(self, key: str, write: Write) -> Outcome:
        match write:
            case PostPayment():
                return self._pay(key, write)
            case IssueMemo():
                return self._memo(key, write)
            case PostEntry():
                self._check_period(write.date)
                with self._transaction(key, "entry") as tx:
                    entry = tx.insert("entry", text=key, day=write.date, amount=write.amount, posted=True)
                return Outcome(OutcomeKind.ACCEPTED, "", f"E{entry}")
            case ReleaseOrder():
                self._release(key, write)
            case SetCreditLimit():
                with self._transaction(key, "limit") as tx:
                    self.books.set_limit(tx, int(write.customer), write.limit)
            case _:
                self._change_invoice(key, write)
        return Outcome(OutcomeKind.ACCEPTED, "", "done")

    # Payments.

    def _pay(self, key: str, write: PostPayment) -> Outcome:
        self._check_period(write.date)
        self._check_open(write)
        books, stepwise = self.books, self.temper.steps or self.temper.drafts
        with self._transaction(key, "receipt") as tx:
            receipt = books.receive(tx, int(write.customer), write.amount, key, write.date,
                                    posted=not self.temper.drafts)  # fmt: skip
            if not self.temper.steps:
                self._apply(tx, write, receipt)
            tx.update("receipt", receipt, step=1 if stepwise else 2)
        if stepwise:
            self.between("between two steps")
            return self.resume(key, write)
        return Outcome(OutcomeKind.ACCEPTED, "", f"P{receipt}")

    def _apply(self, tx: Transaction, write: PostPayment, receipt: int) -> None:
        for part in write.allocations:
            cash = part.amount - part.written_off
            if cash:
                self.books.apply(tx, int(part.invoice), receipt, cash)
            if part.written_off:
                self.books.apply(tx, int(part.invoice), receipt, part.written_off, kind="loss")
        self.books.settle_up(tx, *(int(part.invoice) for part in write.allocations))

    def resume(self, key: str, write: Write) -> Outcome:
        """The next step of what was begun."""
        try:
            if isinstance(write, IssueMemo):
                return self._finish_memo(key, write)
            if isinstance(write, PostPayment):
                return self._finish_payment(key, write)
        except Refusal as refusal:
            return refusal.outcome
        return Outcome(OutcomeKind.REJECTED, "there is no next step")

    def _finish_payment(self, key: str, write: PostPayment) -> Outcome:
        receipt = self.receipt_of(key)
        if receipt is None:
            raise Refusal("the receipt is gone")
        if receipt["step"] == 1 and self.temper.steps:
            self._check_open(write)
            if self.books.spare(receipt["id"]) < write.amount:
                raise Refusal("a part of the receipt is applied elsewhere")
            with self._transaction(key, "application") as tx:
                self._apply(tx, write, receipt["id"])
                tx.update("receipt", receipt["id"], step=2)
        elif receipt["step"] == 1:
            with self._transaction(key, "posting") as tx:
                tx.update("receipt", receipt["id"], step=2, posted=True)
        return Outcome(OutcomeKind.ACCEPTED, "", f"P{receipt['id']}")

    def receipt_of(self, key: str) -> Row | None:
        """The oldest receipt that carries a key, whatever became of it."""
        found = self.books.db.where("receipt", "memo", key)
        return found[0] if found else None

    # Memos.

    def _memo(self, key: str, write: IssueMemo) -> Outcome:
        self._check_period(write.date)
        kind = "credit" if write.memo is Memo.CREDIT else "invoice"
        with self._transaction(key, "memo") as tx:
            bill = self.books.open_bill(
                tx, int(write.customer), write.amount, day=write.date, dues=[write.date], kind=kind, ref=key
            )
            tx.update("bill", bill, step=1)
        self.between("between two steps")
        return self._finish_memo(key, write)

    def _finish_memo(self, key: str, write: IssueMemo) -> Outcome:
        memo = self.memo_of(key)
        if memo is None:
            raise Refusal("the memo is gone")
        bill = int(write.allocations[0].invoice)
        if memo["step"] == 1:
            amounts = (self.books.balance(bill), self.books.balance(memo["id"]))
            even = self.books.is_open(bill) and self.books.is_open(memo["id"])
            if write.clears and not (even and amounts == (write.amount, write.amount)):
                raise Refusal("the two do not clear each other any more")
            with self._transaction(key, "clearing by memo") as tx:
                if write.clears:
                    self.books.credit(tx, bill, write.amount, memo["number"], write.date)
                    self.books.credit(tx, memo["id"], write.amount, "cleared", write.date)
                    for one in (bill, memo["id"]):
                        self.books.clear(tx, one)
                if write.lift_block:
                    self.books.hold(tx, bill, held=False)
                tx.update("bill", memo["id"], step=2)
        return Outcome(OutcomeKind.ACCEPTED, "", memo["number"])

    def memo_of(self, key: str) -> Row | None:
        """The document that carries a key."""
        found = self.books.db.where("bill", "ref", key)
        return found[0] if found else None

    # Changes of what is there.

    def _change_invoice(self, key: str, write: Write) -> None:
        bill = int(write.allocations[0].invoice)
        row = self.books.db.find("bill", bill)
        if row is None or row["state"] != "posted":
            raise Refusal("the invoice is not there, or not posted")
        match write:
            case SetBlock():
                with self._transaction(key, "block") as tx:
                    self.books.hold(tx, bill, held=write.blocked)
            case ApplyReceipt():
                self._apply_receipt(key, write, bill)
            case ReverseApplication():
                line = self.books.db.find("settle", int(write.item))
                if line is None or line["bill"] != bill:
                    raise Refusal("the application is not there any more")
                with self._transaction(key, "reversal") as tx:
                    self.books.unapply(tx, line["id"])
                    self.books.settle_up(tx, bill)

    def _apply_receipt(self, key: str, write: ApplyReceipt, bill: int) -> None:
        books = self.books
        found = [one for one in books.db.where("receipt", "memo", write.receipt)
                 if books.spare(one["id"]) == write.amount and str(one["partner"]) == write.customer]  # fmt: skip
        if not found:
            raise Refusal(f"no receipt {write.receipt} of {write.amount} is open")
        if self.temper.strict and not (books.is_open(bill) and books.balance(bill) >= write.amount):
            raise Refusal("more than is open", reason="over_application")
        with self._transaction(key, "application") as tx:
            books.apply(tx, bill, found[0]["id"], write.amount)
            books.settle_up(tx, bill)

    def _release(self, key: str, write: ReleaseOrder) -> None:
        found = self.books.orders(write.customer, write.order)
        if len(found) != 1:
            raise Refusal(f"customer {write.customer} has {len(found)} orders {write.order}")
        (row,) = found
        with self._transaction(key, "release") as tx:
            tx.update("sorder", row["id"], held=False)

    # Looking up.

    def find(self, key: str, write: Write) -> Found | None:
        """What stands in the books under a key, or, where a write has no place for one, by its value."""
        match write:
            case PostPayment():
                receipt = self.receipt_of(key)
                return Found(f"P{receipt['id']}", receipt["amount"], receipt["step"] == 2) if receipt else None
            case IssueMemo():
                memo = self.memo_of(key)
                return Found(str(memo["number"]), memo["total"], memo["step"] == 2) if memo else None
            case PostEntry():
                entries = self.books.db.where("entry", "text", key)
                return Found(f"E{entries[0]['id']}") if entries else None
        return Found("by value") if self._stands(write) else None

    def _stands(self, write: Write) -> bool:
        books = self.books
        match write:
            case SetBlock():
                facts = books.facts(int(write.allocations[0].invoice))
                return facts is not None and facts.blocked == write.blocked
            case ApplyReceipt():
                facts = books.facts(int(write.allocations[0].invoice))
                lines = facts.lines if facts else ()
                return any(line.text == write.receipt and line.amount == write.amount for line in lines)
            case ReverseApplication():
                return books.db.find("settle", int(write.item)) is None
            case SetCreditLimit():
                return bool(
                    books.db.where("credit_limit", "partner", int(write.customer))[0]["amount"] == write.limit
                )
            case ReleaseOrder():
                found = books.orders(write.customer, write.order)
                return len(found) == 1 and not found[0]["held"]
        return False

    # Checks.

    def _check_period(self, day: dt.date) -> None:
        if self.books.is_locked(day):
            raise Refusal(f"the period of {day} is closed", reason="period_closed")

    def _check_open(self, write: PostPayment) -> None:
        wanted: dict[str, Decimal] = {}
        for part in write.allocations:
            wanted[part.invoice] = wanted.get(part.invoice, ZERO) + part.amount
        for invoice, amount in wanted.items():
            row = self.books.db.find("bill", int(invoice))
            if row is None or row["state"] != "posted":
                raise Refusal(f"invoice {invoice} is not there, or not posted")
            if self.temper.strict and not self.books.is_open(int(invoice)):
                raise Refusal(f"invoice {invoice} is cleared", reason="already_cleared")
            if self.temper.strict and self.books.balance(int(invoice)) < amount:
                raise Refusal(f"invoice {invoice} has less open", reason="over_application")

    def _transaction(self, key: str, why: str):  # type: ignore[no-untyped-def]
        return self.books.db.transaction(OURS, why, key)
