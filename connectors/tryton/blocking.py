"""Holds the open items of an invoice back from payment, and frees them. Tryton refuses what is so already."""

from collections.abc import Sequence

from connectors.tryton.looking import INVOICE, LINE, misplaced, refused, rows, stale
from connectors.tryton.rpc import Session
from connectors.tryton.writing import Attempt
from engine.model.commands import Found, Outcome, OutcomeKind, SetBlock
from engine.ports.target import Guard


def find_block(session: Session, write: SetBlock) -> Found | None:
    """Whether the invoice is as wanted."""
    invoice = int(write.allocations[0].invoice)
    return None if bool(blocked_lines(session, invoice)) != write.blocked else Found(f"{INVOICE},{invoice}")


def set_block(session: Session, attempt: Attempt, write: SetBlock, guard: Guard) -> Outcome:
    """Block or free all open items in one call."""
    found = stale(session, write, guard)
    if isinstance(found, Outcome):
        return found
    (row,) = found.values()
    wrong = misplaced(row, write)
    if wrong is not None:
        return refused(wrong)
    blocked = blocked_lines(session, row["id"])
    done = Outcome(OutcomeKind.ACCEPTED, "done", f"{INVOICE},{row['id']}")
    if not write.blocked:
        free(session, attempt, blocked, guard)
        return done
    domain = [["id", "in", row["lines_to_pay"]], ["reconciliation", "=", None]]
    open_items = list(rows(session, LINE, domain, ["payments"]))
    if not open_items:
        return refused(f"{INVOICE},{row['id']} has no open item that could be blocked")
    payments = [payment for item in open_items for payment in item["payments"]]
    drafts = (
        session.call("model.account.payment.search", [["id", "in", payments], ["state", "=", "draft"]])
        if payments
        else []
    )
    if drafts:
        # Blocking would delete them.
        return refused(
            f"somebody's draft payments stand on {INVOICE},{row['id']}; a person must decide on them first"
        )
    lines = [item["id"] for item in open_items if item["id"] not in blocked]
    if lines:
        attempt.writes()
        session.call(f"model.{LINE}.payment_block", lines, context={"_timestamp": dict(guard)})
    return done


def blocked_lines(session: Session, invoice: int) -> list[int]:
    """The open items of an invoice that are blocked."""
    (row,) = session.call(f"model.{INVOICE}.read", [invoice], ["lines_to_pay"])
    domain = [["id", "in", row["lines_to_pay"]], ["reconciliation", "=", None], ["payment_blocked", "=", True]]
    return [line["id"] for line in rows(session, LINE, domain, ["id"])]


def free(session: Session, attempt: Attempt, lines: Sequence[int], guard: Guard | None = None) -> None:
    """Let blocked items be paid again."""
    if lines:
        attempt.writes()
        session.call(f"model.{LINE}.payment_unblock", list(lines), context={"_timestamp": dict(guard or {})})
