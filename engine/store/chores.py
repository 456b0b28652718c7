"""Chores: what the reader is asked to do between two batches. Kept, so that it is done whoever asked, and once.

`arsync deadletters retry` and `arsync reconcile --repair` ask, from a process of their own; `engine.flow.chores`
carries them out in the daemon, where alone changes are applied.
"""

import datetime as dt
from enum import StrEnum
from typing import Any

import msgspec
from psycopg import Cursor

from engine.store.journal import Entry
from engine.store.unit import Unit


class ChoreKind(StrEnum):
    """What is asked for. The subject is a letter's id, or a document's name (`invoice/7`)."""

    RETRY_LETTER = "retry_letter"
    READ_AGAIN = "read_again"


class Chore(msgspec.Struct, frozen=True):
    """One chore as it stands; `told` is what came of it."""

    id: int
    kind: ChoreKind
    subject: str
    asked_by: str
    why: str
    asked_at: dt.datetime
    state: str
    told: str | None


_COLUMNS = "id, kind, subject, asked_by, why, asked_at, state, told"


def ask(work: Unit, kind: ChoreKind, subjects: list[str], by: str, why: str) -> list[int]:
    """Ask for a chore about each subject; one that is open already is the same one. Journalled; gives their ids."""
    if not subjects:
        return []
    ids = []
    for subject in subjects:
        row = work.cursor.execute(
            """INSERT INTO chore AS c (system, kind, subject, asked_by, why, asked_at) VALUES (%s, %s, %s, %s, %s, %s)
               ON CONFLICT (system, kind, subject) WHERE state = 'open' DO UPDATE SET why = c.why RETURNING id""",
            (work.system, kind, subject, by, why, work.now),
        ).fetchone()
        ids.append(int(row[0]) if row else 0)
    chosen = {"chore": str(kind), "subjects": subjects, "by": by, "why": why}
    work.note(Entry(f"{work.system}/operators", "choice", work.now, chosen, {}, []))
    return ids


def open_chores(cursor: Cursor[Any], system: str, limit: int) -> list[Chore]:
    """What is still to be done, oldest first."""
    cursor.execute(
        f"SELECT {_COLUMNS} FROM chore WHERE system = %s AND state = 'open' ORDER BY id LIMIT %s",  # noqa: S608
        (system, limit),
    )
    return [_chore(row) for row in cursor]


def by_id(cursor: Cursor[Any], ids: list[int]) -> list[Chore]:
    """These chores, however they stand."""
    cursor.execute(f"SELECT {_COLUMNS} FROM chore WHERE id = ANY(%s) ORDER BY id", (ids,))  # noqa: S608
    return [_chore(row) for row in cursor]


def end(work: Unit, id_: int, state: str, told: str) -> None:
    """It is `done`, or `failed`, and what came of it."""
    work.cursor.execute(
        "UPDATE chore SET state = %s, told = %s, done_at = %s WHERE id = %s", (state, told, work.now, id_)
    )


def _chore(row: Any) -> Chore:
    return Chore(row[0], ChoreKind(row[1]), *row[2:])
