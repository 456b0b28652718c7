"""One value, one sequence of bytes: what hashes, content versions and the journal are made of.

Keys are sorted, decimals are text without exponent, dates ISO. Two values that are equal give equal bytes.
"""

import hashlib
from decimal import Decimal
from typing import Any

import msgspec

_ENCODER = msgspec.json.Encoder(order="sorted", decimal_format="string")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_PAIRS = [one + other for one in _LETTERS for other in _LETTERS]


def canonical_bytes(value: object) -> bytes:
    """The canonical JSON of a struct, mapping or sequence of model values."""
    return _ENCODER.encode(value)


def same_bytes(one: object, other: object) -> bool:
    """Whether two values are one in the journal. `1.0` and `1.00` are equal, and are not."""
    if one is other:
        return True
    return one == other and (isinstance(other, str | int) or _ENCODER.encode(one) == _ENCODER.encode(other))


def to_plain(value: object) -> Any:
    """A model value as JSON types: text for decimals and dates."""
    return msgspec.json.decode(_ENCODER.encode(value))


def digest(value: object) -> str:
    """SHA-256 of the canonical bytes, in hexadecimal."""
    return hashlib.sha256(canonical_bytes(value)).hexdigest()


def short_digest(value: object) -> str:
    """The first 80 bits of the digest as 16 characters A-Z and 2-7."""
    bits, pairs = int.from_bytes(hashlib.sha256(_ENCODER.encode(value)).digest()[:10]), _PAIRS
    return (
        pairs[bits >> 70] + pairs[bits >> 60 & 1023] + pairs[bits >> 50 & 1023] + pairs[bits >> 40 & 1023]
        + pairs[bits >> 30 & 1023] + pairs[bits >> 20 & 1023] + pairs[bits >> 10 & 1023] + pairs[bits & 1023]
    )  # fmt: skip


def money(value: Decimal) -> Decimal:
    """The same amount with one spelling: no exponent, no negative zero, no trailing zeros beyond cents.

    `400`, `400.0` and `400.00` become `400.00`; `0.125` stays. Equal amounts give equal bytes.
    """
    if value == 0:
        return Decimal("0.00")
    trimmed = value.normalize()
    exponent = trimmed.as_tuple().exponent
    if isinstance(exponent, int) and exponent > -2:
        return trimmed.quantize(Decimal("0.01"))
    return trimmed
