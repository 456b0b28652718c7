"""The journal, its heads, and the checkpoints."""

import datetime as dt

from sqlalchemy import BigInteger, Column, Index, Text
from sqlmodel import Field, SQLModel

from engine.store.tables import columns


class JournalEntry(SQLModel, table=True):
    """One entry of the append-only, hash-chained journal. `body` is canonical JSON, hashed as it stands.

    (batch, place) is its place in its system's order; older entries have no `place`.
    """

    __tablename__ = "journal"
    __table_args__ = (Index("journal_batch", "system", "batch"),)
    stream: str = Field(primary_key=True)
    seq: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    system: str
    batch: int = Field(sa_column=columns.big())
    place: int | None = None
    at: dt.datetime = Field(sa_column=columns.time())
    kind: str
    body: str = Field(sa_column=Column(Text, nullable=False))
    previous: str
    hash: str


class StreamHead(SQLModel, table=True):
    """The end of a journal stream: its last sequence and hash."""

    __tablename__ = "stream_head"
    stream: str = Field(primary_key=True)
    seq: int = Field(sa_column=columns.big())
    hash: str


class Checkpoint(SQLModel, table=True):
    """What all documents were at a batch: `body` is the checkpoint as it is printed and kept outside, on one line.

    Entries up to a batch with `pruned_at` are no longer in the store.
    """

    system: str = Field(primary_key=True)
    batch: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    at: dt.datetime = Field(sa_column=columns.time())
    digest: str
    body: str = Field(sa_column=Column(Text, nullable=False))
    pruned_at: dt.datetime | None = Field(default=None, sa_column=columns.time(nullable=True))


class CheckpointRecord(SQLModel, table=True):
    """One record as it was at a checkpoint, in canonical JSON; `name` is `kind/key`."""

    __tablename__ = "checkpoint_record"
    system: str = Field(primary_key=True)
    batch: int = Field(sa_column=Column(BigInteger, primary_key=True, autoincrement=False))
    name: str = Field(primary_key=True)
    record: str = Field(sa_column=Column(Text, nullable=False))
