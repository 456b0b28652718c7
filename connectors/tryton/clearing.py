"""Lets open items of an invoice clear each other, and takes a clearing away again."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from connectors.tryton.looking import INVOICE, LINE, rows
from connectors.tryton.rpc import Session
from connectors.tryton.writing import Attempt


def open_lines(session: Session, invoices: Sequence[int], payments: Sequence[int] = ()) -> list[int]:
    """The lines to pay of these invoices, and of these payment lines, that no reconciliation covers."""
    found = session.call(f"model.{INVOICE}.read", list(invoices), ["lines_to_pay"]) if invoices else []
    lines = [line for row in found for line in row["lines_to_pay"]] + list(payments)
    domain = [["id", "in", sorted(set(lines))], ["reconciliation", "=", None]]
    return [row["id"] for row in rows(session, LINE, domain, ["id"])]


def clear(session: Session, attempt: Attempt, lines: Sequence[int]) -> str | None:
    """Reconcile open lines whose sum is zero; says why not, and then nothing was written."""
    found = session.call(f"model.{LINE}.read", list(lines), ["debit", "credit"])
    left = sum((row["debit"] - row["credit"] for row in found), Decimal(0))
    if left:
        return f"lines {', '.join(map(str, lines))} leave {left} open together; Tryton clears only what comes to zero"
    with session.wizard("account.move.reconcile_lines", LINE, list(lines)) as wizard:
        attempt.writes()
        answer = wizard.execute("start")
        if answer.get("view") is not None:
            attempt.has_not_written()
            return f"Tryton asks what is to become of lines {', '.join(map(str, lines))}, which nobody has decided"
    return None


def in_the_way(session: Session, invoice: dict[str, Any], reconciliation: int) -> str | None:
    """Whose items a clearing of this invoice would open again besides its own; None when there are none.

    Not in the way is what Tryton itself adds when it clears, in journals of type write-off: what is given up, and
    differences of exchange rates.
    """
    own = {*invoice["lines_to_pay"], *invoice["payment_lines"]}
    names = ["move.number", "journal.type", "reconciliation.number"]
    found = list(rows(session, LINE, [["reconciliation", "=", reconciliation]], names))
    others = [row for row in found if row["id"] not in own and row["journal."]["type"] != "write-off"]
    if not others:
        return None
    number = others[0]["reconciliation."]["number"]
    items = ", ".join(f"{LINE},{row['id']} (move {row['move.']['number']})" for row in others)
    return (
        f"reconciliation {number} clears {INVOICE},{invoice['id']} together with {items}, which would stand open "
        "again; take it apart in Tryton and clear the rest anew, then ask for the reversal again"
    )


def take_apart(session: Session, attempt: Attempt, line: int) -> None:
    """Delete the reconciliation that covers a line."""
    with session.wizard("account.move.unreconcile_lines", LINE, [line]) as wizard:
        attempt.writes()
        wizard.execute("unreconcile")
