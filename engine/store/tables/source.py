"""What was read of an ERP: how far, the mirror of its rows, and what a snapshot left to do."""

import datetime as dt
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, Column, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from engine.store.tables import columns


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
    batch: int = Field(sa_column=columns.big(server_default="0"))
    mirrored: int = Field(sa_column=columns.big(server_default="0"))
    settings: str | None = None
    paused_at: dt.datetime | None = Field(default=None, sa_column=columns.time(nullable=True))
    paused_by: str | None = None
    pause_reason: str | None = Field(default=None, sa_column=Column(Text))
    resumed_at: dt.datetime | None = Field(default=None, sa_column=columns.time(nullable=True))
    restored_at: dt.datetime | None = Field(default=None, sa_column=columns.time(nullable=True))
    outbound_from: int | None = Field(default=None, sa_column=Column(BigInteger))
    fence: int = Field(default=0, sa_column=columns.big(server_default="0"))


class SourcePosition(SQLModel, table=True):
    """How far a system's changes were read; committed with their effects.

    `commit_lsn` is the last applied transaction's end, `snapshot` the snapshot that is being read or was read last.
    Everything that the ERP did until `told_until` has been told.
    """

    __tablename__ = "source_position"
    system: str = Field(primary_key=True)
    epoch: str
    resume: Any = Field(sa_column=Column(JSONB))
    commit_lsn: int = Field(sa_column=columns.big())
    source_us: int = Field(sa_column=columns.big())
    snapshot: str | None = None
    snapshot_complete: bool = False
    updated_at: dt.datetime = Field(sa_column=columns.time())
    told_until: dt.datetime | None = Field(default=None, sa_column=columns.time(nullable=True))


class PendingRecord(SQLModel, table=True):
    """A record whose transaction is not complete yet: acknowledged upstream, applied later."""

    __tablename__ = "pending_record"
    system: str = Field(primary_key=True)
    seq: int = Field(sa_column=Column(BigInteger, primary_key=True))
    record: Any = Field(sa_column=columns.json())


class MirrorRow(SQLModel, table=True):
    """The ERP's last word on one row. A deleted row stays as its own tombstone, so that nothing old revives it."""

    __tablename__ = "mirror"
    system: str = Field(primary_key=True)
    tbl: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    row: Any = Field(sa_column=columns.json())
    commit_lsn: int = Field(sa_column=columns.big())
    lsn: int = Field(sa_column=columns.big())
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
    amount: Decimal = Field(sa_column=columns.number())


class Backlog(SQLModel, table=True):
    """Documents that must be assembled again, page by page, before the stream goes on."""

    system: str = Field(primary_key=True)
    kind: str = Field(primary_key=True)
    after_key: str | None = None
    reason: str
