"""An accountant who does everything that Tryton lets one do, in no sensible order."""

import datetime as dt
import random
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from connectors.tryton.rpc import Concurrency, InternalError, Session, UserError, WarningRaised
from demo.accountant import Accountant, Bill, Item


class Unruly(Accountant):
    """Draws operations; what Tryton refuses has not happened. `done` counts what it carried out, by name."""

    def __init__(self, session: Session, seed: int, terms: list[str], currencies: list[str]) -> None:
        super().__init__(session)
        self.chance = random.Random(seed)
        self.day = dt.date(2026, 1, 5)
        self.terms, self.currencies = terms, currencies
        self.done: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.reasons: dict[str, str] = {}
        self._invoices: list[int] = []
        self._parties = [int(row["id"]) for row in self.customers()]
        self._operations: list[tuple[int, Callable[[], None]]] = [
            (18, self.bill), (12, self.pay_some), (3, self.write_off), (2, self.overpay), (6, self.bounce_one),
            (2, self.cancel_one), (4, self.credit_one), (4, self.due_later), (3, self.print_one),
            (4, self.by_statement), (3, self.limit), (2, self.rename), (3, self.unreconcile),
            (4, self.offset_credit), (3, self.on_account),
            (3, self.block), (2, self.reschedule), (2, self.draft), (1, self.validate_only),
        ]  # fmt: skip

    def act(self, times: int) -> None:
        """Do this many things."""
        weights = [weight for weight, _ in self._operations]
        for _ in range(times):
            ((_, operation),) = self.chance.choices(self._operations, weights)
            try:
                operation()
                self.done[operation.__name__] += 1
            except (UserError, Concurrency, WarningRaised, InternalError, ValueError, LookupError) as error:
                self.refused[operation.__name__] += 1
                self.reasons[operation.__name__] = str(error)[:120]

    # Documents.

    def _bill(self) -> Bill:
        self.day += dt.timedelta(days=self.chance.choice([0, 0, 1, 2]))
        sign = self.chance.choice([1, 1, 1, 1, 1, 1, 1, -1])
        items = tuple(self._item(sign) for _ in range(self.chance.randint(1, 3)))
        return Bill(self.chance.choice(self._parties), items, self.day, self.chance.choice(self.currencies),
                    self.chance.choice(self.terms), f"PO-{self.chance.randint(1, 999)}")  # fmt: skip

    def _item(self, sign: int) -> Item:
        price = sign * Decimal(self.chance.randint(100, 90000)) / 100
        return Item("x", price, self.chance.randint(1, 5), self.chance.random() < 0.7)

    def bill(self) -> None:
        self._invoices += self.create_invoices([self._bill() for _ in range(self.chance.randint(1, 3))])

    def draft(self) -> None:
        (number,) = self._call("account.invoice.create", [self._draft(self._bill())])
        what = self.chance.choice(["keep", "delete", "post", "edit"])
        if what == "edit":
            self._call("account.invoice.write", [number], {"reference": "edited"})
        if what == "delete":
            self._call("account.invoice.delete", [number])
        if what == "post":
            self._call("account.invoice.post", [number])
            self._invoices.append(number)

    def validate_only(self) -> None:
        (number,) = self._call("account.invoice.create", [self._draft(self._bill())])
        self._call("account.invoice.validate_invoice", [number])
        if self.chance.random() < 0.5:
            self._call("account.invoice.cancel", [number])

    def _one(self) -> int:
        return self.chance.choice(self._invoices)

    def _posted(self) -> int:
        return self.chance.choice(
            self._ids("account.invoice", [["type", "=", "out"], ["state", "=", "posted"]]) or [0]
        )

    def _paid(self) -> int:
        links = [["type", "=", "out"], ["payment_lines", "!=", None]]
        return self.chance.choice(self._ids("account.invoice", links) or [0])

    def _open(self, number: int) -> Decimal:
        return Decimal(self._read("account.invoice", number, "amount_to_pay")["amount_to_pay"])

    # Money.

    def pay_some(self) -> None:
        number = self._posted()
        owed = self._open(number)
        share = self.chance.choice([Decimal(1), Decimal(1), Decimal("0.5"), Decimal("0.3")])
        later = self.day + dt.timedelta(days=self.chance.randint(0, 60))
        self.pay(number, (owed * share).quantize(Decimal("0.01")), f"R-{self.chance.randint(1, 9999)}", later)

    def write_off(self) -> None:
        self._pay_as(Decimal("0.97"), "writeoff")

    def overpay(self) -> None:
        self._pay_as(Decimal("1.10"), "overpayment")

    def _pay_as(self, share: Decimal, kind: str) -> None:
        number = self._posted()
        row = self._read("account.invoice", number, "party", "currency", "account", "amount_to_pay")
        amount = (row["amount_to_pay"] * share).quantize(Decimal("0.01"))
        start = {"payee": row["party"], "amount": amount, "currency": row["currency"], "description": kind,
                 "company": self._company, "invoice_account": row["account"],
                 "payment_method": self._find("account.invoice.payment.method", []), "date": self.day}  # fmt: skip
        with self._session.wizard("account.invoice.pay", "account.invoice", [number]) as wizard:
            answer = self._confirmed(lambda: wizard.execute("choice", {"start": start}))
            if answer.get("view") is None:
                return
            ask = {name: value for name, value in answer["view"]["defaults"].items() if "." not in name}
            ask["type"] = kind
            if kind == "writeoff":
                ask["writeoff"] = self._find("account.move.reconcile.write_off", [])
            self._confirmed(lambda: wizard.execute("pay", {"start": start, "ask": ask}))

    def bounce_one(self) -> None:
        self.bounce(self._paid(), "Taken back")

    def unreconcile(self) -> None:
        links = self._read("account.invoice", self._paid(), "payment_lines")["payment_lines"]
        line = self.chance.choice(links or [0])
        with self._session.wizard("account.move.unreconcile_lines", "account.move.line", [line]) as wizard:
            self._confirmed(lambda: wizard.execute("unreconcile"))

    def by_statement(self) -> None:
        numbers = self.chance.sample(self._invoices, min(len(self._invoices), self.chance.randint(1, 4)))
        names = ("party", "currency", "account", "amount_to_pay", "state")
        rows = {number: self._read("account.invoice", number, *names) for number in numbers}
        first = rows[numbers[0]]
        theirs = {"date": self.day, "party": first["party"], "account": first["account"]}
        lines: list[dict[str, Any]] = [
            theirs | {"number": f"S{self.chance.randint(1, 3)}", "party": row["party"],
                      "amount": row["amount_to_pay"], "account": row["account"],
                      "related_to": f"account.invoice,{number}"}
            for number, row in rows.items()
            if row["currency"] == first["currency"] and row["state"] == "posted" and row["amount_to_pay"]
        ]  # fmt: skip
        if self.chance.random() < 0.4:
            lines.append(theirs | {"number": "unapplied", "amount": Decimal("12.34")})
        journal = self._find("account.statement.journal", [["currency", "=", first["currency"]]])
        total = sum((line["amount"] for line in lines), Decimal(0))
        values = {"name": "bank", "company": self._company, "date": self.day, "journal": journal,
                  "total_amount": total, "lines": [["create", lines]]}  # fmt: skip
        (statement,) = self._call("account.statement.create", [values])
        self._call("account.statement.validate_statement", [statement])
        self._call(f"account.statement.{self.chance.choice(['post', 'post', 'cancel'])}", [statement])

    def on_account(self) -> None:
        amount = Decimal(self.chance.randint(100, 20000)) / 100
        self.book_on_account(self.chance.choice(self._parties), amount, "on account", self.day)

    # Credits, blocks, dates.

    def cancel_one(self) -> None:
        self.cancel(self._posted())

    def credit_one(self) -> None:
        refund = self.chance.random() < 0.5
        with self._session.wizard("account.invoice.credit", "account.invoice", [self._one()]) as wizard:
            form = {"start": {"with_refund": refund, "with_refund_allowed": True, "invoice_date": self.day}}
            answer = self._confirmed(lambda: wizard.execute("credit", form))
        made = [int(number) for action in answer.get("actions", []) for number in action[1].get("res_id", [])]
        if not refund and made and self.chance.random() < 0.7:
            self._call("account.invoice.post", made)
        self._invoices += made

    def offset_credit(self) -> None:
        """Reconcile open lines of one party whose sum is nothing, or whatever Tryton makes of it."""
        domain = [["account", "=", self._receivable], ["reconciliation", "=", None],
                  ["party", "=", self.chance.choice(self._parties)], ["move.state", "=", "posted"]]  # fmt: skip
        lines = list(self._rows("account.move.line", domain, ["debit", "credit"]))
        pairs = [[a["id"], b["id"]] for a in lines for b in lines
                 if a["id"] < b["id"] and a["debit"] - a["credit"] + b["debit"] - b["credit"] == 0]  # fmt: skip
        pair = self.chance.choice(pairs or [[0]])
        with self._session.wizard("account.move.reconcile_lines", "account.move.line", pair) as w:
            self._confirmed(lambda: w.execute("start"))

    def due_later(self) -> None:
        self.move_due_date(self._one(), self.day + dt.timedelta(days=self.chance.randint(10, 400)))

    def reschedule(self) -> None:
        lines = self._read("account.invoice", self._one(), "lines_to_pay")["lines_to_pay"]
        with self._session.wizard("account.move.line.reschedule", "account.move.line", lines[:1]) as wizard:
            answer = self._confirmed(lambda: wizard.execute("start"))
            start = {n: v for n, v in answer["view"]["defaults"].items() if "." not in n}
            start |= {"start_date": self.day + dt.timedelta(days=30), "frequency": 1, "interval": 1, "number": 3}
            answer = self._confirmed(lambda: wizard.execute("preview", {"start": start}))
            preview = {n: v for n, v in answer["view"]["defaults"].items() if "." not in n}
            self._confirmed(lambda: wizard.execute("reschedule", {"start": start, "preview": preview}))

    def block(self) -> None:
        lines = self._read("account.invoice", self._one(), "lines_to_pay")["lines_to_pay"]
        self._call(f"account.move.line.{self.chance.choice(['payment_block', 'payment_unblock'])}", lines[:1])

    def print_one(self) -> None:
        self.print_invoice(self._one())

    # Customers.

    def limit(self) -> None:
        amount = self.chance.choice([None, Decimal(self.chance.randint(0, 50000))])
        self.set_credit_limit(self.chance.choice(self._parties), amount)

    def rename(self) -> None:
        party = self.chance.choice(self._parties)
        name = f"Renamed {self.chance.randint(1, 999)}"
        values: dict[str, Any] = self.chance.choice([{"name": name}, {"active": False}, {"active": True}])
        self._call("party.party.write", [party], values)
