"""One receipt for one invoice, by Tryton's pay wizard. The key is the description of the move that it makes."""

from typing import Any

from connectors.tryton.looking import INVOICE, Invoice
from connectors.tryton.rpc import Session
from connectors.tryton.writing import Attempt
from engine.model.commands import Outcome, OutcomeKind, PostPayment
from engine.ports.target import Guard


def pay(
    session: Session, attempt: Attempt, key: str, write: PostPayment, invoice: Invoice, method: int, guard: Guard
) -> Outcome:
    """Book the receipt. Tryton compares the invoice's token in the call that writes.

    Where the receipt pays a part, Tryton asks what it is to be; the question is held against what was decided, and
    nothing but a part payment is ever answered: no write-off, no overpayment. A part that is exactly what some of
    the open items come to (an instalment) clears those, and Tryton does not ask.
    """
    start = {
        "payee": invoice.party,
        "amount": invoice.amount,
        "currency": invoice.currency,
        "description": key,
        "company": invoice.company,
        "invoice_account": invoice.account,
        "payment_method": method,
        "date": write.date,
    }
    tokens = {"_timestamp": dict(guard)}
    partly = invoice.amount < invoice.open_amount
    with session.wizard("account.invoice.pay", INVOICE, [invoice.id]) as wizard:
        attempt.writes()
        answer = wizard.execute("choice", {"start": start}, tokens)
        view = answer.get("view")
        if view is None:
            return Outcome(OutcomeKind.ACCEPTED, "paid in part, by whole open items" if partly else "paid")
        attempt.has_not_written()
        if not partly or not _asks_what_was_decided(view, invoice):
            return Outcome(
                OutcomeKind.REJECTED,
                f"Tryton asks about {invoice.amount} on {INVOICE},{invoice.id} what nobody has decided",
                reason="precondition_failed",
            )
        # Names with a dot are for a person's screen; the form itself would choke on them.
        ask = {name: value for name, value in view["defaults"].items() if "." not in name}
        attempt.writes()
        wizard.execute("pay", {"start": start, "ask": ask}, tokens)
    return Outcome(OutcomeKind.ACCEPTED, "paid in part")


def _asks_what_was_decided(view: dict[str, Any], invoice: Invoice) -> bool:
    """Whether Tryton's question is about this amount of this invoice, and a part payment."""
    asked = view.get("defaults", {})
    return bool(
        view.get("state") == "ask"
        and asked.get("type") == "partial"
        and asked.get("amount") == invoice.amount
        and asked.get("currency") == invoice.currency
        and asked.get("invoice") == invoice.id
    )
