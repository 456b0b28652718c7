"""The store's tables. Migrations create them; a test holds both to each other.

A record's whole value stands in its `record` column as canonical JSON; the other columns are what queries select by.
"""

import datetime as dt
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, Column, DateTime, Index, Numeric, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlmodel import Field, SQLModel


def _json() -> Any:
    return Column(JSONB, nullable=False)


def _big(**options: Any) -> Any:
    return Column(BigInteger, nullable=False, **options)


def _time(*, nullable: bool = False) -> Any:
    return Column(DateTime(timezone=True), nullable=nullable)


def _number(*, nullable: bool = False) -> Any:
    return Column(Numeric, nullable=nullable)


class System(SQLModel, table=True):
    """One ERP. Its row is the head lock under which a unit of work takes its batch number.

    `mirrored` is the batch that wrote the mirror last.

    While `paused_at` is set nothing is sent; the brake counts from `resumed_at` on. Since `restored_at` the store may
    not know of everything that was sent, so that every key is looked up before it is sent. The log of what the AR
    side is told is whole after the batch `outbound_from`; nothing is written to it where that is null. Every worker
    that takes the system over raises `fence`, and whoever had it before can commit nothing more. `settings` is the
    digest of those under which the last unit decided.
    """

    name: str = Field(primary_key=True)
    connector: str
    batch: int = Field(sa_column=_big(server_default="0"))
    mirrored: int = Field(sa_column=_big(server_default="0"))
    settings: str | None = None
    paused_at: dt.datetime | None = Field(default=None, sa_column=_time(nullable=True))
    paused_by: str | None = None
    pause_reason: str | None = Field(default=None, sa_column=Column(Text))
    resumed_at: dt.datetime | None = Field(default=None, sa_column=_time(nullable=True))
    restored_at: dt.datetime | None = Field(default=None, sa_column=_time(nullable=True))
    outbound_from: int | None = Field(default=None, sa_column=Column(BigInteger))
    fence: int = Field(default=0, sa_column=_big(server_default="0"))


class SourcePosition(SQLModel, table=True):
    """How far a system's changes were read; committed with their effects.

    `commit_lsn` is the last applied transaction's end, `snapshot` the snapshot that is being read or was read last.
    Everything that the ERP did until `told_until` has been told.
    """

    __tablename__ = "source_position"
    system: str = Field(primary_key=True)
    epoch: str
    resume: Any = Field(sa_column=Column(JSONB))
    commit_lsn: int = Field(sa_column=_big())
    source_us: int = Field(sa_column=_big())
    snapshot: str | None = None
    snapshot_complete: bool = False
    updated_at: dt.datetime = Field(sa_column=_time())
    told_until: dt.datetime | None = Field(default=None, sa_column=_time(nullable=True))


class PendingRecord(SQLModel, table=True):
    """A record whose transaction is not complete yet: acknowledged upstream, applied later."""

    __tablename__ = "pending_record"
    system: str = Field(primary_key=True)
    seq: int = Field(sa_column=Column(BigInteger, primary_key=True))
    record: Any = Field(sa_column=_json())


class MirrorRow(SQLModel, table=True):
    """The ERP's last word on one row. A deleted row stays as its own tombstone, so that nothing old revives it."""

    __tablename__ = "mirror"
    system: str = Field(primary_key=True)
    tbl: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    row: Any = Field(sa_column=_json())
    commit_lsn: int = Field(sa_column=_big())
    lsn: int = Field(sa_column=_big())
    deleted: bool
    snapshot: str | None = None


class MirrorRef(SQLModel, table=True):
    """Which rows carry which value in a related column."""

    __tablename__ = "mirror_ref"
    system: str = Field(primary_key=True)
    tbl: str = Field(primary_key=True)
    col: str = Field(primary_key=True)
    val: str = Field(primary_key=True)
    key: str = Field(primary_key=True)


class DocumentSum(SQLModel, table=True):
    """A sum over rows that is kept by differences."""

    __tablename__ = "document_sum"
    system: str = Field(primary_key=True)
    kind: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    measure: str = Field(primary_key=True)
    amount: Decimal = Field(sa_column=_number())


class InvoiceRow(SQLModel, table=True):
    """An invoice or credit memo with its life."""

    __tablename__ = "invoice"
    __table_args__ = (Index("invoice_number", "system", "number"), Index("invoice_customer", "system", "customer"))
    system: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    number: str | None = None
    customer: str
    state: str
    open_amount: Decimal = Field(sa_column=_number())
    currency: str
    deleted: bool
    parked: str | None = Field(default=None, sa_column=Column(Text))
    record: Any = Field(sa_column=_json())
    updated_at: dt.datetime = Field(sa_column=_time())


class CustomerRow(SQLModel, table=True):
    """A customer's facts; names and addresses are in `personal`."""

    __tablename__ = "customer"
    system: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    deleted: bool
    parked: str | None = Field(default=None, sa_column=Column(Text))
    record: Any = Field(sa_column=_json())
    updated_at: dt.datetime = Field(sa_column=_time())


class Personal(SQLModel, table=True):
    """Personal data of a customer, outside every hash, so that it can be erased."""

    system: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    number: int
    data: Any = Field(sa_column=_json())


class Transition(SQLModel, table=True):
    """One step of an invoice's life, with the journal entry that holds its reason."""

    system: str = Field(primary_key=True)
    document: str = Field(primary_key=True)
    seq: int = Field(primary_key=True)
    trigger: str
    source: str
    destination: str
    reason: str | None = None
    tx: str | None = None
    commit_lsn: int | None = Field(default=None, sa_column=Column(BigInteger))
    stream: str
    entry: int = Field(sa_column=_big())
    at: dt.datetime = Field(sa_column=_time())


class IntentRow(SQLModel, table=True):
    """What the AR side asked for. `waits_for` are the documents that it names, as `kind/name`."""

    __tablename__ = "intent"
    __table_args__ = (
        Index("intent_state", "system", "state"),
        Index("intent_waiting", "waits_for", postgresql_using="gin", postgresql_where=text("state = 'waiting'")),
    )
    system: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    state: str
    customer: str
    received_at: dt.datetime = Field(sa_column=_time())
    waits_for: list[str] | None = Field(default=None, sa_column=Column(ARRAY(Text)))
    record: Any = Field(sa_column=_json())


_OF_ORDERS = "current AND state <> 'confirmed' AND record -> 'write' ->> 'order' IS NOT NULL"


class CommandRow(SQLModel, table=True):
    """The outbox: one write and where it stands. Only the newest revision of a key is `current`."""

    __tablename__ = "command"
    __table_args__ = (
        Index("command_due", "system", "state", "due_at"),
        Index("command_intent", "system", "intent"),
        Index("command_sent", "system", "sent_at"),
        Index(
            "command_order",
            "system",
            text("((record -> 'write'::text) ->> 'order'::text)"),
            postgresql_where=text(_OF_ORDERS),
        ),
    )
    system: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    revision: int = Field(primary_key=True)
    current: bool
    intent: str
    customer: str
    state: str
    created_at: dt.datetime = Field(sa_column=_time())
    due_at: dt.datetime = Field(sa_column=_time())
    sent_at: dt.datetime | None = Field(default=None, sa_column=_time(nullable=True))
    fence: int
    lease_owner: str | None = None
    lease_until: dt.datetime | None = Field(default=None, sa_column=_time(nullable=True))
    record: Any = Field(sa_column=_json())


class ConflictRow(SQLModel, table=True):
    """A stored disagreement. Who works on it (`assignee`) is nobody's decision about it and stands beside the record.

    The partial indexes hold what is open: that is what is listed, and what a change of a document may close.
    """

    __tablename__ = "conflict"
    __table_args__ = (
        Index("conflict_state", "system", "state"),
        Index("conflict_intent", "system", "intent"),
        Index("conflict_detected", "detected_at", "id"),
        Index("conflict_open", "detected_at", "id", postgresql_where=text("state IN ('detected', 'held', 'chosen')")),
        Index(
            "conflict_open_documents",
            text("(record -> 'documents'::text)"),
            postgresql_using="gin",
            postgresql_where=text("state IN ('detected', 'held', 'chosen')"),
        ),
        Index("conflict_due", "system", "apply_at", postgresql_where=text("state = 'chosen'")),
    )
    system: str = Field(primary_key=True)
    id: str = Field(primary_key=True)
    kind: str
    state: str
    intent: str | None = None
    command: str | None = None
    document: str | None = None
    customer: str | None = None
    company: str | None = None
    amount: Decimal | None = Field(default=None, sa_column=_number(nullable=True))
    currency: str | None = None
    detected_at: dt.datetime = Field(sa_column=_time())
    apply_at: dt.datetime | None = Field(default=None, sa_column=_time(nullable=True))
    ended_at: dt.datetime | None = Field(default=None, sa_column=_time(nullable=True))
    assignee: str | None = None
    record: Any = Field(sa_column=_json())


class ConflictNote(SQLModel, table=True):
    """What somebody said about a conflict. Journalled as well; nothing is decided on it."""

    __tablename__ = "conflict_note"
    __table_args__ = (Index("conflict_note_of", "system", "conflict", "id"),)
    id: int | None = Field(default=None, sa_column=Column(BigInteger, primary_key=True, autoincrement=True))
    system: str
    conflict: str
    at: dt.datetime = Field(sa_column=_time())
    actor: str
    text: str = Field(sa_column=Column(Text, nullable=False))


class JournalEntry(SQLModel, table=True):
    """One entry of the append-only, hash-chained journal. `body` is canonical JSON, hashed as it stands.

    (batch, place) is its place in its system's order; older entries have no `place`.
    """

    __tablename__ = "journal"
    __table_args__ = (Index("journal_batch", "system", "batch"),)
    stream: str = Field(primary_key=True)
    seq: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    system: str
    batch: int = Field(sa_column=_big())
    place: int | None = None
    at: dt.datetime = Field(sa_column=_time())
    kind: str
    body: str = Field(sa_column=Column(Text, nullable=False))
    previous: str
    hash: str


class Checkpoint(SQLModel, table=True):
    """What all documents were at a batch: `body` is the checkpoint as it is printed and kept outside, on one line.

    Entries up to a batch with `pruned_at` are no longer in the store.
    """

    system: str = Field(primary_key=True)
    batch: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    at: dt.datetime = Field(sa_column=_time())
    digest: str
    body: str = Field(sa_column=Column(Text, nullable=False))
    pruned_at: dt.datetime | None = Field(default=None, sa_column=_time(nullable=True))


class CheckpointRecord(SQLModel, table=True):
    """One record as it was at a checkpoint, in canonical JSON; `name` is `kind/key`."""

    __tablename__ = "checkpoint_record"
    system: str = Field(primary_key=True)
    batch: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    name: str = Field(primary_key=True)
    record: str = Field(sa_column=Column(Text, nullable=False))


class StreamHead(SQLModel, table=True):
    """The end of a journal stream: its last sequence and hash."""

    __tablename__ = "stream_head"
    stream: str = Field(primary_key=True)
    seq: int = Field(sa_column=_big())
    hash: str


class Backlog(SQLModel, table=True):
    """Documents that must be assembled again, page by page, before the stream goes on."""

    system: str = Field(primary_key=True)
    kind: str = Field(primary_key=True)
    after_key: str | None = None
    reason: str


class Outbound(SQLModel, table=True):
    """The log of what the AR side is told, written with what happened. Within a system (batch, place) is its order.

    `subject` is what the event is about, `body` its data as JSON. Documents are read when they are published.
    """

    system: str = Field(primary_key=True)
    batch: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    place: int = Field(primary_key=True)
    id: str
    kind: str
    subject: str
    at: dt.datetime = Field(sa_column=_time())
    body: str = Field(sa_column=Column(Text, nullable=False))


class FeedPosition(SQLModel, table=True):
    """How far a feed has published a system's log. While `after_document` is set, documents are published that were
    there before: from the one after it on."""

    __tablename__ = "feed_position"
    feed: str = Field(primary_key=True)
    system: str = Field(primary_key=True)
    batch: int = Field(sa_column=_big())
    place: int
    after_document: str | None = None
    updated_at: dt.datetime = Field(sa_column=_time())


class InboxPosition(SQLModel, table=True):
    """How far the AR side's messages were read: the next one of each partition."""

    __tablename__ = "inbox_position"
    feed: str = Field(primary_key=True)
    stream: str = Field(primary_key=True)
    position: int = Field(sa_column=_big())
    updated_at: dt.datetime = Field(sa_column=_time())


class DeadLetter(SQLModel, table=True):
    """What could not be processed, kept with its reason and its newest payload; one open letter for each cause.

    `document` names what it parks (`invoice/7`, `intent/rcpt-1`, `command/KEY`); `key` is the key of a change.
    """

    __tablename__ = "dead_letter"
    __table_args__ = (
        Index("letter_cause", "system", "cause", unique=True, postgresql_where=text("state = 'open'")),
        Index("letter_document", "system", "document"),
    )
    id: int | None = Field(default=None, sa_column=Column(BigInteger, primary_key=True, autoincrement=True))
    system: str
    document: str | None = None
    origin: str
    reason: str = Field(sa_column=Column(Text, nullable=False))
    payload: str = Field(sa_column=Column(Text, nullable=False))
    at: dt.datetime = Field(sa_column=_time())
    kind: str = Field(sa_column_kwargs={"server_default": "change"})
    key: str | None = Field(default=None, sa_column=Column(Text))
    cause: str | None = None
    state: str = Field(sa_column_kwargs={"server_default": "open"})
    times: int = Field(sa_column_kwargs={"server_default": "1"})
    last_at: dt.datetime | None = Field(default=None, sa_column=_time(nullable=True))
    version: int = Field(sa_column_kwargs={"server_default": "1"})
    closed_at: dt.datetime | None = Field(default=None, sa_column=_time(nullable=True))
    closed_by: str | None = None
    closed_why: str | None = Field(default=None, sa_column=Column(Text))


class DeadLetterVersion(SQLModel, table=True):
    """A payload that an edit has replaced, with who replaced it and why."""

    __tablename__ = "dead_letter_version"
    letter: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    version: int = Field(primary_key=True)
    payload: str = Field(sa_column=Column(Text, nullable=False))
    at: dt.datetime = Field(sa_column=_time())
    by: str
    why: str = Field(sa_column=Column(Text, nullable=False))


class Chore(SQLModel, table=True):
    """What the reader was asked to do between two batches: retry a letter, or read a document's rows again."""

    __table_args__ = (
        Index("chore_open", "system", "kind", "subject", unique=True, postgresql_where=text("state = 'open'")),
    )
    id: int | None = Field(default=None, sa_column=Column(BigInteger, primary_key=True, autoincrement=True))
    system: str
    kind: str
    subject: str
    asked_by: str
    why: str = Field(sa_column=Column(Text, nullable=False))
    asked_at: dt.datetime = Field(sa_column=_time())
    state: str = Field(sa_column_kwargs={"server_default": "open"})
    told: str | None = Field(default=None, sa_column=Column(Text))
    done_at: dt.datetime | None = Field(default=None, sa_column=_time(nullable=True))


class ReconciliationRow(SQLModel, table=True):
    """A reconcile that came to its end: how much was compared, and through which position it was the same."""

    __tablename__ = "reconciliation"
    system: str = Field(primary_key=True)
    at: dt.datetime = Field(sa_column=Column(DateTime(timezone=True), primary_key=True))
    position: int | None = Field(default=None, sa_column=Column(BigInteger))
    epoch: str | None = None
    invoices: int
    customers: int
    differences: int
    unsettled: int
    seconds: float
