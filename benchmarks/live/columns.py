"""The workload's tables as a real PostgreSQL has them: types as Tryton's own, so that Debezium has its usual work.

`benchmarks.workload.tables` shows values as Debezium tells them; here they become what the database holds.
"""

import datetime as dt
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from psycopg import sql

from benchmarks.workload.lives import Change
from benchmarks.workload.tables import EMPTY
from connectors.tryton.tables import TABLES

_STAMPS: Final = {"create_date", "write_date"}
_DAYS: Final = {
    "accounting_date", "date", "invoice_date", "maturity_date", "payment_term_date", "post_date", "taxes_date",
}  # fmt: skip
_AMOUNTS: Final = {
    "amount", "amount_second_currency", "base", "credit", "credit_limit_amount", "debit", "payment_amount_cache",
    "rounding", "source_tax_amount", "source_total_amount", "source_untaxed_amount", "tax_amount_cache",
    "taxes_deductible_rate", "total_amount_cache", "unit_price", "untaxed_amount_cache",
}  # fmt: skip
_NUMBERS: Final = {
    "cancel_move", "country", "delegate_to", "move", "number_digit", "party", "posted_by", "product",
    "reconciliation", "replaced_by", "second_currency", "sequence", "subdivision", "unit", "validated_by",
    "write_uid",
}  # fmt: skip
_EPOCH: Final = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - Tryton's timestamps have no zone
_DAY_ONE: Final = dt.date(1970, 1, 1)


def all_tables() -> dict[str, dict[str, str]]:
    """By table, its columns with their types: those of the workload, and empty ones that arsync captures besides."""
    held = {table: {name: _type(name, value) for name, value in row.items()} for table, row in EMPTY.items()}
    return {spec.name: {"id": "integer"} for spec in TABLES} | held


def _type(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, float):
        return "double precision"
    if (isinstance(value, int) and name not in _STAMPS | _DAYS) or name in _NUMBERS:
        return "integer"
    if name in _STAMPS:
        return "timestamp(6)"
    if name in _DAYS:
        return "date"
    return "numeric" if name in _AMOUNTS else "varchar"


def create(table: str, columns: dict[str, str]) -> tuple[bytes, bytes]:
    """The statements that make a table whose changes are told whole."""
    name = sql.Identifier(table)
    parts = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(c), sql.SQL(kind)) for c, kind in columns.items()
    )
    made = sql.SQL("CREATE TABLE {} ({}, PRIMARY KEY (id))").format(name, parts)
    return made.as_bytes(None), sql.SQL("ALTER TABLE {} REPLICA IDENTITY FULL").format(name).as_bytes(None)


def statement(change: Change) -> tuple[bytes, Sequence[Any]]:
    """The statement that makes this change, with its values."""
    table, op, before, after = change
    if after is None:
        return _delete(table), [(before or {})["id"]]
    if op == "u" and before is not None:
        # A row that is written as it was is told, too.
        columns = tuple(column for column, held in after.items() if held != before[column]) or ("id",)
        return _update(table, columns), [*(_held(column, after[column]) for column in columns), after["id"]]
    return _insert(table, tuple(after)), [_held(column, value) for column, value in after.items()]


@cache
def _delete(table: str) -> bytes:
    return sql.SQL("DELETE FROM {} WHERE id = %s").format(sql.Identifier(table)).as_bytes(None)


@cache
def _update(table: str, columns: Sequence[str]) -> bytes:
    sets = sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(column)) for column in columns)
    return sql.SQL("UPDATE {} SET {} WHERE id = %s").format(sql.Identifier(table), sets).as_bytes(None)


@cache
def _insert(table: str, columns: Sequence[str]) -> bytes:
    fields = sql.SQL(", ").join(map(sql.Identifier, columns))
    places = sql.SQL(", ").join(sql.Placeholder() for _ in columns)
    query = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(sql.Identifier(table), fields, places)
    return query.as_bytes(None)


def _held(column: str, told: Any) -> Any:
    """The database's value for one that Debezium tells: days and microseconds since 1970 become dates."""
    if told is None:
        return None
    if column in _STAMPS:
        return _EPOCH + dt.timedelta(microseconds=told)
    return _DAY_ONE + dt.timedelta(days=told) if column in _DAYS else told
