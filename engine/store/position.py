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
    """Where a system's source stands. `snapshot` is being read, or, when `snapshot_complete`, was read last.

    Everything that the ERP did until `told_until` has been told; None until something was.
    """

    epoch: str
    resume: dict[str, Any] | None
    commit: int = 0
    source_us: int = 0
    snapshot: str | None = None
    snapshot_complete: bool = False
    updated_at: dt.datetime | None = None
    told_until: dt.datetime | None = None

    @property
    def whole(self) -> bool:
        """Whether a snapshot is told to its end, or the log was read from its beginning."""
        return self.snapshot_complete or (self.snapshot is None and self.commit > 0)


def load_position(cursor: Cursor[Any], system: str) -> StoredPosition | None:
    """The stored position, or None before the first batch."""
    row = cursor.execute(
        """SELECT epoch, resume, commit_lsn, source_us, snapshot, snapshot_complete, updated_at, told_until
           FROM source_position WHERE system = %s""",
        (system,),
    ).fetchone()
    return StoredPosition(*row) if row else None


def save_position(cursor: Cursor[Any], system: str, position: StoredPosition, now: dt.datetime) -> None:
    """Replace the stored position."""
    cursor.execute(
        """INSERT INTO source_position
             (system, epoch, resume, commit_lsn, source_us, snapshot, snapshot_complete, updated_at, told_until)
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
           ON CONFLICT (system) DO UPDATE SET epoch = EXCLUDED.epoch, resume = EXCLUDED.resume,
             commit_lsn = EXCLUDED.commit_lsn, source_us = EXCLUDED.source_us, snapshot = EXCLUDED.snapshot,
             snapshot_complete = EXCLUDED.snapshot_complete, updated_at = EXCLUDED.updated_at,
             told_until = EXCLUDED.told_until""",
        (system, position.epoch, Jsonb(position.resume), position.commit, position.source_us, position.snapshot,
         position.snapshot_complete, now, position.told_until),
    )  # fmt: skip


def told_until(cursor: Cursor[Any], system: str) -> dt.datetime | None:
    """Until when everything was told: 1970 before anything was, None for a system that has no source."""
    row = cursor.execute(
        "SELECT coalesce(told_until, 'epoch') FROM source_position WHERE system = %s", (system,)
    ).fetchone()
    return row[0] if row else None


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
