"""Columns of the kinds that several tables have."""

from typing import Any

from sqlalchemy import BigInteger, Column, DateTime, Numeric
from sqlalchemy.dialects.postgresql import JSONB


def json() -> Any:
    return Column(JSONB, nullable=False)


def big(**options: Any) -> Any:
    return Column(BigInteger, nullable=False, **options)


def time(*, nullable: bool = False) -> Any:
    return Column(DateTime(timezone=True), nullable=nullable)


def number(*, nullable: bool = False) -> Any:
    return Column(Numeric, nullable=nullable)
