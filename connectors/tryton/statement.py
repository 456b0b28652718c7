"""One receipt for several invoices, as a bank statement of Tryton. The key is the number of each of its lines.

A draft changes no books: it counts as nothing done, and one that was left behind is removed before the next is made.
Validating applies the money to all its invoices at once, or to none; posting makes the entries final.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec

from connectors.tryton.looking import INVOICE, Invoice, rows
from connectors.tryton.rpc import Concurrency, RpcError, Session, UserError, WarningRaised
from connectors.tryton.writing import Attempt
from engine.model.commands import Outcome, OutcomeKind, Write
from engine.ports.target import Guard

STATEMENT = "account.statement"
LINE = "account.statement.line"


class Standing(msgspec.Struct, frozen=True):
    """A statement that carries a key, and its state: draft, validated, posted or cancelled."""

    id: int
    state: str


def statements(session: Session, key: str) -> list[Standing]:
    """All statements with this key, oldest first."""
    found = rows(session, LINE, [["number", "=", key]], ["statement", "statement.state"])
    states = {row["statement"]: row["statement."]["state"] for row in found}
    return [Standing(number, states[number]) for number in sorted(states)]


def write_statement(
    session: Session,
    attempt: Attempt,
    key: str,
    write: Write,
    invoices: tuple[Invoice, ...],
    journal: Mapping[str, Any],
    guard: Guard,
) -> Outcome:
    """Make the draft, apply it, post it."""
    for left in statements(session, key):
        if left.state == "draft":
            remove(session, left.id)
    values = {
        "name": key,
        "company": int(write.company),
        "journal": journal["id"],
        "date": write.date,
        **_announced(session, write, journal, len(invoices)),
        "lines": [["create", [_line(key, write, invoice, place) for place, invoice in enumerate(invoices, 1)]]],
    }
    (number,) = session.call(f"model.{STATEMENT}.create", [values])
    try:
        attempt.writes()
        session.call(f"model.{STATEMENT}.validate_statement", [number], context={"_timestamp": dict(guard)})
    except (UserError, WarningRaised, Concurrency):
        # Tryton rolled it back. What stays behind is a draft without effect; the next attempt would remove it.
        attempt.has_not_written()
        with suppress(RpcError):
            remove(session, number)
        raise
    try:
        post(session, number)
    except RpcError as error:
        # The money is applied. Whatever keeps it from being final, the key is found and the rest done later.
        return Outcome(OutcomeKind.UNKNOWN, f"applied, but not posted yet: {error}", f"{STATEMENT},{number}")
    return Outcome(OutcomeKind.ACCEPTED, "posted as a statement", f"{STATEMENT},{number}")


def post(session: Session, number: int) -> None:
    """Make a validated statement's entries final; one that is posted already stays as it is."""
    (row,) = rows(session, STATEMENT, [["id", "=", number]], ["state"])
    if row["state"] == "validated":
        session.call(f"model.{STATEMENT}.post", [number])


def remove(session: Session, number: int) -> None:
    """Take a draft away; Tryton refuses when it is no draft any more."""
    session.call(f"model.{STATEMENT}.cancel", [number])
    session.call(f"model.{STATEMENT}.delete", [number])


def _line(key: str, write: Write, invoice: Invoice, place: int) -> dict[str, Any]:
    return {
        "sequence": place,
        "number": key,
        "description": write.reference or key,
        "date": write.date,
        "amount": invoice.amount,
        "party": invoice.party,
        "account": invoice.account,
        "related_to": f"{INVOICE},{invoice.id}",
    }


def _announced(session: Session, write: Write, journal: Mapping[str, Any], lines: int) -> dict[str, Any]:
    """What the journal holds a statement's lines against."""
    if journal["validation"] == "number_of_lines":
        return {"number_of_lines": lines}
    if journal["validation"] == "amount":
        return {"total_amount": write.amount}
    domain = [["journal", "=", journal["id"]], ["state", "in", ["validated", "posted"]]]
    order = [["date", "DESC"], ["id", "DESC"]]
    last = session.call(f"model.{STATEMENT}.search_read", domain, 0, 1, order, ["end_balance"])
    balance = last[0]["end_balance"] if last else 0
    return {"start_balance": balance, "end_balance": balance + write.amount}
