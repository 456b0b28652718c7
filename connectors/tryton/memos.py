"""A credit or debit memo: an invoice of its own that carries the key as its reference.

A draft changes no books: it counts as nothing done, and one that was left behind is removed before the next is made.
What follows the posting (clearing it with its invoice, lifting a block) is done again from where it stopped.
"""

from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from connectors.tryton.blocking import blocked_lines, free
from connectors.tryton.clearing import clear, open_lines
from connectors.tryton.looking import INVOICE, misplaced, refused, rows, stale
from connectors.tryton.rpc import RpcError, Session
from connectors.tryton.writing import Attempt, confirmed
from engine.model.commands import Found, IssueMemo, Memo, Outcome, OutcomeKind
from engine.ports.target import Guard

_MOST_ROUNDING = 5
"""In the currency's smallest units, for each line: taxes round one by one."""
_ALLOWED = frozenset({"invoice_payment_term"})
"""The only warning that is answered yes: that a due date, the one of the invoice's own terms, has passed."""


def find_memo(session: Session, key: str, write: IssueMemo) -> Found | None:
    """The posted memo with this key; not complete while what follows it is missing."""
    for row in _with_key(session, key, ["posted", "paid"]):
        reference = f"{INVOICE},{row['id']}"
        return Found(reference, abs(row["total_amount"]), complete=not _left(session, write, row["id"]))
    return None


def issue(session: Session, attempt: Attempt, key: str, write: IssueMemo, guard: Guard) -> Outcome:
    """Make the draft, post it, then see to what follows."""
    remove_drafts(session, key)
    found = stale(session, write, guard)
    if isinstance(found, Outcome):
        return found
    (row,) = found.values()
    if row["state"] not in ("posted", "paid"):
        return refused(f"{INVOICE},{row['id']} is {row['state']} in Tryton; a memo needs a posted invoice")
    wrong = misplaced(row, write)
    if wrong is not None:
        return refused(wrong)
    memo = _draft(session, key, write, row["id"])
    if isinstance(memo, str):
        return refused(memo)
    attempt.writes()
    confirmed(session, _ALLOWED, lambda: session.call(f"model.{INVOICE}.post", [memo]))
    try:
        trouble = follow(session, attempt, write, memo)
    except RpcError as error:
        trouble = str(error)
    if trouble is not None:
        # The memo stands. Whatever keeps the rest from being done, the key is found and the rest done later.
        return Outcome(OutcomeKind.UNKNOWN, f"posted, and not all of what follows it: {trouble}", f"{INVOICE},{memo}")
    return Outcome(OutcomeKind.ACCEPTED, "posted", f"{INVOICE},{memo}")


def follow(session: Session, attempt: Attempt, write: IssueMemo, memo: int) -> str | None:
    """Do what follows the posting and is not done yet; says what keeps it from being done."""
    original = int(write.allocations[0].invoice)
    if write.clears:
        mine, theirs = open_lines(session, [memo]), open_lines(session, [original])
        if theirs:
            if not mine:
                return f"{INVOICE},{memo} is cleared with something else, and {INVOICE},{original} is open"
            trouble = clear(session, attempt, [*theirs, *mine])
            if trouble is not None:
                return trouble
    if write.lift_block:
        free(session, attempt, blocked_lines(session, original))
    return None


def remove_drafts(session: Session, key: str) -> None:
    """Take away the drafts that this user left with this key."""
    for row in _with_key(session, key, ["draft"]):
        if row["create_uid"] == session.user_id:
            tokens = {"_timestamp": {f"{INVOICE},{row['id']}": row["_timestamp"]}}
            session.call(f"model.{INVOICE}.delete", [row["id"]], context=tokens)


def _with_key(session: Session, key: str, states: list[str]) -> Iterable[dict[str, Any]]:
    domain = [["type", "=", "out"], ["reference", "=", key], ["state", "in", states]]
    return rows(session, INVOICE, domain, ["state", "total_amount", "create_uid", "_timestamp"])


def _left(session: Session, write: IssueMemo, memo: int) -> bool:
    """Whether something of what follows the posting is missing."""
    original = int(write.allocations[0].invoice)
    to_clear = write.clears and open_lines(session, [memo, original])
    return bool(to_clear or (write.lift_block and blocked_lines(session, original)))


def _draft(session: Session, key: str, write: IssueMemo, original: int) -> int | str:
    """The id of a draft that comes to exactly what was asked for; or why there is none."""
    names = ["invoice_address", "journal", "account", "payment_term", "currency", "currency.digits", "total_amount"]
    (of,) = session.call(f"model.{INVOICE}.read", [original], names)
    if of["total_amount"] <= 0:
        return f"{INVOICE},{original} is itself owed to the customer; issue the memo about the invoice behind it"
    credit = write.memo is Memo.CREDIT
    unit = Decimal(1).scaleb(-of["currency."]["digits"])
    share = None if credit and write.amount == of["total_amount"] else write.amount / of["total_amount"]
    lines = _lines(session, original, of["currency"], unit, share, -1 if credit else 1)
    if not lines:
        return f"{INVOICE},{original} has no line that a memo could be about"
    values = {
        "type": "out",
        "company": int(write.company),
        "party": int(write.customer),
        "invoice_address": of["invoice_address"],
        "currency": of["currency"],
        "journal": of["journal"],
        "account": of["account"],
        "payment_term": of["payment_term"],
        "invoice_date": write.date,
        "reference": key,
        "description": write.reference,
        "lines": [["create", lines]],
    }
    (draft,) = session.call(f"model.{INVOICE}.create", [values])
    wanted = -write.amount if credit else write.amount
    missing = wanted - _total(session, draft)
    if missing and abs(missing) <= _MOST_ROUNDING * unit * len(lines):
        rounding = {**_line(of["currency"], lines[0]["account"], 1, missing), "description": "Rounding"}
        session.call(f"model.{INVOICE}.write", [draft], {"lines": [["create", [rounding]]]})
        missing = wanted - _total(session, draft)
    if missing:
        remove_drafts(session, key)
        return (
            f"the lines of {INVOICE},{original} do not come to {write.amount} with their taxes: {missing} is missing"
        )
    return int(draft)


def _lines(
    session: Session, original: int, currency: int, unit: Decimal, share: Decimal | None, sign: int
) -> list[dict[str, Any]]:
    """The original's lines, whole or their `share` by taxes, each naming the line that it is about.

    `unit` is the currency's smallest.
    """
    names = ["account", "quantity", "unit_price", "amount", "taxes", "description"]
    domain = [["invoice", "=", original], ["type", "=", "line"]]
    found = list(rows(session, f"{INVOICE}.line", domain, names))
    if share is None:
        return [
            {**_line(currency, row["account"], sign * row["quantity"], row["unit_price"], row), "taxes": _add(row)}
            for row in found
        ]
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in found:
        groups.setdefault((row["account"], *sorted(row["taxes"])), []).append(row)
    lines = []
    for group in groups.values():
        net = sum((row["amount"] for row in group), Decimal(0)) * share
        price = net.quantize(unit, ROUND_HALF_EVEN)
        if price:
            first = group[0]
            lines.append({**_line(currency, first["account"], sign, price, first), "taxes": _add(first)})
    return lines


def _line(
    currency: int, account: int, quantity: float, price: Decimal, of: dict[str, Any] | None = None
) -> dict[str, Any]:
    line = {
        "type": "line",
        "account": account,
        "currency": currency,
        "quantity": quantity,
        "unit_price": price,
    }
    if of is not None:
        line |= {"origin": f"{INVOICE}.line,{of['id']}", "description": of["description"]}
    return line


def _add(row: dict[str, Any]) -> list[Any]:
    return [["add", list(row["taxes"])]] if row["taxes"] else []


def _total(session: Session, invoice: int) -> Decimal:
    total: Decimal = session.call(f"model.{INVOICE}.read", [invoice], ["total_amount"])[0]["total_amount"]
    return total
