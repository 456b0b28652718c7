"""Dead letters: what could not be processed, kept whole with its reason until somebody mends, retries or drops it.

Pipeline, intake and dispatcher keep letters inside their unit of work; `arsync deadletters` works them. One open
letter stands for one cause, however often it repeats; what a letter parks is named in `document`.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

import msgspec
from psycopg import Cursor

from engine.model.canonical import short_digest
from engine.store.journal import Entry
from engine.store.unit import Unit

PARKING_DEFECTS = 3
"""How often a target must have failed on one command before it is parked."""
WHOLE = 1 << 20
"""Characters of a payload that are kept; a longer one is cut, and its reason says so."""


class LetterKind(StrEnum):
    """What could not be processed."""

    CHANGE = "change"
    DOCUMENT = "document"
    INTENT = "intent"
    COMMAND = "command"


class Letter(msgspec.Struct, frozen=True):
    """A dead letter as it stands. `version` counts its payloads; `times` how often its cause has come up."""

    id: int
    system: str
    kind: LetterKind
    document: str | None
    origin: str
    reason: str
    payload: str
    key: str | None
    state: str
    times: int
    version: int
    at: dt.datetime
    last_at: dt.datetime | None
    closed_at: dt.datetime | None = None
    closed_by: str | None = None
    closed_why: str | None = None


class Filter(msgspec.Struct, frozen=True):
    """Which letters: by id, or by all that is given. `reason` and `document` are parts of those texts."""

    system: str | None = None
    ids: tuple[int, ...] = ()
    kind: str | None = None
    state: str | None = "open"
    document: str | None = None
    reason: str | None = None


class LetterClosedError(RuntimeError):
    """The letter is no longer open: nothing is left to do about it."""


_COLUMNS = (
    "id, system, kind, document, origin, reason, payload, key, state, times, version, at, last_at, closed_at,"
    " closed_by, closed_why"
)
_WHERE = """(%(system)s::text IS NULL OR system = %(system)s) AND (%(state)s::text IS NULL OR state = %(state)s)
    AND (%(kind)s::text IS NULL OR kind = %(kind)s) AND (%(ids)s::bigint[] IS NULL OR id = ANY(%(ids)s))
    AND (%(document)s::text IS NULL OR strpos(coalesce(document, ''), %(document)s) > 0)
    AND (%(reason)s::text IS NULL OR strpos(lower(reason), lower(%(reason)s)) > 0)"""


def keep(
    cursor: Cursor[Any],
    system: str,
    now: dt.datetime,
    kind: LetterKind,
    *,
    origin: str,
    reason: str,
    payload: str,
    document: str | None = None,
    key: str | None = None,
) -> int:
    """Keep what could not be processed; gives the letter's id. The same cause again is counted, not kept again.

    A payload that nobody has edited follows its cause: of a parked document its rows as they are now.
    """
    cause = document if kind is not LetterKind.CHANGE and document else short_digest((kind, origin, key, payload))
    if len(payload) > WHOLE:
        reason = f"{reason} (its first {WHOLE} of {len(payload)} characters are kept)"
    row = cursor.execute(
        """INSERT INTO dead_letter AS d (system, kind, document, origin, reason, payload, key, cause, at, last_at)
           VALUES (%(system)s, %(kind)s, %(document)s, %(origin)s, %(reason)s, %(payload)s, %(key)s, %(cause)s,
                   %(now)s, %(now)s)
           ON CONFLICT (system, cause) WHERE state = 'open' DO UPDATE
             SET times = d.times + 1, last_at = EXCLUDED.last_at, reason = EXCLUDED.reason,
                 payload = CASE WHEN d.version = 1 THEN EXCLUDED.payload ELSE d.payload END
           RETURNING id""",
        {"system": system, "kind": kind, "document": document, "origin": _clean(origin), "reason": _clean(reason),
         "payload": _clean(payload)[:WHOLE], "key": key, "cause": cause, "now": now},
    ).fetchone()  # fmt: skip
    return int(row[0]) if row else 0


def knows(cursor: Cursor[Any], system: str, origin: str) -> bool:
    """Whether a letter about what came from there was kept, open or closed."""
    row = cursor.execute(
        "SELECT 1 FROM dead_letter WHERE system = %s AND origin = %s LIMIT 1", (system, origin)
    ).fetchone()
    return row is not None


def heal(cursor: Cursor[Any], system: str, now: dt.datetime, documents: Iterable[str]) -> None:
    """What these documents' letters complained of is over: they are readable, taken or answered again."""
    names = sorted(set(documents))
    if names:
        cursor.execute(
            """UPDATE dead_letter SET state = 'healed', closed_at = %s, closed_by = 'arsync',
                 closed_why = 'it could be processed again'
               WHERE system = %s AND document = ANY(%s) AND state = 'open'""",
            (now, system, names),
        )


def open_documents(cursor: Cursor[Any], system: str) -> list[str]:
    """The documents, as `kind/key`, that wait for somebody because they could not be read."""
    cursor.execute(
        """SELECT document FROM dead_letter
           WHERE system = %s AND state = 'open' AND kind = %s AND document IS NOT NULL""",
        (system, LetterKind.DOCUMENT),
    )
    return [str(name) for (name,) in cursor]


def count_open(cursor: Cursor[Any], system: str) -> int:
    """How many letters wait for somebody about what the ERP tells; what the AR side sends says nothing about that."""
    row = cursor.execute(
        "SELECT count(*) FROM dead_letter WHERE system = %s AND state = 'open' AND kind = ANY(%s)",
        (system, [LetterKind.CHANGE, LetterKind.DOCUMENT]),
    ).fetchone()
    return int(row[0]) if row else 0


def find(cursor: Cursor[Any], wanted: Filter, *, limit: int | None = None) -> list[Letter]:
    """Letters in the order in which they were kept."""
    cursor.execute(
        f"SELECT {_COLUMNS} FROM dead_letter WHERE {_WHERE} ORDER BY id LIMIT %(limit)s",  # noqa: S608 - own constants
        {**msgspec.structs.asdict(wanted), "ids": list(wanted.ids) or None, "limit": limit},
    )
    return [Letter(row[0], row[1], LetterKind(row[2]), *row[3:]) for row in cursor]


def versions(cursor: Cursor[Any], letter: int) -> list[dict[str, Any]]:
    """The payloads that edits have replaced, oldest first."""
    cursor.execute(
        "SELECT version, payload, at, by, why FROM dead_letter_version WHERE letter = %s ORDER BY version", (letter,)
    )
    return [
        {"version": number, "payload": payload, "replaced_at": at.isoformat(), "by": by, "why": why}
        for number, payload, at, by, why in cursor
    ]


def edit(work: Unit, id_: int, payload: str, by: str, why: str) -> int:
    """Put a new payload in place of the old one, which is kept; gives the new version. Journalled.

    Raises:
        LetterClosedError: it is not open, or somebody closed it meanwhile.
    """
    cursor = work.cursor
    row = cursor.execute(
        "SELECT version, payload FROM dead_letter WHERE system = %s AND id = %s AND state = 'open' FOR UPDATE",
        (work.system, id_),
    ).fetchone()
    if row is None:
        raise LetterClosedError(f"dead letter {id_} is not open any more; `arsync deadletters show {id_}` says why")
    version, old = row
    cursor.execute(
        "INSERT INTO dead_letter_version (letter, version, payload, at, by, why) VALUES (%s, %s, %s, %s, %s, %s)",
        (id_, version, old, work.now, by, why),
    )
    cursor.execute("UPDATE dead_letter SET payload = %s, version = %s WHERE id = %s", (payload, version + 1, id_))
    chosen = {"deadletter": id_, "edit": short_digest(payload), "version": version + 1, "by": by, "why": why}
    work.note(Entry(f"{work.system}/operators", "choice", work.now, chosen, {}, []))
    return int(version) + 1


def close(work: Unit, ids: Sequence[int], state: str, by: str, why: str) -> list[int]:
    """Close open letters as `retried` or `dropped`; gives those that were open. Journalled."""
    rows = work.cursor.execute(
        """UPDATE dead_letter SET state = %s, closed_at = %s, closed_by = %s, closed_why = %s
           WHERE system = %s AND id = ANY(%s) AND state = 'open' RETURNING id""",
        (state, work.now, by, why, work.system, list(ids)),
    ).fetchall()
    closed = sorted(int(id_) for (id_,) in rows)
    if closed:
        chosen = {"deadletters": closed, "choice": state, "by": by, "why": why}
        work.note(Entry(f"{work.system}/operators", "choice", work.now, chosen, {}, []))
    return closed


def _clean(text: str) -> str:
    """Text that PostgreSQL stores."""
    return text.replace("\x00", "\ufffd")
