"""Canonical AR documents, as the ERP last told them. Mappings assemble them, rules decide on them.

Amounts of an invoice are signed in the direction of the receivable: an invoice that the customer owes is positive,
a credit memo negative. `balance` turns that into the document's own direction.
"""

import datetime as dt
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec

from engine.model.canonical import same_bytes, short_digest


class DocumentKind(StrEnum):
    """The kinds of canonical documents that are kept."""

    INVOICE = "invoice"
    CUSTOMER = "customer"


class InvoiceType(StrEnum):
    """In which direction the document goes."""

    INVOICE = "invoice"
    CREDIT_MEMO = "credit_memo"


class Phase(StrEnum):
    """Where the ERP's own facts say that an invoice stands; the state machine is led by its changes.

    `cleared`: the ERP's own clearing covers all its open items. `final`: and every clearing entry is final in the
    general ledger.
    """

    DRAFT = "draft"
    OPEN = "open"
    CLEARED = "cleared"
    FINAL = "final"
    VOID = "void"


class Application(msgspec.Struct, frozen=True):
    """Money or a credit that the ERP has applied to an invoice.

    `item` is the ERP's own line; `amount` reduces the balance when positive (the document's own direction);
    `text` is the field in which our keys are written. `final`: the entry that applied it is posted; until then the
    ERP has taken it off the balance and not booked it for good.
    """

    item: str
    amount: Decimal
    text: str | None = None
    date: dt.date | None = None
    final: bool = True


class Invoice(msgspec.Struct, frozen=True):
    """An invoice or credit memo. `due` holds (date, open amount) of its open items in date order."""

    key: str
    company: str
    type: InvoiceType
    number: str | None
    customer: str
    currency: str
    total_amount: Decimal
    open_amount: Decimal
    phase: Phase
    erp_state: str
    invoice_date: dt.date | None
    due: tuple[tuple[dt.date | None, Decimal], ...] = ()
    terms: str | None = None
    reference: str | None = None
    blocked: bool = False
    applications: tuple[Application, ...] = ()

    @property
    def direction(self) -> int:
        """1 for an invoice, -1 for a credit memo."""
        return -1 if self.type is InvoiceType.CREDIT_MEMO else 1

    @property
    def balance(self) -> Decimal:
        """What is open, in the document's own direction; negative only when it was over-applied."""
        return self.open_amount * self.direction

    def content_version(self) -> str:
        """A digest of the facts that a decision can rest on."""
        return short_digest((
            "invoice/1", self.company, self.type, self.customer, self.currency, self.total_amount,
            self.open_amount, self.phase, self.invoice_date, self.due, self.blocked,
        ))  # fmt: skip

    def version_after(self, before: "Invoice", version: str) -> str:
        """The content version, given that of what the invoice was before: most changes keep it."""
        same = (
            self.phase is before.phase
            and self.type is before.type
            and self.blocked is before.blocked
            and self.company == before.company
            and self.customer == before.customer
            and self.currency == before.currency
            and self.invoice_date == before.invoice_date
            and same_bytes(self.total_amount, before.total_amount)
            and same_bytes(self.open_amount, before.open_amount)
            and same_bytes(self.due, before.due)
        )
        return version if same else self.content_version()


class CreditAccount(msgspec.Struct, frozen=True):
    """What a customer owes one company, in that company's currency. A limit of None means no limit."""

    company: str
    currency: str
    receivable: Decimal
    credit_limit: Decimal | None


class Customer(msgspec.Struct, frozen=True):
    """A customer. Names and addresses are personal data and stand outside the journal: `personal` numbers them."""

    key: str
    active: bool
    accounts: tuple[CreditAccount, ...]
    personal: str | None = None

    def content_version(self) -> str:
        """A digest of the facts that a decision can rest on."""
        return short_digest(("customer/1", self.active, self.accounts))


Document = Invoice | Customer


class SalesOrder(msgspec.Struct, frozen=True):
    """An order, as far as releasing it goes: `held` while the ERP does not let it go on. Not kept.

    One without a customer or a company is taken for anybody's.
    """

    key: str
    number: str | None
    held: bool
    customer: str | None = None
    company: str | None = None


class LedgerEntry(msgspec.Struct, frozen=True):
    """An entry of the general ledger. `text` is the field in which our keys are written; `final` when it is posted.
    Not kept.
    """

    key: str
    number: str | None
    text: str | None
    final: bool


Paper = SalesOrder | LedgerEntry
"""What one row of the ERP says by itself."""


class Assembled(msgspec.Struct, frozen=True):
    """What a mapping makes of the mirror's rows: the document, its guard, and personal data kept apart.

    `guard` maps the ERP's record names to their version tokens: all rows that a command on the document depends on.
    """

    document: Document
    guard: dict[str, str]
    personal: dict[str, Any] | None = None
