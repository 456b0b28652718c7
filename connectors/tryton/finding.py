"""Where a key stands in Tryton: in the description of a move, or in the number of a statement's lines.

Its answer decides whether a payment is written again, so a place that cannot be searched is an error and no absence.
"""

from decimal import Decimal

from connectors.tryton.looking import LINE, rows
from connectors.tryton.needs import active_modules
from connectors.tryton.rpc import Session
from connectors.tryton.statement import STATEMENT, statements
from engine.model.commands import Found

MOVE = "account.move"
_MODULE = "account_statement"


def find(session: Session, key: str, *, in_statements: bool) -> Found | None:
    """The write that carries this key. Drafts and cancelled statements change no books and are none.

    Raises `RpcError` when it cannot be looked up.
    """
    for move in rows(session, MOVE, [["description", "=", key]], ["state"]):
        return Found(f"{MOVE},{move['id']}", _received(session, move["id"]), move["state"] == "posted")
    if in_statements:
        for one in statements(session, key):
            if one.state in ("validated", "posted"):
                return Found(f"{STATEMENT},{one.id}", one.amount, one.state == "posted")
    return None


def has_statements(session: Session) -> bool:
    """Whether the module of bank statements is active. Who may not ask is taken to have it, so that find asks it."""
    return bool(active_modules(session, {_MODULE}))


def _received(session: Session, move: int) -> Decimal:
    """What a move took off the receivable, in the currency of its lines."""
    domain = [["move", "=", move], ["account.type.receivable", "=", True]]
    total = Decimal(0)
    for line in rows(session, LINE, domain, ["debit", "credit", "amount_second_currency"]):
        foreign = line["amount_second_currency"]
        total += line["credit"] - line["debit"] if foreign is None else -foreign
    return total
