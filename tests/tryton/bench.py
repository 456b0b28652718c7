"""A real Tryton for the tests of the target, and what they do to it and ask of it."""

import datetime as dt
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from itertools import count
from typing import Any

from connectors.tryton import rpc
from connectors.tryton.target import TrytonTarget, open_target
from demo.accountant import Accountant, Item
from demo.erp import DemoErp
from demo.holding_proxy import Call, HoldingProxy
from engine.model.commands import PostPayment, PromisedAllocation, command_key

DAY = dt.date(2026, 11, 20)
CHOICE = "wizard.account.invoice.pay.execute"
CREATE = "model.account.statement.create"
VALIDATE = "model.account.statement.validate_statement"
POST = "model.account.statement.post"
CANCEL = "model.account.statement.cancel"
Amounts = dict[int, str]
PAYMENT = PostPayment(company="1", customer="1", currency="EUR", amount=Decimal(1), date=DAY)
"""What a key is looked up for; that it is a payment is all that counts."""


class Bench:
    """A Tryton with its accountant, and a target that speaks to it through a proxy."""

    def __init__(self, erp: DemoErp, accountant: Accountant, session: rpc.Session, proxy: HoldingProxy) -> None:
        self.erp, self.accountant, self.session, self.proxy = erp, accountant, session, proxy
        self.target = self.opened()
        self._names = count(1)

    def opened(self, **changes: Any) -> TrytonTarget:
        options = {"url": self.proxy.url, "database": self.erp.database, "user": self.erp.user,
                   "password": self.erp.password}  # fmt: skip
        return open_target(options | changes)

    def key(self) -> str:
        return command_key("bench", f"intent-{next(self._names)}", 0)

    def invoice(self, price: str = "100.00", currency: str = "EUR", customer: str = "Birkenau Foods") -> int:
        """A posted invoice of 121.00 for a price of 100.00."""
        party = next(int(row["id"]) for row in self.accountant.customers() if row["name"] == customer)
        return self.accountant.create_invoice(
            party, [Item("Pallets", Decimal(price))], invoice_date=DAY, currency=currency
        )

    def row(self, number: int) -> dict[str, Any]:
        return next(row for row in self.accountant.invoices() if row["id"] == number)

    def write(self, amounts: Amounts, currency: str = "EUR", date: dt.date = DAY) -> PostPayment:
        promised = tuple(PromisedAllocation(str(n), Decimal(a), None, "v") for n, a in amounts.items())
        rows = [self.row(number) for number in amounts]
        return PostPayment(
            company="1", customer=str(rows[0]["party"]), currency=currency, date=date, allocations=promised,
            amount=sum((p.amount for p in promised), Decimal(0)),
        )  # fmt: skip

    def guard(self, *numbers: int) -> dict[str, str]:
        """The tokens as they are now: of the invoices and their open items."""
        names = ["_timestamp", "lines_to_pay", "payment_lines"]
        rows = self.session.call("model.account.invoice.read", list(numbers), names)
        found = {f"account.invoice,{row['id']}": row["_timestamp"] for row in rows}
        lines = [line for row in rows for line in (*row["lines_to_pay"], *row["payment_lines"])]
        for line in self.session.call("model.account.move.line.read", lines, ["_timestamp", "reconciliation"]):
            if line["reconciliation"] is None:
                found[f"account.move.line,{line['id']}"] = line["_timestamp"]
        return found

    def pay(self, amounts: Amounts, key: str, **more: Any) -> Any:
        return self.target.send(key, self.write(amounts, **more), self.guard(*amounts))

    def effects(self, key: str) -> list[tuple[int | None, Decimal]]:
        """What Tryton's own books hold under a key."""
        return sorted((p.invoice, p.amount) for p in self.accountant.payments([key]))

    def drafts(self, key: str) -> list[str]:
        found = self.session.call(
            "model.account.statement.search_read", [["lines.number", "=", key]], 0, None, None, ["state"]
        )
        return sorted(row["state"] for row in found)

    def lines(self, number: int) -> list[int]:
        return list(self.session.call("model.account.invoice.read", [number], ["lines_to_pay"])[0]["lines_to_pay"])


def calls(method: str, *, state: str | None = None) -> Callable[[Call], bool]:
    """Requests of a method; of a wizard, those that lead to `state`."""
    return lambda call: call.method == method and (state is None or state in call.params)


def held(bench: Bench, match: Callable[[Call], bool], meanwhile: Callable[[], None], act: Callable[[], Any]) -> Any:
    """Do something while a request of `act` stands at the proxy."""
    hold = bench.proxy.hold(match)
    with ThreadPoolExecutor(1) as pool:
        doing = pool.submit(act)
        try:
            assert hold.arrived.wait(20), "the request never came"
            meanwhile()
        finally:
            hold.release()
        return doing.result(30)
