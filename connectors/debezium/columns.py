"""Brings columns that need their schema to be understood into the form that they have without one.

The decoder calls it for messages that carry a schema. Decimals become text, exactly; nanoseconds become
microseconds; whatever reads the same with and without a schema is left as it is. A schema is compiled once.
"""

import binascii
from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Any

import msgspec

Row = dict[str, Any]
RowReader = Callable[[Row, Collection[str]], None]
"""Rewrites a row's columns in place, except the named ones, whose values mean nothing."""

_DECIMAL = "org.apache.kafka.connect.data.Decimal"
_VARIABLE = "io.debezium.data.VariableScaleDecimal"
_NANOS = "io.debezium.time.NanoTimestamp"


class _Schema(msgspec.Struct):
    type: str = ""
    field: str = ""
    name: str | None = None
    parameters: dict[str, str] | None = None
    fields: list["_Schema"] = []
    items: "_Schema | None" = None


_schema = msgspec.json.Decoder(_Schema | None)


@lru_cache(maxsize=1024)
def row_reader(schema: bytes) -> RowReader:
    """The reader for the rows of an envelope with this schema, as JSON."""
    parsed = _schema.decode(schema)
    for field in parsed.fields if parsed else ():
        if field.field in {"after", "before"} and field.fields:
            return _reader(field)
    return _reader(None)


@lru_cache(maxsize=1024)
def key_reader(schema: bytes) -> RowReader:
    """The reader for keys with this schema, as JSON."""
    return _reader(_schema.decode(schema))


def _reader(struct: _Schema | None) -> RowReader:
    rewriters = {
        field.field: rewrite
        for field in (struct.fields if struct else ())
        if (rewrite := _rewriter(field)) is not None
    }

    def read(row: Row, skipped: Collection[str]) -> None:
        for column, rewrite in rewriters.items():
            held = row.get(column)
            if held is not None and column not in skipped:
                row[column] = rewrite(held)

    return read


def _rewriter(field: _Schema) -> Callable[[Any], Any] | None:
    if field.name == _DECIMAL and field.type == "bytes":
        scale = int((field.parameters or {}).get("scale", "0"))
        return lambda held: decimal_text(held, scale)
    if field.name == _VARIABLE:
        return lambda held: decimal_text(held["value"], held["scale"])
    if field.name == _NANOS:
        return lambda held: held // 1_000
    if field.type == "array" and field.items is not None and (each := _rewriter(field.items)) is not None:
        return lambda held: [None if one is None else each(one) for one in held]
    return None


def decimal_text(encoded: str, scale: int) -> str:
    """A decimal from its unscaled value, base64 of signed big-endian bytes. ValueError when it is no base64.

    Written digit by digit: arithmetic with decimals would round to the precision of the context.
    """
    unscaled = int.from_bytes(binascii.a2b_base64(encoded, strict_mode=True), "big", signed=True)
    if scale <= 0:
        return str(unscaled * 10**-scale)
    digits = str(abs(unscaled)).rjust(scale + 1, "0")
    return f"{'-' if unscaled < 0 else ''}{digits[:-scale]}.{digits[-scale:]}"
