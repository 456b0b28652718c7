"""What Tryton's own books say, read over JSON-RPC and by no other way.

The demo's end check and the tests hold the engine's documents against it, so it shares nothing with the
engine: every figure is Tryton's own field, or a plain sum over its posted lines. `demo.accountant` builds on it.
"""

import datetime as dt
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from types import TracebackType
from typing import Any, Self

from connectors.tryton.rpc import Session

PAGE = 500


class Way(StrEnum):
    """Where the key of a receipt stands in Tryton."""

    MOVE = "move"
    STATEMENT = "statement"


@dataclass(frozen=True, slots=True)
class Receipt:
    """Money that was booked on one invoice under a key; `amount` in the invoice's currency.

    `record` is the id of the account move or of the statement line that carries the key.
    """

    key: str
    way: Way
    record: int
    invoice: int | None
    amount: Decimal


class Books:
    """Reads through a session, which `close` or leaving the context ends; every method asks the server anew."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Drop the session's connection."""
        self._session.close()

    def invoices(self) -> list[dict[str, Any]]:
        """All invoices and credit notes to customers, by id.

        Keys: id, number, state, total_amount, amount_to_pay (both in `currency`), currency (code), party (id).
        """
        names = ["number", "state", "total_amount", "amount_to_pay", "currency.code", "party"]
        rows = self._rows("account.invoice", [["type", "=", "out"]], names)
        return [_plain(row) | {"currency": row["currency."]["code"]} for row in rows]

    def customers(self) -> list[dict[str, Any]]:
        """All parties but the company itself, inactive ones too, by id.

        Keys: id, name, active, receivable and credit_limit_amount (company's currency; None is no limit).
        """
        names = ["name", "active", "receivable", "credit_limit_amount"]
        domain = [["active", "in", [True, False]], ["id", "!=", self.own_party]]
        return [_plain(row) for row in self._rows("party.party", domain, names)]

    def instalments(self) -> dict[int, list[tuple[dt.date | None, Decimal]]]:
        """Of each posted invoice with unpaid lines to pay: their due dates and amounts (its currency), in order."""
        lines: dict[int, int] = {}
        states = [["type", "=", "out"], ["state", "in", ["posted", "paid"]]]
        for row in self._rows("account.invoice", states, ["lines_to_pay"]):
            lines |= dict.fromkeys(row["lines_to_pay"], row["id"])
        found: dict[int, list[tuple[dt.date | None, Decimal]]] = {}
        unpaid = [["id", "in", list(lines)], ["reconciliation", "=", None]]
        names = ["maturity_date", "debit", "credit", "amount_second_currency"]
        for line in self._rows("account.move.line", unpaid, names):
            foreign = line["amount_second_currency"]
            amount = line["debit"] - line["credit"] if foreign is None else foreign
            found.setdefault(lines[line["id"]], []).append((line["maturity_date"], amount))
        return {invoice: sorted(items, key=lambda i: (i[0] or dt.date.max, i[1])) for invoice, items in found.items()}

    @cached_property
    def own_party(self) -> int:
        """The party that is the company itself, which nobody bills."""
        return int(self._read("company.company", self._company, "party")["party"])

    def payments(self, key_texts: Collection[str]) -> list[Receipt]:
        """Posted receipts whose key is one of these: moves by description, statement lines by number."""
        keys = sorted(key_texts)
        return [*self._move_receipts(keys), *self._statement_receipts(keys)]

    def with_reference(self, text: str) -> list[dict[str, Any]]:
        """Invoices and credit notes with this reference. Keys: id, state, total_amount."""
        names = ["state", "total_amount"]
        return [_plain(row) for row in self._rows("account.invoice", [["reference", "=", text]], names)]

    def entries(self, text: str) -> list[Decimal]:
        """What each posted entry with this description comes to, in the company's currency."""
        domain = [["description", "=", text], ["state", "=", "posted"], ["company", "=", self._company]]
        moves = [row["id"] for row in self._rows("account.move", domain, ["state"])]
        return [self._total([["move", "=", move], ["debit", ">", 0]]) for move in moves]

    def is_blocked(self, invoice: int) -> bool:
        """Whether an open item of an invoice is held back from payment."""
        lines = self._read("account.invoice", invoice, "lines_to_pay")["lines_to_pay"]
        domain = [["id", "in", lines], ["reconciliation", "=", None], ["payment_blocked", "=", True]]
        return bool(self._ids("account.move.line", domain, 1))

    def applied(self, invoice: int) -> list[Decimal]:
        """The amounts of the receipts that are linked to an invoice, in its currency."""
        lines = self._read("account.invoice", invoice, "payment_lines")["payment_lines"]
        names = ["debit", "credit", "amount_second_currency"]
        rows = self._rows("account.move.line", [["id", "in", lines]], names)
        found = [(row["credit"] - row["debit"], row["amount_second_currency"]) for row in rows]
        return [own if foreign is None else -foreign for own, foreign in found]

    def applications(self) -> dict[int, list[tuple[int, Decimal]]]:
        """Of each invoice the lines of the receipts that are linked to it: id and amount, in its currency."""
        of = {
            line: row["id"]
            for row in self._rows("account.invoice", [["type", "=", "out"]], ["payment_lines"])
            for line in row["payment_lines"]
        }
        found: dict[int, list[tuple[int, Decimal]]] = {}
        names = ["debit", "credit", "amount_second_currency"]
        for row in self._rows("account.move.line", [["id", "in", list(of)]], names):
            foreign = row["amount_second_currency"]
            amount = row["credit"] - row["debit"] if foreign is None else -foreign
            found.setdefault(of[row["id"]], []).append((row["id"], amount))
        return found

    def receipts_of_customers(self) -> list[tuple[int, int, Decimal]]:
        """Posted credits on accounts of what customers owe: line, customer, and amount in the company's currency."""
        domain = [["account.type.receivable", "=", True], ["move.state", "=", "posted"], ["credit", ">", 0]]
        rows = self._rows("account.move.line", domain, ["party", "credit"])
        return [(row["id"], row["party"], row["credit"]) for row in rows]

    def debits(self, account: str) -> list[Decimal]:
        """Posted debits on the account with this number."""
        domain = [["account.code", "=", account], ["move.state", "=", "posted"], ["debit", ">", 0]]
        return [row["debit"] for row in self._rows("account.move.line", domain, ["debit"])]

    def released_orders(self) -> list[int]:
        """Orders that have gone on."""
        states = ["confirmed", "processing", "done"]
        return [row["id"] for row in self._rows("sale.sale", [["state", "in", states]], ["state"])]

    def blocked_invoices(self) -> set[int]:
        """Invoices with an open item that is held back from payment."""
        domain = [["payment_blocked", "=", True], ["reconciliation", "=", None]]
        blocked = {row["id"] for row in self._rows("account.move.line", domain, ["payment_blocked"])}
        posted = [["type", "=", "out"], ["state", "=", "posted"]]
        rows = self._rows("account.invoice", posted, ["lines_to_pay"])
        return {row["id"] for row in rows if blocked & set(row["lines_to_pay"])}

    def order_state(self, order: int) -> str:
        """Where an order stands in Tryton's own words."""
        return str(self._read("sale.sale", order, "state")["state"])

    def bank_total(self) -> Decimal:
        """Debit less credit of all posted lines on the bank's account, in the company's currency."""
        return self._total([["account", "=", self._bank]])

    def receivable_total(self) -> Decimal:
        """Debit less credit of all posted lines on accounts of what customers owe, in the company's currency."""
        return self._total([["account.type.receivable", "=", True]])

    def _move_receipts(self, keys: Sequence[str]) -> Iterator[Receipt]:
        domain = [["description", "in", keys], ["state", "=", "posted"], ["company", "=", self._company]]
        for move in self._rows("account.move", domain, ["description", "origin"]):
            model, _, number = (move["origin"] or "").partition(",")
            invoice = int(number) if model == "account.invoice" else None
            owed = [["move", "=", move["id"]], ["account.type.receivable", "=", True]]
            lines = list(self._rows("account.move.line", owed, ["debit", "credit", "amount_second_currency"]))
            if not lines:  # a ledger entry: nothing that a customer paid
                continue
            amount = Decimal(0)
            for line in lines:
                foreign = line["amount_second_currency"]
                amount += line["credit"] - line["debit"] if foreign is None else -foreign
            yield Receipt(move["description"], Way.MOVE, move["id"], invoice, amount)

    def _statement_receipts(self, keys: Sequence[str]) -> Iterator[Receipt]:
        domain = [["number", "in", keys], ["statement.state", "=", "posted"], ["company", "=", self._company]]
        names = ["number", "amount", "amount_second_currency", "related_to"]
        for line in self._rows("account.statement.line", domain, names):
            model, _, number = (line["related_to"] or "").partition(",")
            invoice = int(number) if model == "account.invoice" else None
            foreign = line["amount_second_currency"]
            amount = line["amount"] if foreign is None else foreign
            yield Receipt(line["number"], Way.STATEMENT, line["id"], invoice, amount)

    def _total(self, domain: Sequence[Any]) -> Decimal:
        posted = [*domain, ["move.state", "=", "posted"], ["move.company", "=", self._company]]
        rows = self._rows("account.move.line", posted, ["debit", "credit"])
        return sum((row["debit"] - row["credit"] for row in rows), Decimal(0))

    @cached_property
    def _company(self) -> int:
        return self._find("company.company", [])

    @cached_property
    def _bank(self) -> int:
        method = self._find("account.invoice.payment.method", [])
        return int(self._read("account.invoice.payment.method", method, "debit_account")["debit_account"])

    def _rows(self, model: str, domain: Sequence[Any], names: Sequence[str]) -> Iterator[dict[str, Any]]:
        last = 0
        while True:
            page = [*domain, ["id", ">", last]]
            rows = self._session.call(f"model.{model}.search_read", page, 0, PAGE, [["id", "ASC"]], list(names))
            yield from rows
            if len(rows) < PAGE:
                return
            last = rows[-1]["id"]

    def _ids(self, model: str, domain: Sequence[Any], limit: int | None = None) -> list[int]:
        return list(self._session.call(f"model.{model}.search", domain, 0, limit, [["id", "ASC"]]))

    def _find(self, model: str, domain: Sequence[Any]) -> int:
        found = self._ids(model, domain, 1)
        if not found:
            raise LookupError(f"Tryton has no {model} with {domain}; is its company set up?")
        return found[0]

    def _read(self, model: str, number: int, *names: str) -> dict[str, Any]:
        return dict(self._session.call(f"model.{model}.read", [number], list(names))[0])


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row without the parts that came for a dotted name."""
    return {name: value for name, value in row.items() if not name.endswith(".")}
