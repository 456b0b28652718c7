"""What a customer may owe, and the orders that are held back by it."""

from typing import Any

from msgspec import UnsetType

from connectors.tryton.looking import refused, rows
from connectors.tryton.rpc import Session
from connectors.tryton.writing import Attempt, confirmed
from engine.model.commands import Found, Outcome, OutcomeKind, ReleaseOrder, SetCreditLimit
from engine.ports.target import Guard

PARTY = "party.party"
SALE = "sale.sale"
_RELEASED = ("confirmed", "processing", "done")
_ALLOWED = frozenset({"credit_limit_amount"})
"""The warning that an order is over the limit. Only the group Account Credit Limit may answer it."""


def find_limit(session: Session, write: SetCreditLimit) -> Found | None:
    """Whether the limit is as wanted."""
    row = _party(session, write)
    return Found(f"{PARTY},{write.customer}") if row and row["credit_limit_amount"] == write.limit else None


def set_limit(session: Session, attempt: Attempt, write: SetCreditLimit, guard: Guard) -> Outcome:
    """Set it, if it is still the one that was to be replaced."""
    name = f"{PARTY},{write.customer}"
    row = _party(session, write)
    if row is None:
        return refused(f"{name} is not in Tryton")
    wrong = _not_its_currency(session, write)
    if wrong is not None:
        return refused(wrong)
    if row["credit_limit_amount"] == write.limit:
        return Outcome(OutcomeKind.ACCEPTED, "it is so already", name)
    if name not in guard:
        return refused(f"{name} comes without the token it was decided on; arsync does not write blindly")
    if row["_timestamp"] != guard[name] or row["credit_limit_amount"] != write.replaces:
        return Outcome(OutcomeKind.STALE, f"{name} was changed since this was decided")
    attempt.writes()
    context = {"company": int(write.company), "_timestamp": {name: guard[name]}}
    values = {"credit_limit_amount": write.limit}
    session.call(f"model.{PARTY}.write", [int(write.customer)], values, context=context)
    return Outcome(OutcomeKind.ACCEPTED, "set", name)


def find_release(session: Session, write: ReleaseOrder) -> Found | None:
    """Whether the order has gone on."""
    row, more = _sale(session, write)
    return Found(f"{SALE},{row['id']}") if row is not None and not more and row["state"] in _RELEASED else None


def release(session: Session, attempt: Attempt, write: ReleaseOrder) -> Outcome:
    """Confirm the order, and answer yes to nothing but that it is over the limit."""
    row, more = _sale(session, write)
    if row is None:
        return refused(f"customer {write.customer} has no order {write.order} in Tryton")
    if more:
        return refused(
            f"{write.order} is the number of one order of customer {write.customer} in Tryton and the id of another; "
            "ask again by the other name of the one that is meant"
        )
    name = f"{SALE},{row['id']}"
    if row["state"] in _RELEASED:
        return Outcome(OutcomeKind.ACCEPTED, f"it is {row['state']} already", name)
    if row["state"] != "quotation":
        return refused(f"{name} is {row['state']} in Tryton; only a quotation can be confirmed")
    total, currency = row["total_amount"], row["currency."]["code"]
    if currency != write.currency or (not isinstance(write.at_most, UnsetType) and total > write.at_most):
        return refused(
            f"{name} comes to {total} {currency}; its release was asked for at {write.at_most or 'some'} "
            f"{write.currency}; ask again for what it comes to now"
        )
    tokens = {"_timestamp": {name: row["_timestamp"]}}
    attempt.writes()
    confirmed(session, _ALLOWED, lambda: session.call(f"model.{SALE}.confirm", [row["id"]], context=tokens))
    return Outcome(OutcomeKind.ACCEPTED, "confirmed", name)


def _party(session: Session, write: SetCreditLimit) -> dict[str, Any] | None:
    domain = [["id", "=", int(write.customer)], ["active", "in", [True, False]]]
    names = ["credit_limit_amount", "_timestamp"]
    found: list[dict[str, Any]] = session.call(
        f"model.{PARTY}.search_read", domain, 0, 1, None, names, context={"company": int(write.company)}
    )
    return found[0] if found else None


def _not_its_currency(session: Session, write: SetCreditLimit) -> str | None:
    """A limit is in the company's currency; says so where the write has another one, or no such company is there."""
    found = list(rows(session, "company.company", [["id", "=", int(write.company)]], ["currency.code"]))
    if not found:
        return f"company.company,{write.company} is not in Tryton"
    code = found[0]["currency."]["code"]
    if code != write.currency:
        return f"company {write.company} limits credit in {code}, not {write.currency}"
    return None


def _sale(session: Session, write: ReleaseOrder) -> tuple[dict[str, Any] | None, bool]:
    """The order of this name, and whether there are more."""
    named: list[Any] = ["OR", [["number", "=", write.order]]]
    if write.order.isdecimal():
        named.append([["id", "=", int(write.order)]])
    domain = [["company", "=", int(write.company)], ["party", "=", int(write.customer)], named]
    found = list(rows(session, SALE, domain, ["state", "total_amount", "currency.code", "_timestamp"]))
    return (found[0] if found else None), len(found) > 1
