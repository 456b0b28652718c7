"""What people look after: dead letters, chores, and what a reconcile found."""

import datetime as dt

from sqlalchemy import BigInteger, Column, DateTime, Index, Text, text
from sqlmodel import Field, SQLModel

from engine.store.tables import columns


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
    at: dt.datetime = Field(sa_column=columns.time())
    kind: str = Field(sa_column_kwargs={"server_default": "change"})
    key: str | None = Field(default=None, sa_column=Column(Text))
    cause: str | None = None
    state: str = Field(sa_column_kwargs={"server_default": "open"})
    times: int = Field(sa_column_kwargs={"server_default": "1"})
    last_at: dt.datetime | None = Field(default=None, sa_column=columns.time(nullable=True))
    version: int = Field(sa_column_kwargs={"server_default": "1"})
    closed_at: dt.datetime | None = Field(default=None, sa_column=columns.time(nullable=True))
    closed_by: str | None = None
    closed_why: str | None = Field(default=None, sa_column=Column(Text))


class DeadLetterVersion(SQLModel, table=True):
    """A payload that an edit has replaced, with who replaced it and why."""

    __tablename__ = "dead_letter_version"
    letter: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    version: int = Field(primary_key=True)
    payload: str = Field(sa_column=Column(Text, nullable=False))
    at: dt.datetime = Field(sa_column=columns.time())
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
    asked_at: dt.datetime = Field(sa_column=columns.time())
    state: str = Field(sa_column_kwargs={"server_default": "open"})
    told: str | None = Field(default=None, sa_column=Column(Text))
    done_at: dt.datetime | None = Field(default=None, sa_column=columns.time(nullable=True))


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
