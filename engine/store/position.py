"""How far a source was read, and the records whose transaction is still open. Committed with the effects."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

import msgspec
from psycopg import Cursor
from psycopg.types.json import Jsonb

from engine.model.change import Record
from engine.store.bulk import append

_DECODER = msgspec.json.Decoder(Record)
_ENCODER = msgspec.json.Encoder()


class StoredPosition(msgspec.Struct, frozen=True):
    """Where a system's source stands. `snapshot` is being read, or, when `snapshot_complete`, was read last."""

    epoch: str
    resume: dict[str, Any] | None
    commit: int = 0
    source_us: int = 0
    snapshot: str | None = None
    snapshot_complete: bool = False
    updated_at: dt.datetime | None = None


def load_position(cursor: Cursor[Any], system: str) -> StoredPosition | None:
    """The stored position, or None before the first batch."""
    row = cursor.execute(
        """SELECT epoch, resume, commit_lsn, source_us, snapshot, snapshot_complete, updated_at
           FROM source_position WHERE system = %s""",
        (system,),
    ).fetchone()
    return StoredPosition(*row) if row else None


def save_position(cursor: Cursor[Any], system: str, position: StoredPosition, now: dt.datetime) -> None:
    """Replace the stored position."""
    cursor.execute(
        """INSERT INTO source_position
             (system, epoch, resume, commit_lsn, source_us, snapshot, snapshot_complete, updated_at)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
           ON CONFLICT (system) DO UPDATE SET epoch = EXCLUDED.epoch, resume = EXCLUDED.resume,
             commit_lsn = EXCLUDED.commit_lsn, source_us = EXCLUDED.source_us, snapshot = EXCLUDED.snapshot,
             snapshot_complete = EXCLUDED.snapshot_complete, updated_at = EXCLUDED.updated_at""",
        (system, position.epoch, Jsonb(position.resume), position.commit, position.source_us, position.snapshot,
         position.snapshot_complete, now),
    )  # fmt: skip


def load_pending(cursor: Cursor[Any], system: str) -> list[Record]:
    """Records of open transactions, in arrival order."""
    cursor.execute("SELECT record::text FROM pending_record WHERE system = %s ORDER BY seq", (system,))
    return [_DECODER.decode(text) for (text,) in cursor]


def add_pending(cursor: Cursor[Any], system: str, records: Sequence[Record], first: int) -> None:
    """Append records of open transactions; `first` is the sequence of the first one."""
    rows = [(system, first + place, _ENCODER.encode(record).decode()) for place, record in enumerate(records)]
    append(cursor, "pending_record", ("system", "seq", "record"), rows)


def clear_pending(cursor: Cursor[Any], system: str) -> None:
    """Forget all records of open transactions; those still open are added again."""
    cursor.execute("DELETE FROM pending_record WHERE system = %s", (system,))
