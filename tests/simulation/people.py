"""Whoever works in the ERP besides arsync: accountants, and the ERP's own jobs. They do what the ERP lets them do.

Each deed is one transaction. None of them looks at arsync; one of them books by hand what the AR side asks for.
"""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from random import Random

from tests.simulation.books import DAY, KEY_FORM, ZERO, Books
from tests.simulation.database import Row
from tests.simulation.settings import Temper

CENT = Decimal("0.01")
HEAT = 0.35
"""How often a deed is about an invoice that the AR side asks something of."""
Receipt = tuple[str, int, Decimal, str | None, dt.date]
"""(intent, invoice, amount, reference, day) that the AR side asks for."""


def _any(_row: Row) -> bool:
    return True


class People:
    """`wanted` tells which receipts the AR side asks for at the moment, `hot` which invoices it is about: everybody
    works on what is in discussion."""

    def __init__(self, books: Books, temper: Temper, dice: Random, wanted: Callable[[], list[Receipt]],
                 hot: Callable[[], list[int]]) -> None:  # fmt: skip
        self.books = books
        self.db = books.db
        self.temper = temper
        self.dice = dice
        self.wanted = wanted
        self.hot = hot
        self.to_open = 0
        self.drafts: list[int] = []
        self.partners: list[int] = []
        self.orders: list[int] = []
        self.bank = 0
        self.by_hand: list[tuple[str, int, int, str]] = []
        """(intent, invoice, log position, text) of receipts that were booked by hand besides the AR side's asking."""
        self._deeds: list[tuple[Callable[[], None], int]] = [
            (self.open_bill, 40), (self.post_draft, 8), (self.pay, 14), (self.pay_same_receipt, 6), (self.void, 4),
            (self.unvoid, 2), (self.change_amount, 4), (self.move_due, 4), (self.block, 4), (self.bounce, 6),
            (self.move_money, 2), (self.apply_spare, 3), (self.receive_on_account, 5), (self.limit, 3),
            (self.lock, 1), (self.rename, 2), (self.change_customer, 1), (self.touch, 8), (self.rewrite, 8),
            (self.restate, 6), (self.annotate, 5), (self.order, 4), (self.clear, 10), (self.finish, 10),
            (self.reset_clearing, 2), (self.delete_draft, 1), (self.delete_posted, 1), (self.currency, 0),
        ]  # fmt: skip

    def settle_in(self, customers: int, invoices: int) -> None:
        """The company as it is before arsync looks at it."""
        with self.db.transaction("setup", "currency") as tx:
            tx.insert("currency", code="EUR")
        for place in range(customers):
            with self.db.transaction("setup", "customer") as tx:
                partner = tx.insert("partner", name=f"Customer {place}", active=True, note="")
                tx.insert("credit_limit", partner=partner, amount=Decimal("5000.00"))
            self.partners.append(partner)
        for _ in range(invoices):
            self.open_bill()

    def work(self) -> None:
        """One deed."""
        deeds, weights = zip(*self._deeds, strict=True)
        self.dice.choices(deeds, weights)[0]()

    # Choosing.

    def _some(self, table: str, fits: Callable[[Row], bool]) -> Row | None:
        rows, last = self.db.tables[table], self.db.last_id(table)
        if table == "bill" and self.dice.random() < HEAT and (hot := self.hot()):
            row = rows.get(self.dice.choice(hot))
            if row is not None and fits(row):
                return row
        for _ in range(8):
            # Ids are dense but for what was deleted; young rows are worked on more than old ones.
            row = rows.get(last - int((self.dice.random() ** 2) * last))
            if row is not None and fits(row):
                return row
        return None

    def _open(self) -> Row | None:
        return self._some("bill", lambda row: self.books.is_open(row["id"]) and self.books.balance(row["id"]) > 0)

    def _day(self, spread: int = 40) -> dt.date:
        return DAY + dt.timedelta(days=self.dice.randrange(-spread, spread))

    # Deeds.

    def open_bill(self) -> None:
        if not self.to_open:
            return
        self.to_open -= 1
        total = Decimal(self.dice.choice((100, 250, 999, 40, 1234))) + CENT * self.dice.randrange(100)
        dues = sorted(self._day() for _ in range(self.dice.choice((1, 1, 1, 2, 3))))
        partner = self.dice.choice(self.partners)
        draft = self.dice.random() < 0.1
        with self.db.transaction("sales", "invoice") as tx:
            bill = self.books.open_bill(
                tx, partner, total, day=self._day(20), dues=dues, state="draft" if draft else "posted"
            )
            if not draft and self.dice.random() < 0.03:
                # It arrives paid: opened, cleared and posted in one transaction.
                receipt = self.books.receive(tx, partner, total, self._memo(), DAY)
                self.books.apply(tx, bill, receipt, total)
                self.books.settle_up(tx, bill)
        if draft:
            self.drafts.append(bill)

    def post_draft(self) -> None:
        if self.drafts:
            bill = self.drafts.pop(self.dice.randrange(len(self.drafts)))
            row = self.db.find("bill", bill)
            if row is not None and row["state"] == "draft":
                with self.db.transaction("sales", "posting") as tx:
                    self.books.post_bill(tx, bill)

    def pay(self) -> None:
        """A receipt of which the AR side knows nothing: whole, in part, or of several invoices."""
        bill = self._open()
        if bill is None:
            return
        balance = self.books.balance(bill["id"])
        amount = balance if self.dice.random() < 0.5 else max(CENT, (balance / 3).quantize(CENT))
        self._book(bill, amount, self._memo(), self._day(5), "payment by hand")

    def pay_same_receipt(self) -> None:
        """Somebody books by hand the very receipt that the AR side asks for."""
        wanted = self.wanted()
        if not wanted:
            return
        intent, invoice, amount, reference, day = self.dice.choice(wanted)
        bill = self.db.find("bill", invoice)
        if bill is not None and self.books.is_open(invoice) and self.books.balance(invoice) >= amount:
            memo = reference or self._memo()
            self._book(bill, amount, memo, day, "the same receipt by hand")
            self.by_hand.append((intent, invoice, self.db.lsn, memo))

    def _book(self, bill: Row, amount: Decimal, memo: str, day: dt.date, why: str) -> None:
        with self.db.transaction("accountant", why) as tx:
            receipt = self.books.receive(tx, bill["partner"], amount, memo, day)
            self.books.apply(tx, bill["id"], receipt, amount)
            self.books.settle_up(tx, bill["id"])

    def void(self) -> None:
        bill = self._open()
        if bill is not None and not self.db.where("settle", "bill", bill["id"]) and bill["ref"] is None:
            with self.db.transaction("accountant", "void") as tx:
                tx.update("bill", bill["id"], state="void")
                for item in self.db.where("item", "bill", bill["id"]):
                    tx.delete("item", item["id"])

    def unvoid(self) -> None:
        bill = self._some("bill", lambda row: row["state"] == "void")
        if bill is not None:
            with self.db.transaction("accountant", "void undone") as tx:
                tx.insert("item", bill=bill["id"], due=self._day(), amount=bill["total"], held=False,
                          partner=bill["partner"], side=1)  # fmt: skip
                tx.update("bill", bill["id"], state="posted")

    def change_amount(self) -> None:
        """The items are written anew: in between, the invoice owes nothing."""
        bill = self._open()
        if bill is None or bill["kind"] == "credit":
            return
        more = Decimal(self.dice.choice((10, 25, -5, -20)))
        if self.books.balance(bill["id"]) + more <= 0:
            return
        with self.db.transaction("accountant", "amount changed") as tx:
            items = self.db.where("item", "bill", bill["id"])
            for item in items:
                tx.delete("item", item["id"])
            owed = sum((item["amount"] for item in items), ZERO)
            tx.insert("item", bill=bill["id"], due=items[0]["due"], amount=owed + more, held=items[0]["held"],
                      partner=bill["partner"], side=1)  # fmt: skip
            tx.update("bill", bill["id"], total=bill["total"] + more)

    def move_due(self) -> None:
        bill = self._open()
        items = self.db.where("item", "bill", bill["id"]) if bill else []
        if bill is not None and items:
            with self.db.transaction("accountant", "due date moved") as tx:
                tx.update(
                    "item", items[-1]["id"], due=items[-1]["due"] + dt.timedelta(days=self.dice.choice((7, 14)))
                )
                self.books.touch(tx, bill["id"])

    def block(self) -> None:
        bill = self._open()
        if bill is not None:
            facts = self.books.facts(bill["id"])
            with self.db.transaction("accountant", "block changed") as tx:
                self.books.hold(tx, bill["id"], held=not (facts and facts.blocked))

    def bounce(self) -> None:
        """Money comes back: an application is gone, the receipt stays on account."""
        line = self._some("settle", lambda row: row["kind"] != "credit")
        if line is not None:
            with self.db.transaction("accountant", "application taken back") as tx:
                self.books.unapply(tx, line["id"])
                self.books.settle_up(tx, line["bill"])

    def move_money(self) -> None:
        """An application goes to another invoice of the same customer."""
        line = self._some("settle", lambda row: row["kind"] == "cash")
        target = self._open()
        if line is None or target is None or target["partner"] != line["partner"] or target["kind"] == "credit":
            return
        if target["id"] != line["bill"] and self.books.balance(target["id"]) >= line["amount"]:
            with self.db.transaction("accountant", "money moved") as tx:
                self.books.unapply(tx, line["id"])
                self.books.apply(tx, target["id"], line["receipt"], line["amount"])
                self.books.settle_up(tx, line["bill"], target["id"])

    def apply_spare(self) -> None:
        """Money on account is applied by hand, also what arsync has recorded and not applied yet."""
        receipt = self._some("receipt", lambda row: self.books.spare(row["id"]) > 0)
        bill = self._open()
        if receipt is None or bill is None or bill["kind"] == "credit" or bill["partner"] != receipt["partner"]:
            return
        amount = min(self.books.spare(receipt["id"]), self.books.balance(bill["id"]))
        with self.db.transaction("accountant", "applied from account") as tx:
            self.books.apply(tx, bill["id"], receipt["id"], amount)
            self.books.settle_up(tx, bill["id"])

    def receive_on_account(self) -> None:
        bill = self._open()
        if bill is not None and bill["kind"] == "invoice":
            balance = self.books.balance(bill["id"])
            amount = self.dice.choice((balance, max(CENT, (balance / 2).quantize(CENT))))
            with self.db.transaction("accountant", "receipt on account") as tx:
                self.books.receive(tx, bill["partner"], amount, self._memo(), DAY)

    def limit(self) -> None:
        limit = self.dice.choice((None, Decimal("1000.00"), Decimal("8000.00")))
        with self.db.transaction("credit manager", "limit changed") as tx:
            self.books.set_limit(tx, self.dice.choice(self.partners), limit)

    def lock(self) -> None:
        self.books.lock(None if self.books.locked_until else DAY - dt.timedelta(days=1))

    def rename(self) -> None:
        with self.db.transaction("sales", "renamed") as tx:
            tx.update("partner", self.dice.choice(self.partners), name=f"Customer {self.dice.randrange(1000)}")

    def change_customer(self) -> None:
        """An invoice was written to the wrong customer."""
        bill = self._open()
        if bill is None or self.db.where("settle", "bill", bill["id"]) or bill["ref"] is not None:
            return
        other = self.dice.choice(self.partners)
        with self.db.transaction("accountant", "customer changed") as tx:
            tx.update("bill", bill["id"], partner=other)
            for item in self.db.where("item", "bill", bill["id"]):
                tx.update("item", item["id"], partner=other)

    def touch(self) -> None:
        """Rows are written and nothing in them changes."""
        bill = self._some("bill", _any)
        if bill is not None:
            with self.db.transaction("a job", "rows written unchanged") as tx:
                self.books.touch(tx, bill["id"])
                for item in self.db.where("item", "bill", bill["id"])[:1]:
                    tx.update("item", item["id"])

    def rewrite(self) -> None:
        """Lines of a clearing are replaced by others that say the same: in between, nothing is paid."""
        line = self._some("settle", lambda row: row["receipt"] is not None)
        if line is None:
            return
        with self.db.transaction("an automation", "lines replaced") as tx:
            lines = [one for one in self.db.where("settle", "bill", line["bill"]) if one["receipt"] is not None]
            for one in lines:
                tx.delete("settle", one["id"])
            for one in lines:
                parts = [one["amount"]]
                if one["kind"] == "cash" and one["amount"] > CENT and self.dice.random() < 0.3:
                    parts = [one["amount"] - CENT, CENT]
                for part in parts:
                    self.books.apply(tx, one["bill"], one["receipt"], part, kind=one["kind"])
            for clearing in self.db.where("clearing", "bill", line["bill"]):
                tx.delete("clearing", clearing["id"])
                tx.insert("clearing", bill=line["bill"], final=clearing["final"])

    def restate(self) -> None:
        """A receipt's date, period or text is moved, whoever wrote it."""
        receipt = self._some("receipt", _any)
        if receipt is not None:
            day = receipt["day"] + dt.timedelta(days=self.dice.choice((0, 1, 30)))
            with self.db.transaction("an automation", "receipt restated") as tx:
                tx.update("receipt", receipt["id"], day=day, note=f"period {self.dice.randrange(12)}")

    def annotate(self) -> None:
        bill = self._some("bill", _any)
        if bill is not None:
            with self.db.transaction("sales", "text changed") as tx:
                tx.update("bill", bill["id"], note=f"text {self.dice.randrange(100)}")

    def order(self) -> None:
        if self.orders and self.dice.random() < 0.3:
            with self.db.transaction("sales", "order changed") as tx:
                tx.update("sorder", self.dice.choice(self.orders), held=self.dice.random() < 0.5)
            return
        with self.db.transaction("sales", "order held") as tx:
            partner = self.dice.randrange(1, self.db.last_id("partner") + 1)
            self.orders.append(self.books.open_order(tx, partner, numbered=self.dice.random() < 0.8))

    def clear(self) -> None:
        """The job that clears what has come to zero, where it is a job."""
        bill = self._some("bill", lambda row: self.books.is_open(row["id"]) and self.books.balance(row["id"]) == 0)
        if bill is not None and not self.books.clears_at_once:
            with self.db.transaction("a job", "cleared") as tx:
                self.books.clear(tx, bill["id"])

    def finish(self) -> None:
        """Clearing becomes final in the ledger."""
        found = self._some("clearing", lambda row: not row["final"])
        if found is None:
            return
        lines = self.db.where("settle", "bill", found["bill"])
        receipts = [self.db.find("receipt", line["receipt"]) for line in lines]
        if all(receipt is None or receipt["posted"] for receipt in receipts):
            with self.db.transaction("a job", "clearing posted") as tx:
                tx.update("clearing", found["id"], final=True)
                self.books.touch(tx, found["bill"])

    def reset_clearing(self) -> None:
        found = self._some("clearing", _any)
        if found is not None and not self.books.clears_at_once:
            with self.db.transaction("accountant", "clearing reset") as tx:
                tx.delete("clearing", found["id"])
                self.books.touch(tx, found["bill"])

    def delete_draft(self) -> None:
        if self.drafts:
            self._delete(self.drafts.pop())

    def delete_posted(self) -> None:
        """Some ERPs let posted documents be deleted."""
        bill = self._open()
        if bill is not None and not self.db.where("settle", "bill", bill["id"]) and bill["ref"] is None:
            self._delete(bill["id"])

    def _delete(self, bill: int) -> None:
        if self.db.find("bill", bill) is None:
            return
        with self.db.transaction("accountant", "deleted") as tx:
            for item in self.db.where("item", "bill", bill):
                tx.delete("item", item["id"])
            tx.delete("bill", bill)

    def currency(self) -> None:
        """A look-up that nothing rests on is written."""
        with self.db.transaction("a job", "rates") as tx:
            tx.update("currency", 1)

    def _memo(self) -> str:
        # What a bank tells of two receipts may be the same.
        self.bank += not self.bank or self.dice.random() < 0.85
        memo = f"Bank {self.bank}"
        assert not KEY_FORM.fullmatch(memo)
        return memo
