"""The last look before a payment is written: whether Tryton's records are still those that were decided on.

Tryton itself refuses a call whose `_timestamp` of a record is out of date, but only for records that the call
writes; a moved due date changes a line that a part payment never writes. So all tokens are compared here first.
"""

import datetime as dt
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import msgspec

from connectors.tryton.rpc import Session
from engine.model.commands import Outcome, OutcomeKind, PostEntry, PostPayment, ReverseApplication, Write
from engine.ports.target import Guard

INVOICE = "account.invoice"
LINE = "account.move.line"
_PAGE = 1000


class Invoice(msgspec.Struct, frozen=True):
    """What paying an invoice needs to know of it. `amount` is what this payment applies to it."""

    id: int
    party: int
    company: int
    currency: int
    account: int
    open_amount: Decimal
    amount: Decimal


class Look(msgspec.Struct, frozen=True):
    """The invoices of a payment, in the order of its allocations; or the outcome that stands already."""

    invoices: tuple[Invoice, ...] = ()
    outcome: Outcome | None = None


def unsound(write: Write, guard: Guard) -> str | None:
    """Why a write cannot be carried out as it stands, whatever Tryton's books say; None when it can."""
    numbers = [a.invoice for a in write.allocations]
    wrong_name = misnamed(write)
    if wrong_name is not None:
        return wrong_name
    if len(set(numbers)) < len(numbers):
        return f"{write.title} names an invoice twice"
    wrong = next((a for a in write.allocations if a.amount <= 0), None)
    if wrong is not None:
        return f"the payment applies {wrong.amount} to {INVOICE},{wrong.invoice}; only amounts above zero can be paid"
    if isinstance(write, PostPayment):
        if not numbers:
            return "the payment names no invoices"
        money = sum((a.amount - a.written_off for a in write.allocations), write.on_account)
        if money != write.amount:
            return f"the payment is {write.amount} and applies {money}; arsync books no money that is not applied"
    blind = next((number for number in numbers if f"{INVOICE},{number}" not in guard), None)
    if blind is not None:
        return f"{INVOICE},{blind} comes without the token it was decided on; arsync does not write blindly"
    return None


def misnamed(write: Write) -> str | None:
    """Why Tryton can have no record of a name in this write, which must be ids; None when all are."""
    if not all(number.isdecimal() for number in (*(a.invoice for a in write.allocations), write.company)):
        return f"{write.title} names invoices or a company not by Tryton's ids"
    names = [line.customer for line in write.lines] if isinstance(write, PostEntry) else [write.customer]
    wrong = next((name for name in names if name and not name.isdecimal()), None)
    if wrong is not None:
        return f"{write.title} names customer {wrong}, which is no id of Tryton's; ask again with the party's id"
    if isinstance(write, ReverseApplication) and not write.item.isdecimal():
        return f"the application {write.item} is no line of Tryton's"
    return None


def stale(session: Session, write: Write, guard: Guard) -> Outcome | dict[int, dict[str, Any]]:
    """Compare every token of a write that is not `unsound`; nothing is written.

    Gives the invoices as Tryton tells them now, by id, or the outcome that stands already.
    """
    ids = [int(a.invoice) for a in write.allocations]
    names = ["type", "state", "party", "company", "currency", "account", "amount_to_pay", "lines_to_pay",
             "payment_lines", "currency.code", "_timestamp"]  # fmt: skip
    found = {row["id"]: row for row in rows(session, INVOICE, [["id", "in", ids]], names)}
    moved = _moved(session, guard, found)
    return found if moved is None else Outcome(OutcomeKind.STALE, moved)


def misplaced(row: dict[str, Any], write: Write) -> str | None:
    """Why an invoice is not one that this write can be about, though every token is as it was."""
    name = f"{INVOICE},{row['id']}"
    if row["type"] != "out":
        return f"{name} is not an invoice to a customer"
    if str(row["company"]) != write.company or str(row["party"]) != write.customer:
        return f"{name} belongs to another company or customer than {write.title}"
    if row["currency."]["code"] != write.currency:
        return f"{name} is in {row['currency.']['code']}, not in {write.currency} as {write.title}"
    return None


def look(session: Session, write: PostPayment, guard: Guard) -> Look:
    """Read the invoices of a payment that is not `unsound` and compare every token; nothing is written."""
    found = stale(session, write, guard)
    if isinstance(found, Outcome):
        return Look(outcome=found)
    invoices = []
    for allocation in write.allocations:
        row = found[int(allocation.invoice)]
        trouble = _trouble(row, write, allocation.amount)
        if trouble is not None:
            return Look(outcome=refused(trouble))
        invoices.append(
            Invoice(row["id"], row["party"], row["company"], row["currency"], row["account"], row["amount_to_pay"],
                    allocation.amount)
        )  # fmt: skip
    return Look(tuple(invoices))


def refused(sentence: str) -> Outcome:
    """An outcome for what must not be tried."""
    return Outcome(OutcomeKind.REJECTED, sentence, reason="precondition_failed")


def period_is_closed(session: Session, company: str, day: dt.date) -> bool:
    """Whether nothing can be posted on this day: its period is closed, or no fiscal year has one."""
    domain = [["company", "=", int(company)], ["start_date", "<=", day], ["end_date", ">=", day],
              ["type", "=", "standard"], ["state", "=", "open"]]  # fmt: skip
    return not session.call("model.account.period.search", domain, 0, 1, None)


def rows(session: Session, model: str, domain: list[Any], names: list[str]) -> Iterable[dict[str, Any]]:
    """Records of a model, page by page, in the order of their ids."""
    last = 0
    while True:
        page = [*domain, ["id", ">", last]]
        found = session.call(f"model.{model}.search_read", page, 0, _PAGE, [["id", "ASC"]], names)
        yield from found
        if len(found) < _PAGE:
            return
        last = found[-1]["id"]


def _moved(session: Session, guard: Guard, invoices: dict[int, dict[str, Any]]) -> str | None:
    """Which record is no longer as it was when the payment was decided; None when all are."""
    guarded = {name for name in guard if name.startswith(f"{LINE},")}
    told = {line for row in invoices.values() for line in (*row["lines_to_pay"], *row["payment_lines"])}
    wanted = {int(name.partition(",")[2]) for name in guarded} | told
    names = ["_timestamp", "reconciliation"]
    lines = {row["id"]: row for row in rows(session, LINE, [["id", "in", sorted(wanted)]], names)}
    tokens = {f"{INVOICE},{number}": row["_timestamp"] for number, row in invoices.items()}
    tokens |= {f"{LINE},{number}": row["_timestamp"] for number, row in lines.items()}
    for name, token in sorted(guard.items()):
        if tokens.get(name) != token:
            return f"{name} was changed since this was decided" if name in tokens else f"{name} is gone"
    for number in sorted(told):
        name = f"{LINE},{number}"
        if name not in guard and number in lines and lines[number]["reconciliation"] is None:
            return f"{name} is a new open item"
    return None


def _trouble(row: dict[str, Any], write: PostPayment, amount: Decimal) -> str | None:
    """Why a payment of this amount must not be tried, though every token is as it was."""
    name = f"{INVOICE},{row['id']}"
    wrong = misplaced(row, write)
    if wrong is not None:
        return wrong
    if row["state"] != "posted":
        return f"{name} is {row['state']} in Tryton; only a posted invoice can be paid"
    if row["amount_to_pay"] <= 0:
        return f"{name} has {row['amount_to_pay']} to pay; a receipt cannot be applied to it"
    if amount > row["amount_to_pay"]:
        return f"{name} has {row['amount_to_pay']} to pay, which is less than {amount}"
    return None
