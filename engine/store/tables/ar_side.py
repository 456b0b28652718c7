"""What the AR side is told, and how far both have read."""

import datetime as dt

from sqlalchemy import BigInteger, Column, Text
from sqlmodel import Field, SQLModel

from engine.store.tables import columns


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
    at: dt.datetime = Field(sa_column=columns.time())
    body: str = Field(sa_column=Column(Text, nullable=False))


class FeedPosition(SQLModel, table=True):
    """How far a feed has published a system's log. While `after_document` is set, documents are published that were
    there before: from the one after it on."""

    __tablename__ = "feed_position"
    feed: str = Field(primary_key=True)
    system: str = Field(primary_key=True)
    batch: int = Field(sa_column=columns.big())
    place: int
    after_document: str | None = None
    updated_at: dt.datetime = Field(sa_column=columns.time())


class InboxPosition(SQLModel, table=True):
    """How far the AR side's messages were read: the next one of each partition."""

    __tablename__ = "inbox_position"
    feed: str = Field(primary_key=True)
    stream: str = Field(primary_key=True)
    position: int = Field(sa_column=columns.big())
    updated_at: dt.datetime = Field(sa_column=columns.time())
