"""Personal data of customers, kept outside every hash, by reference, so that they can be erased."""

from collections.abc import Iterable, Sequence
from typing import Any

from psycopg import Cursor

from engine.model.canonical import canonical_bytes
from engine.store.bulk import upsert


def load_personal(cursor: Cursor[Any], system: str, keys: Iterable[str]) -> dict[str, tuple[int, Any]]:
    """(number, data) by customer."""
    cursor.execute(
        "SELECT key, number, data FROM personal WHERE system = %s AND key = ANY(%s)", (system, sorted(set(keys)))
    )
    return {key: (number, data) for key, number, data in cursor}


def save_personal(cursor: Cursor[Any], system: str, told: Sequence[tuple[str, int, Any]]) -> None:
    """Insert or replace personal data: (customer, number, data)."""
    rows = [(system, key, number, canonical_bytes(data).decode()) for key, number, data in told]
    upsert(cursor, "personal", ("system", "key"), ("system", "key", "number", "data"), rows)
