"""A customer's receivable items by the receipt that they are of: what stands on account, applied or not.

A receipt is known by the text that people or a bank's file gave it: of a move, or of a line of a statement.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from connectors.tryton.looking import LINE, rows
from connectors.tryton.rpc import Session
from engine.model.commands import ApplyReceipt, PostPayment, is_command_key

_NAMES = ["account", "debit", "credit", "amount_second_currency", "second_currency.code", "company.currency.code",
          "reconciliation", "invoice_payment", "date", "move.description", "move.origin", "_timestamp"]  # fmt: skip


def items_of(session: Session, write: ApplyReceipt, *, in_statements: bool) -> list[dict[str, Any]]:
    """The items of the receipt that is to be applied, of its amount; it may be named by the item itself. Those that
    stood applied when it was decided are others."""
    named: list[Any] = [["move.description", "=", write.receipt]]
    if write.receipt.isdecimal():
        named.append(["id", "=", int(write.receipt)])
    if in_statements:
        lines = _statement_lines(session, ["number", "=", write.receipt])
        named.append(["move", "in", sorted(row["move"] for row in lines)])
    return [row for row in _items(session, write, named) if not write.stood_before(str(row["id"]))]


def standing(session: Session, write: PostPayment, *, in_statements: bool) -> str | None:
    """Whether the receipt of a payment stands on account already, booked by somebody else; says which item it is.

    What arsync booked carries a key as its text, whatever else it says.
    """
    if not write.reference:
        return None
    named: list[Any] = [["move.description", "=", write.reference]]
    if in_statements:
        texts = ["OR", ["number", "=", write.reference], ["description", "=", write.reference]]
        lines = _statement_lines(session, texts)
        named.append(["move", "in", sorted(row["move"] for row in lines if not is_command_key(row["number"]))])
    for row in _items(session, write, named):
        of_invoice = str(row["move."]["origin"] or "").startswith("account.invoice,")
        if row["reconciliation"] is None and row["invoice_payment"] is None and not of_invoice:
            return (
                f"receipt {write.reference} stands on account in Tryton already: {LINE},{row['id']} of "
                f"{write.amount} {write.currency} of {row['date']}; an apply_receipt intent that names receipt "
                f"{row['id']} applies it"
            )
    return None


def _statement_lines(session: Session, named: Sequence[Any]) -> Iterable[dict[str, Any]]:
    """Lines of statements that have changed the books."""
    domain = [named, ["statement.state", "in", ["validated", "posted"]], ["move", "!=", None]]
    return rows(session, "account.statement.line", domain, ["move", "number"])


def _items(session: Session, write: ApplyReceipt | PostPayment, named: Sequence[Any]) -> list[dict[str, Any]]:
    mine = [
        ["party", "=", int(write.customer)],
        ["account.type.receivable", "=", True],
        ["move.company", "=", int(write.company)],
        ["OR", *named],
    ]
    found = rows(session, LINE, mine, _NAMES)
    return [row for row in found if _received(row) == (write.amount, write.currency)]


def _received(row: dict[str, Any]) -> tuple[Decimal, str]:
    """What a line takes off the receivable, and in which currency: the receipt's own, else the company's."""
    foreign = row["amount_second_currency"]
    if foreign is None:
        return row["credit"] - row["debit"], row["company."]["currency."]["code"]
    return -foreign, row["second_currency."]["code"]
