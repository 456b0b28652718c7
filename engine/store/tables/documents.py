"""The documents with their lives."""

import datetime as dt
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, Column, Index, Text
from sqlmodel import Field, SQLModel

from engine.store.tables import columns


class InvoiceRow(SQLModel, table=True):
    """An invoice or credit memo with its life."""

    __tablename__ = "invoice"
    __table_args__ = (Index("invoice_number", "system", "number"), Index("invoice_customer", "system", "customer"))
    system: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    number: str | None = None
    customer: str
    state: str
    open_amount: Decimal = Field(sa_column=columns.number())
    currency: str
    deleted: bool
    parked: str | None = Field(default=None, sa_column=Column(Text))
    record: Any = Field(sa_column=columns.json())
    updated_at: dt.datetime = Field(sa_column=columns.time())


class CustomerRow(SQLModel, table=True):
    """A customer's facts; names and addresses are in `personal`."""

    __tablename__ = "customer"
    system: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    deleted: bool
    parked: str | None = Field(default=None, sa_column=Column(Text))
    record: Any = Field(sa_column=columns.json())
    updated_at: dt.datetime = Field(sa_column=columns.time())


class Personal(SQLModel, table=True):
    """Personal data of a customer, outside every hash, so that it can be erased."""

    system: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    number: int
    data: Any = Field(sa_column=columns.json())


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
    entry: int = Field(sa_column=columns.big())
    at: dt.datetime = Field(sa_column=columns.time())
