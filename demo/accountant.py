"""A person who works in Tryton itself: books, pays, cancels, and never hears of the engine.

The demo and the tests call it to make the ERP's own side move, through JSON-RPC like any client of Tryton. It
promises to confirm only those warnings that its own operations need, and none that would unlink, delete or
write off anything.
"""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property, partial
from typing import Any, TypeVar

from connectors.tryton.rpc import WarningRaised
from demo.books import Books

T = TypeVar("T")

CONFIRMED = frozenset({"invoice_payment_term", "invoice_date_future", "cancel_invoice_move"})
"""Warnings (after the digest of the records and a full stop) that are confirmed: a due date that has passed,
a date to come, and taking back a receipt that an invoice is linked to."""

MOST_WARNINGS = 5


@dataclass(frozen=True, slots=True)
class Item:
    """One line of an invoice: `price` for one piece, net, in the invoice's currency."""

    description: str
    price: Decimal
    quantity: int = 1
    taxed: bool = True


@dataclass(frozen=True, slots=True)
class Bill:
    """One invoice to be written; `party` is Tryton's id of the customer."""

    party: int
    items: tuple[Item, ...]
    invoice_date: dt.date
    currency: str = "EUR"
    term: str = "Net 30"
    reference: str = ""


class Accountant(Books):
    """Every verb returns when Tryton has committed it, and raises `RpcError` when Tryton refused it."""

    def create_invoice(
        self,
        party: int,
        items: Sequence[Item],
        *,
        invoice_date: dt.date,
        currency: str = "EUR",
        term: str = "Net 30",
        reference: str = "",
    ) -> int:
        """Write and post an invoice; gives its id. Dates must not go back behind the last posted invoice."""
        bill = Bill(party, tuple(items), invoice_date, currency, term, reference)
        return self.create_invoices([bill])[0]

    def create_invoices(self, bills: Sequence[Bill]) -> list[int]:
        """Write and post invoices in their order, in two calls for all: many times faster than one by one."""
        drafts = [self._draft(bill) for bill in bills]
        numbers = [int(number) for number in self._call("account.invoice.create", drafts)]
        # Tryton asks about each due date that has passed, one at a time.
        post = partial(self._session.call, "model.account.invoice.post", numbers)
        self._confirmed(post, most=MOST_WARNINGS + len(numbers))
        return numbers

    def _draft(self, bill: Bill) -> dict[str, Any]:
        money = self._known("currency.currency", "code", bill.currency)
        lines = [
            {
                "type": "line",
                "account": self._revenue,
                "description": item.description,
                "quantity": item.quantity,
                "unit_price": item.price,
                "currency": money,
                "taxes": [["add", [self._tax]]] if item.taxed else [],
            }
            for item in bill.items
        ]
        return {
            "type": "out",
            "company": self._company,
            "party": bill.party,
            "invoice_address": self._known("party.address", "party", bill.party),
            "currency": money,
            "journal": self._known("account.journal", "type", "revenue"),
            "account": self._receivable,
            "payment_term": self._known("account.invoice.payment_term", "name", bill.term),
            "invoice_date": bill.invoice_date,
            "reference": bill.reference,
            "lines": [["create", lines]],
        }

    def pay(self, invoice: int, amount: Decimal, text: str, date: dt.date) -> None:
        """Book a receipt of `amount`, in the invoice's currency, for all or a part of what is open."""
        row = self._read("account.invoice", invoice, "party", "currency", "account", "amount_to_pay")
        if not 0 < amount <= row["amount_to_pay"]:
            raise ValueError(f"Invoice {invoice} has {row['amount_to_pay']} open; {amount} cannot be paid on it")
        start = {
            "payee": row["party"],
            "amount": amount,
            "currency": row["currency"],
            "description": text,
            "company": self._company,
            "invoice_account": row["account"],
            "payment_method": self._find("account.invoice.payment.method", []),
            "date": date,
        }
        with self._session.wizard("account.invoice.pay", "account.invoice", [invoice]) as wizard:
            answer = self._confirmed(lambda: wizard.execute("choice", {"start": start}))
            view = answer.get("view")
            if view is None:
                return
            # Names with a dot are for a person's screen; the form itself would choke on them.
            ask = {name: value for name, value in view["defaults"].items() if "." not in name}
            ask["type"] = "partial"
            self._confirmed(lambda: wizard.execute("pay", {"start": start, "ask": ask}))

    def book_on_account(self, party: int, amount: Decimal, text: str, date: dt.date) -> None:
        """Book a receipt of a customer, in the company's currency, that is applied to nothing yet."""
        method = self._find("account.invoice.payment.method", [])
        booked = self._read("account.invoice.payment.method", method, "journal", "debit_account")
        period = self._find("account.period", [["start_date", "<=", date], ["end_date", ">=", date]])
        nothing = Decimal(0)
        lines = [{"account": booked["debit_account"], "debit": amount, "credit": nothing},
                 {"account": self._receivable, "party": party, "debit": nothing, "credit": amount}]  # fmt: skip
        values = {"company": self._company, "journal": booked["journal"], "period": period, "date": date,
                  "description": text, "lines": [["create", lines]]}  # fmt: skip
        self._call("account.move.post", self._call("account.move.create", [values]))

    def bounce(self, invoice: int, text: str) -> None:
        """The bank took the newest receipt of an invoice back: it is open again as if it had not come."""
        links = self._read("account.invoice", invoice, "payment_lines")["payment_lines"]
        if not links:
            raise ValueError(f"Invoice {invoice} has no receipt that could bounce")
        line = max(links)
        row = self._read("account.move.line", line, "move", "reconciliation")
        if row["reconciliation"]:
            with self._session.wizard("account.move.unreconcile_lines", "account.move.line", [line]) as wizard:
                self._confirmed(lambda: wizard.execute("unreconcile"))
        with self._session.wizard("account.move.cancel", "account.move", [row["move"]]) as wizard:
            form = {"default": {"description": text, "reversal": True}}
            self._confirmed(lambda: wizard.execute("cancel", form))
        # Tryton keeps the link to the cancelled receipt and would refuse the next payment because of it.
        self._call("account.invoice.write", [invoice], {"payment_lines": [["remove", [line]]]})

    def move_due_date(self, invoice: int, new_date: dt.date) -> None:
        """Give all unpaid instalments of an invoice another due date."""
        lines = self._read("account.invoice", invoice, "lines_to_pay")["lines_to_pay"]
        unpaid = self._ids("account.move.line", [["id", "in", lines], ["reconciliation", "=", None]])
        self._call("account.move.line.write", unpaid, {"maturity_date": new_date})

    def print_invoice(self, invoice: int) -> None:
        """Print again: the row is written, and nothing that a decision could rest on changes."""
        with self._session.wizard("account.invoice.refresh_invoice_report", "account.invoice", [invoice]) as wizard:
            wizard.execute("archive")

    def cancel(self, invoice: int) -> None:
        """Void a posted invoice by its own counter-entry."""
        self._call("account.invoice.cancel", [invoice])

    def set_credit_limit(self, party: int, amount: Decimal | None) -> None:
        """Set a customer's limit in the company's currency; None takes it away."""
        self._call("party.party.write", [party], {"credit_limit_amount": amount})

    def quote_order(self, party: int, amount: Decimal) -> int:
        """A quotation of one line for a customer, which nobody has confirmed yet; gives its id."""
        line = {"type": "line", "description": "Pallets", "quantity": 1.0, "unit_price": amount}
        values = {
            "company": self._company,
            "party": party,
            "currency": self._read("company.company", self._company, "currency")["currency"],
            "invoice_address": self._known("party.address", "party", party),
            "shipment_address": self._known("party.address", "party", party),
            # Nothing follows by itself: the order alone is of interest.
            "invoice_method": "manual",
            "shipment_method": "order",
            "lines": [["create", [line]]],
        }
        (order,) = self._call("sale.sale.create", [values])
        self._call("sale.sale.quote", [order])
        return int(order)

    def run_queue(self) -> None:
        """Let reconciled invoices become paid whose job was lost with a killed server."""
        domain = [["type", "=", "out"], ["state", "=", "posted"]]
        self._call("account.invoice.process", self._ids("account.invoice", domain))

    @cached_property
    def _receivable(self) -> int:
        return self._find("account.account", [["type.receivable", "=", True], ["party_required", "=", True]])

    @cached_property
    def _revenue(self) -> int:
        return self._find("account.account", [["type.revenue", "=", True], ["closed", "!=", True]])

    @cached_property
    def _tax(self) -> int:
        return self._find("account.tax", [["parent", "=", None]])

    def _known(self, model: str, field: str, value: str | int) -> int:
        """The first record with this value; asked once, for these do not change under an accountant's hands."""
        key = (model, value)
        if key not in self._found:
            self._found[key] = self._find(model, [[field, "=", value]])
        return self._found[key]

    @cached_property
    def _found(self) -> dict[tuple[str, str | int], int]:
        return {}

    def _call(self, method: str, *params: Any) -> Any:
        return self._confirmed(lambda: self._session.call(f"model.{method}", *params))

    def _confirmed(self, act: Callable[[], T], most: int = MOST_WARNINGS) -> T:
        for _ in range(most):
            try:
                return act()
            except WarningRaised as warning:
                if warning.name.partition(".")[2] not in CONFIRMED:
                    raise
                self._session.acknowledge(warning.name)
        return act()
