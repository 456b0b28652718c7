"""What each kind of write needs of a Tryton: modules that are active, and groups that its user is in."""

from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from connectors.tryton.rpc import RpcError, Session, UserError
from engine.model.commands import (
    ApplyReceipt,
    IssueMemo,
    PostEntry,
    PostPayment,
    ReleaseOrder,
    ReverseApplication,
    SetBlock,
    SetCreditLimit,
    Write,
)


class Group(msgspec.Struct, frozen=True):
    """A group of users: the module that brings it, its name on the screen, and its id in the module.

    `ids` names after it the groups that contain it.
    """

    module: str
    name: str
    ids: tuple[str, ...]


class Need(msgspec.Struct, frozen=True):
    """What one kind of write asks for.

    `rights` holds for each model the greatest right that is used; `groups` are those that give them, or that a
    button or a field is kept for.
    """

    what: str
    module: str
    groups: tuple[Group, ...]
    rights: Mapping[str, str] = {}
    vital: bool = False


_ACCOUNTING: Final = Group("account", "Accounting", ("group_account", "group_account_admin"))
_ADMINISTRATION: Final = Group("account", "Accounting Administration", ("group_account_admin",))
_STATEMENT: Final = Group("account_statement", "Statement", ("group_statement",))
_PAYMENT: Final = Group("account_payment", "Payment", ("group_payment",))
_LIMIT: Final = Group("account_credit_limit", "Account Credit Limit", ("group_credit_limit",))
_SALES: Final = Group("sale", "Sales", ("group_sale", "group_sale_admin"))

_RECEIPTS: Final = Need(
    "receipts for one invoice",
    "account_invoice",
    (_ACCOUNTING,),
    {
        "account.invoice": "write",
        "account.move": "create",
        "account.move.line": "create",
        "account.period": "read",
        "account.invoice.payment.method": "read",
    },
    vital=True,
)
_STATEMENTS: Final = Need(
    "receipts for several invoices, deductions and money on account",
    "account_statement",
    # A draft that an attempt left behind is cancelled and deleted again: that takes the administration.
    (_STATEMENT, _ADMINISTRATION),
    {
        "account.statement": "delete",
        "account.statement.line": "create",
        "account.statement.journal": "read",
    },
    vital=True,
)
_APPLYING: Final = Need(
    "receipts applied and taken back",
    "account_invoice",
    (_ADMINISTRATION,),
    {"account.invoice": "write", "account.move.line": "write", "account.move.reconciliation": "delete"},
)
_MEMOS: Final = Need(
    "credit and debit memos",
    "account_invoice",
    (_ACCOUNTING,),
    {"account.invoice": "delete", "account.invoice.line": "create", "account.move.reconciliation": "create"},
)
_BLOCKS: Final = Need(
    "disputes that hold an invoice back", "account_payment", (_PAYMENT,), {"account.payment": "read"}
)
_LIMITS: Final = Need("credit limits", "account_credit_limit", (_LIMIT,), {"party.party": "write"})
_ORDERS: Final = Need("release of orders", "sale", (_SALES,), {"sale.sale": "write"})
OVER_LIMIT: Final = Need("release of orders over the credit limit", "sale_credit_limit", (_LIMIT,))
_ENTRIES: Final = Need(
    "entries in the general ledger",
    "account",
    (_ACCOUNTING,),
    {"account.move": "delete", "account.journal": "read", "account.account": "read"},
)
NEEDS: Final = (
    _RECEIPTS, _STATEMENTS, _APPLYING, _MEMOS, _BLOCKS, _LIMITS, _ORDERS, OVER_LIMIT, _ENTRIES,
)  # fmt: skip

_OF_WRITES: Final[Mapping[type[Write], Need]] = {
    PostPayment: _RECEIPTS,
    ApplyReceipt: _APPLYING,
    ReverseApplication: _APPLYING,
    IssueMemo: _MEMOS,
    SetBlock: _BLOCKS,
    SetCreditLimit: _LIMITS,
    ReleaseOrder: _ORDERS,
    PostEntry: _ENTRIES,
}


def active_modules(session: Session, names: Collection[str]) -> set[str]:
    """Which of these modules are active. Who may not ask is taken to have all, so that using them tells."""
    domain = [["name", "in", sorted(names)], ["state", "not in", ["not activated", "to activate"]]]
    try:
        found = session.call("model.ir.module.search_read", domain, 0, None, None, ["name"])
    except UserError:
        return set(names)
    return {row["name"] for row in found}


def missing_module(session: Session, write: Write) -> str | None:
    """Why this write can never work here, if the module that it needs is not active."""
    need = _OF_WRITES[type(write)]
    try:
        if active_modules(session, {need.module}):
            return None
    except RpcError:
        return None
    return f"Tryton's module {need.module} is not active, and {need.what} need it; activate it"
