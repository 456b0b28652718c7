"""The log of what the AR side is told: reads it in order, keeps how far each feed has published, prunes what is old.

HTTP's feed and the publishers of topics read it; the unit of work alone writes it (`engine.store.telling`). Batches
of one system commit one after the other, so that whoever has read up to a batch has missed nothing before it.
"""

import datetime as dt
from collections.abc import Sequence
from typing import Any, Self

import msgspec
from psycopg import Cursor

from engine.model.outbound import OutEvent

_PRUNED_AT_ONCE = 10_000


class LostPlaceError(LookupError):
    """What follows this place is no longer kept, or the store was restored since: start from the documents."""


class Place(msgspec.Struct, frozen=True, order=True):
    """A place in a system's log: what is told next comes after it. `life` tells apart a store and what is restored
    of it."""

    life: int
    batch: int
    place: int

    def __str__(self) -> str:
        return f"{self.life}.{self.batch}.{self.place}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """A place out of its text; None when it is none."""
        parts = text.split(".")
        if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) <= 18 for part in parts):
            return None
        return cls(*map(int, parts))


class Log(msgspec.Struct, frozen=True):
    """A system's log: whole from `start` on; `end` is behind the last unit of work that is committed."""

    start: Place
    end: Place


def keep_log(cursor: Cursor[Any], system: str, *, wanted: bool) -> None:
    """Begin to write what a system tells the AR side, or end it; a log that is wanted already goes on."""
    if wanted:
        row = cursor.execute(
            "UPDATE system SET outbound_from = batch WHERE name = %s AND outbound_from IS NULL RETURNING name",
            (system,),
        ).fetchone()
    else:
        row = cursor.execute(
            "UPDATE system SET outbound_from = NULL WHERE name = %s AND outbound_from IS NOT NULL RETURNING name",
            (system,),
        ).fetchone()
    if row is not None:
        # Between two lives of a log things happened of which it knows nothing.
        cursor.execute("DELETE FROM outbound WHERE system = %s", (system,))
        cursor.execute("DELETE FROM feed_position WHERE system = %s", (system,))


def log_of(cursor: Cursor[Any], system: str) -> Log | None:
    """Where a system's log begins and ends; None when none is kept."""
    row = cursor.execute(
        """SELECT coalesce(extract(epoch FROM restored_at)::bigint, 0), outbound_from, batch FROM system
           WHERE name = %s AND outbound_from IS NOT NULL""",
        (system,),
    ).fetchone()
    return Log(Place(row[0], row[1] + 1, 0), Place(row[0], row[2] + 1, 0)) if row else None


def page(cursor: Cursor[Any], system: str, after: Place, limit: int) -> tuple[list[OutEvent], Place]:
    """The next events after a place, in order, and the place to go on from.

    Raises:
        LostPlaceError: not everything that follows the place is still there.
    """
    log = _log_with(cursor, system, after)
    cursor.execute(
        """SELECT id, kind, subject, at, batch, place, body FROM outbound
           WHERE system = %s AND (batch, place) > (%s, %s) ORDER BY batch, place LIMIT %s""",
        (system, after.batch, after.place, limit),
    )
    found = [
        (Place(after.life, batch, place), name, kind, subject, at, body)
        for name, kind, subject, at, batch, place, body in cursor
    ]
    # Where each statement sees what was committed before it, some of it may have been pruned in between.
    _log_with(cursor, system, after)
    events = [
        OutEvent(name, system, kind, subject, at.astimezone(dt.UTC), str(place), msgspec.Raw(body.encode()))
        for place, name, kind, subject, at, body in found
    ]
    last = found[-1][0] if found else after
    return events, last if len(found) == limit else max(last, log.end)


def _log_with(cursor: Cursor[Any], system: str, after: Place) -> Log:
    log = log_of(cursor, system)
    if log is None or after.life != log.start.life or not log.start <= after <= log.end:
        raise LostPlaceError(f"system {system}: what follows {after} is not kept")
    return log


def place_of(cursor: Cursor[Any], system: str, event: str) -> Place | None:
    """Where an event stands in the log, by its id; None when it is not kept."""
    log = log_of(cursor, system)
    stream, _, rest = event.removeprefix(f"{system}/").partition("/")
    seq = rest.split("/")[0]
    if log is None or not seq.isascii() or not seq.isdigit() or len(seq) > 18:
        return None
    row = cursor.execute(
        """SELECT o.batch, o.place FROM journal j JOIN outbound o ON o.system = j.system AND o.batch = j.batch
           WHERE j.stream = %s AND j.seq = %s AND o.system = %s AND o.id = %s""",
        (f"{system}/{stream}", int(seq), system, event),
    ).fetchone()
    return Place(log.start.life, *row) if row else None


class FeedPosition(msgspec.Struct, frozen=True):
    """How far a feed has published. `after_document`: documents of before are being published, from there on."""

    place: Place
    after_document: str | None = None


def load_feed(cursor: Cursor[Any], feed: str, system: str, log: Log) -> FeedPosition:
    """How far a feed has come; a new one, or one that has lost its place, begins with every document."""
    row = cursor.execute(
        "SELECT batch, place, after_document FROM feed_position WHERE feed = %s AND system = %s", (feed, system)
    ).fetchone()
    if row is None or row[0] < log.start.batch:
        return FeedPosition(log.start, "")
    return FeedPosition(Place(log.start.life, row[0], row[1]), row[2])


def save_feed(cursor: Cursor[Any], feed: str, system: str, position: FeedPosition, now: dt.datetime) -> None:
    """Keep how far a feed has published."""
    cursor.execute(
        """INSERT INTO feed_position (feed, system, batch, place, after_document, updated_at)
           VALUES (%s, %s, %s, %s, %s, %s)
           ON CONFLICT (feed, system) DO UPDATE SET batch = EXCLUDED.batch, place = EXCLUDED.place,
             after_document = EXCLUDED.after_document, updated_at = EXCLUDED.updated_at""",
        (feed, system, position.place.batch, position.place.place, position.after_document, now),
    )


def prune(cursor: Cursor[Any], system: str, before: dt.datetime, feeds: Sequence[str]) -> int:
    """Remove the oldest batches that are older than `before` and were published by all of these feeds.

    Returns how many events were removed, at most 10,000 or one batch; call it again until it returns 0.
    """
    published = cursor.execute(
        "SELECT count(*), min(batch) FROM feed_position WHERE feed = ANY(%s) AND system = %s", (list(feeds), system)
    ).fetchone()
    most = None
    if feeds:
        if published is None or published[0] < len(feeds):
            return 0
        most = published[1] - 1
    row = cursor.execute(
        """SELECT max(batch) FROM (
             SELECT batch, at FROM outbound WHERE system = %s ORDER BY batch, place LIMIT %s) oldest
           WHERE at < %s AND (%s::bigint IS NULL OR batch <= %s)""",
        (system, _PRUNED_AT_ONCE, before, most, most),
    ).fetchone()
    if row is None or row[0] is None:
        return 0
    cursor.execute(
        "UPDATE system SET outbound_from = %s WHERE name = %s AND outbound_from < %s", (row[0], system, row[0])
    )
    return cursor.execute("DELETE FROM outbound WHERE system = %s AND batch <= %s", (system, row[0])).rowcount


def load_inbox(cursor: Cursor[Any], feed: str) -> dict[str, int]:
    """The next message of each stream of the AR side."""
    cursor.execute("SELECT stream, position FROM inbox_position WHERE feed = %s", (feed,))
    return {str(stream): int(position) for stream, position in cursor}


def save_inbox(cursor: Cursor[Any], feed: str, positions: dict[str, int], now: dt.datetime) -> None:
    """Keep how far messages were read; committed with what they led to."""
    cursor.executemany(
        """INSERT INTO inbox_position (feed, stream, position, updated_at) VALUES (%s, %s, %s, %s)
           ON CONFLICT (feed, stream) DO UPDATE SET position = EXCLUDED.position, updated_at = EXCLUDED.updated_at""",
        [(feed, stream, position, now) for stream, position in positions.items()],
    )
