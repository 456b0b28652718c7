"""What the engine knows of a document, an intent, a command and a conflict. The store keeps them, rules replace them.

A record is never changed: a decision makes a new one.
"""

import datetime as dt
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec

from engine.model.commands import Outcome, Write
from engine.model.documents import Customer, Invoice
from engine.model.intents import Intent


class Match(msgspec.Struct, frozen=True):
    """Money on its way to an invoice: a command in flight. `amount` is in the invoice's own direction."""

    command: str
    amount: Decimal


class InvoiceRecord(msgspec.Struct, frozen=True):
    """An invoice with its life. `state` is the machine's state; `erp_updates` counts what the ERP told about it.

    `version` is its content version. `ancestors` are earlier versions from which this one differs only by what our
    own commands did: a basis that names one of them is not stale.
    """

    doc: Invoice
    version: str
    guard: dict[str, str]
    state: str = "new"
    clearing: str | None = None
    ancestors: tuple[str, ...] = ()
    matches: tuple[Match, ...] = ()
    disputes: tuple[str, ...] = ()
    moves: int = 0
    deleted: bool = False

    @property
    def key(self) -> str:
        return self.doc.key

    def claimed(self, *, besides: str | None = None) -> Decimal:
        """Money in flight to this invoice, own direction, without that of one command."""
        return sum((m.amount for m in self.matches if m.command != besides), Decimal(0))


class CustomerRecord(msgspec.Struct, frozen=True):
    """A customer as the ERP last told it."""

    doc: Customer
    version: str
    guard: dict[str, str]
    deleted: bool = False

    @property
    def key(self) -> str:
        return self.doc.key


class IntentRecord(msgspec.Struct, frozen=True):
    """An intent and what became of it. `invoices` are the keys of the documents it names, once they are known."""

    intent: Intent
    state: str
    received_at: dt.datetime
    invoices: tuple[str, ...] = ()
    reason: str | None = None
    commands: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return self.intent.id


class CommandRecord(msgspec.Struct, frozen=True):
    """One write. A rebase makes the next `revision` under the same key; `sends` counts over all revisions.

    `echoed` is what the change stream shows under its key, by invoice. `due_at` is when the dispatcher or a timer
    looks at it next. `fence` is raised by every claim: an answer that carries an older one changes nothing.
    `sent_guard` is a digest of the guard of the last send. `stales` counts the guards that proved stale while the
    mirror knew newer ones already, `waits` how often in a row the present one did while the mirror knew no other.
    """

    key: str
    revision: int
    intent: str
    ordinal: int
    customer: str
    state: str
    write: Write
    created_at: dt.datetime
    due_at: dt.datetime
    sends: int = 0
    stales: int = 0
    fence: int = 0
    sent_at: dt.datetime | None = None
    outcome: Outcome | None = None
    reference: str | None = None
    echoed: dict[str, Decimal] = {}
    sent_guard: str | None = None
    waits: int = 0

    def promised(self, invoice: str) -> Decimal | None:
        """What was promised for an invoice, own direction."""
        return next((a.amount for a in self.write.allocations if a.invoice == invoice), None)

    @property
    def echo_complete(self) -> bool:
        """Everything promised was seen in the change stream, and nothing else."""
        return self.echoed == {a.invoice: a.amount for a in self.write.allocations}


class ConflictKind(StrEnum):
    """In order of precedence: one disagreement has one primary kind, the first that fits."""

    VOIDED_TARGET = "voided_target"
    CUSTOMER_MISMATCH = "customer_mismatch"
    DUPLICATE_RECEIPT = "duplicate_receipt"
    ALREADY_CLEARED = "already_cleared"
    OVER_APPLICATION = "over_application"
    CONCURRENT_CLAIMS = "concurrent_claims"
    PERIOD_CLOSED = "period_closed"
    PARTLY_DONE = "partly_done"
    LATE_EFFECT = "late_effect"
    ECHO_MISMATCH = "echo_mismatch"
    OUTCOME_UNKNOWN = "outcome_unknown"
    ECHO_MISSING = "echo_missing"
    ERP_REJECTED = "erp_rejected"
    PRECONDITION_FAILED = "precondition_failed"
    STALE_BASIS = "stale_basis"
    ERP_REVERSED = "erp_reversed"
    CREDIT_LIMIT_RACE = "credit_limit_race"
    UNKNOWN_DOCUMENT = "unknown_document"
    DRIFT = "drift"
    REFUSED_TRANSITION = "refused_transition"


class ConflictRecord(msgspec.Struct, frozen=True):
    """A stored disagreement. `base` is what the AR side had seen, `ar` what it wants, `erp` what the ERP says.

    `amount` is the money at stake in `currency`. `choice` was made by `chosen_by` (a policy or a person).
    """

    id: str
    kind: ConflictKind
    state: str
    sentence: str
    rule: str
    default_choice: str
    detected_at: dt.datetime
    intent: str | None = None
    command: str | None = None
    document: str | None = None
    customer: str | None = None
    amount: Decimal | None = None
    currency: str | None = None
    base: dict[str, Any] = {}
    ar: dict[str, Any] = {}
    erp: dict[str, Any] = {}
    fields: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    choice: str | None = None
    chosen_by: str | None = None
    why: str | None = None
