"""What the AR side is told: the kinds of events, and whole documents. HTTP and topics carry the same values.

The unit of work makes events out of a decision's effects; `docs/ar-side.md` shows one of each.
"""

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from engine.model.documents import Application, CreditAccount, InvoiceType, Phase
from engine.model.records import ConflictRecord, CustomerRecord, Dispute, InvoiceRecord, Match


class InvoiceMoved(msgspec.Struct, frozen=True):
    """An invoice took a step of its life; `tx` and `position` are those of the ERP's transaction behind it."""

    invoice: str
    trigger: str
    source: str
    destination: str
    reason: str | None = None
    tx: str | None = None
    position: int | None = None


class DisputeMoved(msgspec.Struct, frozen=True):
    """A dispute about an invoice took a step. `dispute` is the id of the intent that raised it."""

    dispute: str
    invoice: str | None
    trigger: str
    source: str
    destination: str
    reason: str | None = None


class IntentMoved(msgspec.Struct, frozen=True):
    """An intent took a step; `done`, `refused` and `withdrawn` end it, `held` waits for a person."""

    intent: str
    intent_kind: str
    customer: str
    trigger: str
    source: str
    destination: str
    reason: str | None = None
    invoices: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()


class IntentNotTaken(msgspec.Struct, frozen=True):
    """A message with an intent could not be taken. It is kept with its payload; `origin` is where it came from.

    `intent` is its id, where that can be read.
    """

    origin: str
    reason: str
    intent: str | None = None


class CommandPlanned(msgspec.Struct, frozen=True):
    """A command was decided on; `write` is what it will ask the ERP for. Another revision is the same write anew."""

    command: str
    revision: int
    intent: str
    write: dict[str, Any]


class CommandMoved(msgspec.Struct, frozen=True):
    """A command took a step. `answer` is the last answer of the ERP, `answer_text` its own words, `reference` its
    document."""

    command: str
    revision: int
    intent: str
    customer: str
    trigger: str
    source: str
    destination: str
    reason: str | None = None
    answer: str | None = None
    answer_text: str | None = None
    reference: str | None = None


class ConflictRaised(msgspec.Struct, frozen=True):
    """The two sides disagree: the whole conflict as it was stored."""

    conflict: ConflictRecord


class ConflictMoved(msgspec.Struct, frozen=True):
    """A conflict took a step; `choice` was made by `chosen_by`, a policy or a person."""

    conflict: str
    conflict_kind: str
    trigger: str
    source: str
    destination: str
    intent: str | None = None
    choice: str | None = None
    chosen_by: str | None = None
    why: str | None = None


class DocumentChanged(msgspec.Struct, frozen=True):
    """A document is not as it was: read it anew. Topics carry the document itself instead."""

    document: str
    content_version: str
    deleted: bool


Body = (
    InvoiceMoved
    | DisputeMoved
    | IntentMoved
    | IntentNotTaken
    | CommandPlanned
    | CommandMoved
    | ConflictRaised
    | ConflictMoved
    | DocumentChanged
)

KINDS: Mapping[str, type[msgspec.Struct]] = {
    "invoice.moved": InvoiceMoved,
    "dispute.moved": DisputeMoved,
    "intent.moved": IntentMoved,
    "intent.not_taken": IntentNotTaken,
    "command.planned": CommandPlanned,
    "command.moved": CommandMoved,
    "conflict.raised": ConflictRaised,
    "conflict.moved": ConflictMoved,
    "document.changed": DocumentChanged,
}
"""Every kind of event with the shape of its `data`."""

KIND_OF: Mapping[type[msgspec.Struct], str] = {shape: kind for kind, shape in KINDS.items()}


class OutEvent(msgspec.Struct, frozen=True):
    """One event. `id` is the same however often it is delivered; `cursor` is where it stands in its system's feed.

    `subject` is what it is about (`invoice/KEY`, `intent/ID`): events of one subject come in order. `data` has the
    shape that belongs to `kind`.
    """

    id: str
    system: str
    kind: str
    subject: str
    at: dt.datetime
    cursor: str
    data: msgspec.Raw


class InvoiceDocument(msgspec.Struct, frozen=True, kw_only=True, tag_field="document", tag="invoice"):
    """An invoice or credit memo as the ERP last told it, with its life. Amounts are signed: a credit memo's are
    negative. `content_version` is what an intent names as its basis.

    `in_flight` is the money of commands under way, in the document's own direction.
    """

    system: str
    key: str
    number: str | None
    content_version: str
    company: str
    type: InvoiceType
    customer: str
    currency: str
    total_amount: Decimal
    open_amount: Decimal
    state: str
    clearing: str | None
    erp_state: str
    phase: Phase
    invoice_date: dt.date | None
    due: tuple[tuple[dt.date | None, Decimal], ...]
    terms: str | None
    reference: str | None
    blocked: bool
    applications: tuple[Application, ...]
    disputes: tuple[Dispute, ...]
    in_flight: tuple[Match, ...]
    deleted: bool
    parked: str | None = None


class CustomerDocument(msgspec.Struct, frozen=True, kw_only=True, tag_field="document", tag="customer"):
    """A customer with what is owed to each company. `personal` holds names and addresses, where they are given."""

    system: str
    key: str
    content_version: str
    active: bool
    accounts: tuple[CreditAccount, ...]
    deleted: bool
    personal: dict[str, Any] | None = None
    parked: str | None = None


OutDocument = InvoiceDocument | CustomerDocument


def invoice_document(system: str, record: InvoiceRecord, parked: str | None = None) -> InvoiceDocument:
    """What the AR side sees of an invoice; `parked` says why it could not be read lately."""
    doc = record.doc
    return InvoiceDocument(
        system=system, key=doc.key, number=doc.number, content_version=record.version, company=doc.company,
        type=doc.type, customer=doc.customer, currency=doc.currency, total_amount=doc.total_amount,
        open_amount=doc.open_amount, state=record.state, clearing=record.clearing, erp_state=doc.erp_state,
        phase=doc.phase, invoice_date=doc.invoice_date, due=doc.due, terms=doc.terms, reference=doc.reference,
        blocked=doc.blocked, applications=doc.applications, disputes=record.disputes, in_flight=record.matches,
        deleted=record.deleted, parked=parked,
    )  # fmt: skip


def customer_document(
    system: str, record: CustomerRecord, personal: dict[str, Any] | None = None, parked: str | None = None
) -> CustomerDocument:
    """What the AR side sees of a customer."""
    return CustomerDocument(
        system=system, key=record.key, content_version=record.version, active=record.doc.active,
        accounts=record.doc.accounts, deleted=record.deleted, personal=personal, parked=parked,
    )  # fmt: skip
