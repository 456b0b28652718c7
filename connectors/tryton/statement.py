"""One receipt as a bank statement of Tryton: for several invoices, with deductions given up, or with money that stays
on account. The key is the number of each of its lines, which makes them one entry.

A draft changes no books: it counts as nothing done, and one that was left behind is removed before the next is made.
Validating applies the money to all its invoices at once, or to none; posting makes the entries final.
"""

from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any

import msgspec

from connectors.tryton.looking import INVOICE, Invoice, rows
from connectors.tryton.rpc import Concurrency, RpcError, Session, UserError, WarningRaised
from connectors.tryton.writing import Attempt
from engine.model.commands import Outcome, OutcomeKind, PostPayment
from engine.ports.target import Guard

STATEMENT = "account.statement"
LINE = "account.statement.line"


class Standing(msgspec.Struct, frozen=True):
    """A statement that carries a key.

    `state` is draft, validated, posted or cancelled; `amount` what its lines with the key come to, in the currency of
    its journal; `token` its version; `author` the user that made it.
    """

    id: int
    state: str
    amount: Decimal
    token: str
    author: int


def statements(session: Session, key: str) -> list[Standing]:
    """All statements with this key, oldest first."""
    names = ["statement", "amount", "statement.state", "statement._timestamp", "statement.create_uid"]
    found: dict[int, Standing] = {}
    for row in rows(session, LINE, [["number", "=", key]], names):
        number, of = row["statement"], row["statement."]
        amount = row["amount"] + (found[number].amount if number in found else 0)
        found[number] = Standing(number, of["state"], amount, of["_timestamp"], of["create_uid"])
    return [found[number] for number in sorted(found)]


def write_statement(
    session: Session,
    attempt: Attempt,
    key: str,
    write: PostPayment,
    invoices: tuple[Invoice, ...],
    journal: Mapping[str, Any],
    losses: int | None,
    guard: Guard,
) -> Outcome:
    """Make the draft, apply it, post it. `losses` is the account that takes what is written off."""
    values = {
        "name": key,
        "company": int(write.company),
        "journal": journal["id"],
        "date": write.date,
        **_announced(session, write, journal),
        "lines": [["create", _lines(key, write, invoices, losses)]],
    }
    (number,) = session.call(f"model.{STATEMENT}.create", [values])
    try:
        attempt.writes()
        session.call(f"model.{STATEMENT}.validate_statement", [number], context={"_timestamp": dict(guard)})
    except (UserError, WarningRaised, Concurrency):
        # Tryton rolled it back. What stays behind is a draft without effect; the next attempt would remove it.
        attempt.has_not_written()
        with suppress(RpcError):
            remove_drafts(session, key)
        raise
    try:
        state = post(session, attempt, number)
    except RpcError as error:
        # The money is applied. Whatever keeps it from being final, the key is found and the rest done later.
        return Outcome(OutcomeKind.UNKNOWN, f"applied, but not posted yet: {error}", f"{STATEMENT},{number}")
    if state != "posted":
        text = f"applied, and then found {state or 'deleted'} when it was to be posted"
        return Outcome(OutcomeKind.UNKNOWN, text, f"{STATEMENT},{number}")
    return Outcome(OutcomeKind.ACCEPTED, "posted as a statement", f"{STATEMENT},{number}")


def post(session: Session, attempt: Attempt, number: int) -> str | None:
    """Make a validated statement's entries final. Gives the state that it has then; None when there is none."""
    state = _state(session, number)
    if state != "validated":
        return state
    try:
        attempt.writes()
        session.call(f"model.{STATEMENT}.post", [number])
    except UserError:
        attempt.has_not_written()
        state = _state(session, number)
        if state == "validated":
            raise
        return state  # somebody else was faster
    return "posted"


def remove_drafts(session: Session, key: str) -> None:
    """Take away the drafts that this user left with this key.

    Cancelling a statement that was validated meanwhile would take money back, and Tryton allows that: the draft's
    token forbids it. What another user made (a copy carries the key as well) is not touched.
    """
    for left in statements(session, key):
        if left.state == "draft" and left.author == session.user_id:
            tokens = {"_timestamp": {f"{STATEMENT},{left.id}": left.token}}
            session.call(f"model.{STATEMENT}.cancel", [left.id], context=tokens)
            session.call(f"model.{STATEMENT}.delete", [left.id])


def _state(session: Session, number: int) -> str | None:
    return next((row["state"] for row in rows(session, STATEMENT, [["id", "=", number]], ["state"])), None)


def _lines(key: str, write: PostPayment, invoices: tuple[Invoice, ...], losses: int | None) -> list[dict[str, Any]]:
    """What comes off each invoice; less what is given up; and what stays on account. The sum is the money."""
    first = invoices[0]
    common = {"number": key, "description": write.reference or key, "date": write.date, "party": first.party}
    lines: list[dict[str, Any]] = [
        {"amount": invoice.amount, "account": invoice.account, "related_to": f"{INVOICE},{invoice.id}"}
        for invoice in invoices
    ]
    given_up = sum((a.written_off for a in write.allocations), Decimal(0))
    if given_up:
        lines.append({"amount": -given_up, "account": losses})
    if write.on_account:
        lines.append({"amount": write.on_account, "account": first.account})
    return [{"sequence": place, **common, **line} for place, line in enumerate(lines, 1)]


def _announced(session: Session, write: PostPayment, journal: Mapping[str, Any]) -> dict[str, Any]:
    """What the journal holds a statement's lines against."""
    if journal["validation"] == "number_of_lines":
        # Tryton counts neighbours with the same number, date and party as one, and these are all of that kind.
        return {"number_of_lines": 1}
    if journal["validation"] == "amount":
        return {"total_amount": write.amount}
    domain = [["journal", "=", journal["id"]], ["state", "in", ["validated", "posted"]]]
    order = [["date", "DESC"], ["id", "DESC"]]
    last = session.call(f"model.{STATEMENT}.search_read", domain, 0, 1, order, ["end_balance"])
    balance = (last[0]["end_balance"] if last else None) or Decimal(0)
    return {"start_balance": balance, "end_balance": balance + write.amount}
