"""Applies a receipt that stands on account to an invoice, and takes money off an invoice again.

Tryton has no place for a key here: what is done is known by the invoice's payment lines.
"""

from connectors.tryton.clearing import clear, in_the_way, open_lines, take_apart
from connectors.tryton.items import items_of
from connectors.tryton.looking import INVOICE, LINE, misplaced, refused, stale
from connectors.tryton.rpc import RpcError, Session
from connectors.tryton.writing import Attempt
from engine.model.commands import ApplyReceipt, Found, Outcome, OutcomeKind, ReverseApplication
from engine.ports.target import Guard


def find_receipt(session: Session, write: ApplyReceipt, *, in_statements: bool) -> Found | None:
    """Whether the receipt stands applied to the invoice; not complete while the two are to be cleared."""
    invoice = int(write.allocations[0].invoice)
    linked = _payment_lines(session, invoice)
    items = [row for row in items_of(session, write, in_statements=in_statements) if row["id"] in linked]
    if not items:
        return None
    return Found(f"{LINE},{items[0]['id']}", complete=not (write.clears and open_lines(session, [invoice])))


def apply(session: Session, attempt: Attempt, write: ApplyReceipt, guard: Guard, *, in_statements: bool) -> Outcome:
    """Link the open item to the invoice; then, where nothing is left open, let the two clear each other.

    Once it is linked something is done: whatever keeps the rest from being done, it is found and the rest done later.
    """
    found = stale(session, write, guard)
    if isinstance(found, Outcome):
        return found
    (row,) = found.values()
    wrong = misplaced(row, write)
    if wrong is not None:
        return refused(wrong)
    linked = set(row["payment_lines"])
    items = items_of(session, write, in_statements=in_statements)
    item = next((one for one in items if one["id"] in linked), None)
    if item is None:
        free = [one for one in items if one["reconciliation"] is None and one["account"] == row["account"]]
        if len(free) != 1:
            what = "no open item" if not free else f"{len(free)} open items"
            return refused(
                f"customer {write.customer} has {what} of {write.amount} {write.currency} of receipt {write.receipt}"
            )
        (item,) = free
        tokens = {**guard, f"{LINE},{item['id']}": item["_timestamp"]}
        attempt.writes()
        values = {"payment_lines": [["add", [item["id"]]]]}
        session.call(f"model.{INVOICE}.write", [row["id"]], values, context={"_timestamp": tokens})
    try:
        outcome = settle(session, attempt, write, item["id"])
    except RpcError as error:
        return Outcome(OutcomeKind.UNKNOWN, f"applied, and not cleared yet: {error}", f"{LINE},{item['id']}")
    if outcome.kind is OutcomeKind.REJECTED:
        return Outcome(OutcomeKind.UNKNOWN, outcome.detail, outcome.reference)
    return outcome


def settle(session: Session, attempt: Attempt, write: ApplyReceipt, item: int) -> Outcome:
    """Clear the invoice with the item that is linked to it, if that was promised."""
    invoice = int(write.allocations[0].invoice)
    reference = f"{LINE},{item}"
    if write.clears and open_lines(session, [invoice]):
        others = [line for line in _payment_lines(session, invoice) if line != item]
        trouble = clear(session, attempt, open_lines(session, [invoice], [item, *others]))
        if trouble is not None:
            return Outcome(OutcomeKind.REJECTED, f"applied, and not cleared: {trouble}", reference)
    return Outcome(OutcomeKind.ACCEPTED, "applied", reference)


def find_reversal(session: Session, write: ReverseApplication) -> Found | None:
    """Whether the item no longer pays the invoice."""
    invoice = int(write.allocations[0].invoice)
    return None if int(write.item) in _payment_lines(session, invoice) else Found(f"{LINE},{write.item}")


def reverse(session: Session, attempt: Attempt, write: ReverseApplication, guard: Guard) -> Outcome:
    """Take the clearing away, if there is one, then the link. The money stays with the customer, on account.

    A clearing in which somebody else's items stand is left alone. Once it is taken away something is done, and only
    another look says what is left to do.
    """
    found = stale(session, write, guard)
    if isinstance(found, Outcome):
        return found
    (row,) = found.values()
    item = int(write.item)
    wrong = misplaced(row, write)
    if wrong is not None:
        return refused(wrong)
    if item in row["payment_lines"]:
        (line,) = session.call(f"model.{LINE}.read", [item], ["reconciliation"])
        cleared = line["reconciliation"] is not None
        if cleared:
            others = in_the_way(session, row, line["reconciliation"])
            if others is not None:
                return refused(others)
            take_apart(session, attempt, item)
        attempt.writes()
        try:
            session.call(f"model.{INVOICE}.write", [row["id"]], {"payment_lines": [["remove", [item]]]})
        except RpcError as error:
            if not cleared:
                raise
            text = f"the clearing is taken away, and the item not taken off yet: {error}"
            return Outcome(OutcomeKind.UNKNOWN, text, f"{LINE},{item}")
    return Outcome(OutcomeKind.ACCEPTED, "taken off", f"{LINE},{item}")


def _payment_lines(session: Session, invoice: int) -> list[int]:
    (row,) = session.call(f"model.{INVOICE}.read", [invoice], ["payment_lines"])
    return list(row["payment_lines"])
