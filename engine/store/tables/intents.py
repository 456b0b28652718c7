"""What the AR side asked for, what is written for it, and where both sides disagree."""

import datetime as dt
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, Column, Index, Text, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlmodel import Field, SQLModel

from engine.store.tables import columns


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
    received_at: dt.datetime = Field(sa_column=columns.time())
    waits_for: list[str] | None = Field(default=None, sa_column=Column(ARRAY(Text)))
    record: Any = Field(sa_column=columns.json())


_UNDER_WAY = "current AND state IN ('pending', 'sent', 'unknown', 'stale', 'part_done', 'accepted')"
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
        Index("command_of_customer", "system", "customer", postgresql_where=text(_UNDER_WAY)),
    )
    system: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    revision: int = Field(primary_key=True)
    current: bool
    intent: str
    customer: str
    state: str
    created_at: dt.datetime = Field(sa_column=columns.time())
    due_at: dt.datetime = Field(sa_column=columns.time())
    sent_at: dt.datetime | None = Field(default=None, sa_column=columns.time(nullable=True))
    fence: int
    lease_owner: str | None = None
    lease_until: dt.datetime | None = Field(default=None, sa_column=columns.time(nullable=True))
    record: Any = Field(sa_column=columns.json())


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
    amount: Decimal | None = Field(default=None, sa_column=columns.number(nullable=True))
    currency: str | None = None
    detected_at: dt.datetime = Field(sa_column=columns.time())
    apply_at: dt.datetime | None = Field(default=None, sa_column=columns.time(nullable=True))
    ended_at: dt.datetime | None = Field(default=None, sa_column=columns.time(nullable=True))
    assignee: str | None = None
    record: Any = Field(sa_column=columns.json())


class ConflictNote(SQLModel, table=True):
    """What somebody said about a conflict. Journalled as well; nothing is decided on it."""

    __tablename__ = "conflict_note"
    __table_args__ = (Index("conflict_note_of", "system", "conflict", "id"),)
    id: int | None = Field(default=None, sa_column=Column(BigInteger, primary_key=True, autoincrement=True))
    system: str
    conflict: str
    at: dt.datetime = Field(sa_column=columns.time())
    actor: str
    text: str = Field(sa_column=Column(Text, nullable=False))
