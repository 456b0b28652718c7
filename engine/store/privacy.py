"""Erases the personal data of a customer. The journal holds none, only its number; so nothing hashed is touched."""

import datetime as dt
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from psycopg import Cursor
from psycopg.types.json import Jsonb

from engine.model.canonical import short_digest
from engine.ports.mapping import TableSpec
from engine.ports.rows import KEY
from engine.store.journal import Entry
from engine.store.letters import LetterKind
from engine.store.personal import load_personal
from engine.store.unit import Connection, unit_of_work

ERASED = "erased"
"""In place of the data: the digest of what was erased, so that the same does not come back from the mirror."""


def erase(connection: Connection, system: str, customer: str, now: dt.datetime, tables: Iterable[TableSpec]) -> bool:
    """Forget names and addresses of a customer, and what could not be read of it; journalled. False: nothing known.

    `tables` are the mapping's: which of them are personal. Dead letters stay, without what they held, in every
    version; letters that came since an earlier erasing are emptied too. The mirror holds what the ERP holds until the
    ERP says otherwise; other data of the ERP is kept again.
    """
    tables = list(tables)
    with connection.cursor() as cursor:
        if not any(_held(cursor, system, customer, tables)):
            return False
    with unit_of_work(connection, system, now) as work:
        cursor = work.cursor
        # Once more under the unit's lock: what the ERP said until now is what is erased.
        row, letters = _held(cursor, system, customer, tables)
        number, data = row or (0, {})
        if ERASED in data and not letters:
            return True
        if ERASED not in data:
            kept = {"name": None, ERASED: short_digest(data)}
            cursor.execute(
                "UPDATE personal SET data = %s WHERE system = %s AND key = %s", (Jsonb(kept), system, customer)
            )
        _empty(cursor, sorted(letters))
        told = {"erased": f"customer/{customer}#{number}"}
        work.note(Entry(f"{system}/operators", "choice", now, told))
    return True


def _held(
    cursor: Cursor[Any], system: str, customer: str, tables: Sequence[TableSpec]
) -> tuple[tuple[int, Any] | None, set[int]]:
    """Number and data of what is kept of a customer, and the letters that hold something of it."""
    row = load_personal(cursor, system, [customer]).get(customer)
    name = row[1].get("name") if row else None
    found = {
        *_document_letters(cursor, system, customer),
        *_change_letters(cursor, system, customer, name, tables),
    }
    return row, found


def _empty(cursor: Cursor[Any], letters: list[int]) -> None:
    """Take out what letters hold. A change gets a new version: the same message again does not bring it back."""
    cursor.execute(
        """UPDATE dead_letter SET payload = '', version = version + (kind = %s)::int
           WHERE id = ANY(%s) AND payload <> ''""",
        (LetterKind.CHANGE, letters),
    )
    cursor.execute("UPDATE dead_letter_version SET payload = '' WHERE letter = ANY(%s)", (letters,))


_FULL = """
    (d.payload <> '' OR EXISTS (SELECT FROM dead_letter_version v WHERE v.letter = d.id AND v.payload <> ''))"""


def _document_letters(cursor: Cursor[Any], system: str, customer: str) -> list[int]:
    """The letters about the customer that hold something."""
    found = cursor.execute(
        f"SELECT id FROM dead_letter d WHERE system = %s AND document = %s AND {_FULL}",  # noqa: S608 - own constant
        (system, f"customer/{customer}"),
    )
    return [int(id_) for (id_,) in found.fetchall()]


def _change_letters(
    cursor: Cursor[Any], system: str, customer: str, name: object, tables: Iterable[TableSpec]
) -> Iterator[int]:
    """The letters about a change of the customer's personal rows, or that hold its name, as far as they can be told.

    What they hold could not be read, so it is searched as text: for the column that names the customer, and for the
    name. Their keys are those of the rows; the mirror says whose these are.
    """
    personal = {one.name: one.personal for one in tables if one.personal is not None}
    asked = cursor.execute(
        f"SELECT id FROM dead_letter d WHERE system = %s AND kind = %s AND {_FULL} ORDER BY id",  # noqa: S608 - as above
        (system, LetterKind.CHANGE),
    )
    for (id_,) in asked.fetchall():
        # One by one: each may be long.
        found = cursor.execute(
            """SELECT origin, key, payload FROM dead_letter WHERE id = %(id)s UNION ALL
               SELECT '', NULL, payload FROM dead_letter_version WHERE letter = %(id)s""",
            {"id": id_},
        ).fetchall()
        origin, key = next((origin, key) for origin, key, _ in found if origin)
        texts = [str(payload) for _, _, payload in found]
        whose = {table: column for table, column in personal.items() if _says_table(origin, texts, table)}
        if (
            any(_holds_name(text, name) for text in texts)
            or any(column != KEY and _names(text, column, customer) for column in whose.values() for text in texts)
            or _is_row_of(cursor, system, customer, whose, _values(key))
        ):
            yield int(id_)


def _says_table(origin: str, texts: list[str], table: str) -> bool:
    word = re.compile(rf"(?<!\w){re.escape(table)}(?!\w)")
    return any(word.search(text) for text in (origin, *texts))


def _names(text: str, column: str, customer: str) -> bool:
    """Whether a message, or what is left of it, gives this value to the column; JSON in a string has backslashes."""
    quote = r'\\*"'
    said = rf"{quote}{re.escape(column)}{quote}\s*:\s*(?:{quote})?{re.escape(customer)}(?:{quote})?\s*(?:[,}}\]]|$)"
    return re.search(said, text) is not None


def _holds_name(text: str, name: object) -> bool:
    """Whether the name stands there, escaped or not; one of a single word only as a value of its own."""
    if not isinstance(name, str) or not name.strip():
        return False
    spelled = {name, json.dumps(name)[1:-1], json.dumps(name, ensure_ascii=False)[1:-1]}
    before, behind = (r"(?<!\w)", r"(?!\w)") if " " in name else (r'"', r'\\*"(?!\s*:)')
    return any(re.search(f"{before}{re.escape(one)}{behind}", text) for one in spelled)


def _values(key: str | None) -> list[str]:
    """The values of a message's key, which comes with its schema or without."""
    try:
        read = json.loads(key or "null")
    except ValueError:
        return []
    if isinstance(read, dict) and read.keys() == {"schema", "payload"}:
        read = read["payload"]
    return [str(one) for one in (read.values() if isinstance(read, dict) else [read]) if one is not None]


def _is_row_of(cursor: Cursor[Any], system: str, customer: str, whose: dict[str, str], keys: list[str]) -> bool:
    if any(column == KEY and customer in keys for column in whose.values()):
        return True
    for table, column in whose.items():
        row = cursor.execute(
            "SELECT FROM mirror WHERE system = %s AND tbl = %s AND key = ANY(%s) AND row ->> %s = %s LIMIT 1",
            (system, table, keys, column, customer),
        ).fetchone()
        if column != KEY and row is not None:
            return True
    return False
