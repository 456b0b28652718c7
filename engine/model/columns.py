"""Reads facts out of raw columns. Pure mappings call these; each refuses what it cannot read exactly.

A source may be set up to send the same column in several ways (days, milliseconds, microseconds, ISO text):
all of them give the same fact.
"""

import datetime as dt
from decimal import Decimal, InvalidOperation

_EPOCH_DAY = dt.date(1970, 1, 1)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
# A day number stays far below any count of milliseconds, and that below any count of microseconds,
# for every date that an invoice can carry (1970 + 1 month to the year 9999).
_LARGEST_DAY = 3_000_000
_LARGEST_MILLISECOND = 300_000_000_000_000


class ColumnError(ValueError):
    """A column's value cannot be read as the fact that it should hold."""


def as_decimal(value: object, column: str) -> Decimal:
    """Money or quantity from text or a whole number. A float is refused: it has already lost cents."""
    if isinstance(value, Decimal):
        return value
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ColumnError(
            f"column {column} holds {value!r}, not a decimal as text; "
            "set decimal.handling.mode=string (or precise, with schemas) at the source"
        )
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise ColumnError(f"column {column} holds {value!r}, which is not a decimal number") from None
    if not number.is_finite():
        raise ColumnError(f"column {column} holds {value!r}, which is not a finite amount")
    return number


def as_decimal_or_none(value: object, column: str) -> Decimal | None:
    """Like `as_decimal`, and None for NULL."""
    return None if value is None else as_decimal(value, column)


def as_date(value: object, column: str) -> dt.date | None:
    """A calendar date from days, milliseconds or microseconds since 1970, or from ISO text. None for NULL."""
    if value is None:
        return None
    try:
        if isinstance(value, str):
            return dt.date.fromisoformat(value[:10])
        if isinstance(value, int) and not isinstance(value, bool):
            if abs(value) <= _LARGEST_DAY:
                return _EPOCH_DAY + dt.timedelta(days=value)
            scale = 1_000 if abs(value) <= _LARGEST_MILLISECOND else 1_000_000
            return (_EPOCH + dt.timedelta(seconds=value // scale)).date()
    except (ValueError, OverflowError):
        pass
    raise ColumnError(f"column {column} holds {value!r}, which is not a date")


def as_micros(value: object, column: str) -> int | None:
    """A point in time as microseconds since 1970 UTC, from milli- or microseconds or ISO text. None for NULL."""
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return value * 1_000 if abs(value) <= _LARGEST_MILLISECOND else value
    if isinstance(value, str):
        try:
            moment = dt.datetime.fromisoformat(value)
        except ValueError:
            moment = None
        if moment is not None:
            moment = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
            return (moment - _EPOCH) // dt.timedelta(microseconds=1)
    raise ColumnError(f"column {column} holds {value!r}, which is not a point in time")


def as_id(value: object, column: str) -> str | None:
    """A reference to another row, as text. None for NULL."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ColumnError(f"column {column} holds {value!r}, which is not a reference to a row")
    return str(value)


def as_text(value: object, column: str) -> str | None:
    """Text as it stands; None for NULL."""
    if value is None or isinstance(value, str):
        return value
    raise ColumnError(f"column {column} holds {value!r}, which is not text")
