"""Pages of intents with their commands and conflicts, and of conflicts; for HTTP."""

from collections.abc import Sequence
from typing import Any

import msgspec
from psycopg import Cursor

from engine.model.records import CommandRecord, ConflictRecord, IntentRecord
from engine.store.records import load_commands, load_conflicts

_INTENT = msgspec.json.Decoder(IntentRecord)
_CONFLICT = msgspec.json.Decoder(ConflictRecord)


class WholeIntent(msgspec.Struct, frozen=True):
    """An intent with the newest revision of each of its commands, and its conflicts."""

    record: IntentRecord
    commands: list[CommandRecord]
    conflicts: list[ConflictRecord]


def intent_page(cursor: Cursor[Any], system: str, after: str, limit: int, state: str | None) -> list[WholeIntent]:
    """The next intents after an id, in the order of their ids; of one state, or all."""
    cursor.execute(
        """SELECT record::text FROM intent WHERE system = %s AND id > %s AND (%s::text IS NULL OR state = %s)
           ORDER BY id LIMIT %s""",
        (system, after, state, state, limit),
    )
    return _whole(cursor, system, [_INTENT.decode(text) for (text,) in cursor])


def one_intent(cursor: Cursor[Any], system: str, name: str) -> WholeIntent | None:
    """An intent by its id."""
    cursor.execute("SELECT record::text FROM intent WHERE system = %s AND id = %s", (system, name))
    return next(iter(_whole(cursor, system, [_INTENT.decode(text) for (text,) in cursor])), None)


def conflict_page(
    cursor: Cursor[Any], system: str, after: str, limit: int, state: str | None
) -> list[ConflictRecord]:
    """The next conflicts after an id, in the order of their ids; of one state, or all."""
    cursor.execute(
        """SELECT record::text FROM conflict WHERE system = %s AND id > %s AND (%s::text IS NULL OR state = %s)
           ORDER BY id LIMIT %s""",
        (system, after, state, state, limit),
    )
    return [_CONFLICT.decode(text) for (text,) in cursor]


def one_conflict(cursor: Cursor[Any], system: str, name: str) -> ConflictRecord | None:
    """A conflict by its id."""
    row = cursor.execute("SELECT record::text FROM conflict WHERE system = %s AND id = %s", (system, name)).fetchone()
    return _CONFLICT.decode(row[0]) if row else None


def _whole(cursor: Cursor[Any], system: str, records: Sequence[IntentRecord]) -> list[WholeIntent]:
    names = [record.id for record in records]
    commands = load_commands(cursor, system, (key for record in records for key in record.commands))
    conflicts = load_conflicts(cursor, system, names) if names else {}
    return [
        WholeIntent(
            record,
            sorted((c for c in commands.values() if c.intent == record.id), key=lambda c: c.ordinal),
            sorted((c for c in conflicts.values() if c.intent == record.id), key=lambda c: (c.detected_at, c.id)),
        )
        for record in records
    ]
