"""The outbox: which command may be worked on next, who holds its lease, and what a clock has to look at.

The dispatcher is the only caller. A lease keeps two workers off one command; it proves nothing about the ERP.
"""

import datetime as dt
from typing import Any

import msgspec
from psycopg import Cursor

from engine.model.records import NEVER
from engine.store.letters import PARKING_DEFECTS

_DUE = """
    SELECT c.key FROM command c
    WHERE c.system = %(system)s AND c.current AND c.due_at <= %(now)s
      AND c.state IN ('pending', 'unknown', 'part_done')
      AND (c.lease_until IS NULL OR c.lease_until < %(now)s)
      AND NOT EXISTS (
        SELECT 1 FROM dead_letter l WHERE l.system = c.system AND l.document = 'command/' || c.key
          AND ((l.state = 'dropped' AND l.closed_at >= c.due_at) OR (l.state = 'open' AND l.times >= %(parking)s)))
      AND (c.state <> 'pending' OR (%(sending)s AND NOT EXISTS (
        SELECT 1 FROM system s WHERE s.name = c.system AND s.paused_at IS NOT NULL)))
      AND (c.state <> 'pending' OR NOT EXISTS (
        SELECT 1 FROM command e
        WHERE e.system = c.system AND e.current AND e.customer = c.customer AND e.key <> c.key
          AND e.state IN ('pending', 'sent', 'unknown', 'stale', 'part_done', 'accepted')
          AND ((e.state IN ('sent', 'unknown', 'stale', 'part_done') AND e.due_at < %(never)s)
               OR (e.state = 'pending' AND (e.created_at, e.key) < (c.created_at, c.key))
               OR (e.state = 'accepted' AND EXISTS (
                 SELECT 1 FROM jsonb_array_elements(e.record -> 'write' -> 'allocations') theirs
                 JOIN jsonb_array_elements(c.record -> 'write' -> 'allocations') ours
                   ON theirs ->> 'invoice' = ours ->> 'invoice')))))
    ORDER BY c.state = 'pending', c.due_at, c.created_at, c.key
    LIMIT 1"""


class Due(msgspec.Struct, frozen=True):
    """What a clock has to look at, by command key, intent id or (`chosen`) conflict id.

    `dropped`: commands whose dead letter was dropped since they were due.
    """

    abandoned: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    unechoed: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    chosen: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return any(msgspec.structs.astuple(self))


def next_due(cursor: Cursor[Any], system: str, now: dt.datetime, *, sending: bool) -> str | None:
    """The key of a command that may be worked on, or None.

    Commands of one customer go out in the order in which they were decided, one at a time; one that pays an invoice
    waits until the change stream has shown what was paid on it before, for until then its guard is out of date.
    What has left comes first: nobody knows yet whether money moved. Then goes of several customers' commands which
    has been due for longest: one that is put back takes turns with the others, also while only one is let through at
    a time.
    Without `sending`, and while the system is paused, only what has left already is looked after. One that is parked
    by a dead letter, because the target failed on it again and again, is left alone until that is retried, or until
    people have chosen about it after that was dropped.
    """
    row = cursor.execute(
        _DUE, {"system": system, "now": now, "sending": sending, "parking": PARKING_DEFECTS, "never": NEVER}
    ).fetchone()
    return str(row[0]) if row else None


def claim(
    cursor: Cursor[Any], system: str, owner: str, now: dt.datetime, until: dt.datetime, *, sending: bool
) -> str | None:
    """Take the lease of the next command that is due; its row stays locked to the end of the transaction."""
    row = cursor.execute(
        f"{_DUE} FOR UPDATE OF c SKIP LOCKED",
        {"system": system, "now": now, "sending": sending, "parking": PARKING_DEFECTS, "never": NEVER},
    ).fetchone()
    if row is None:
        return None
    cursor.execute(
        "UPDATE command SET lease_owner = %s, lease_until = %s WHERE system = %s AND key = %s AND current",
        (owner, until, system, row[0]),
    )
    return str(row[0])


def release(cursor: Cursor[Any], system: str, owner: str, key: str | None = None) -> None:
    """Give back one lease of this owner, or all of them."""
    cursor.execute(
        """UPDATE command SET lease_owner = NULL, lease_until = NULL
           WHERE system = %s AND lease_owner = %s AND (%s::text IS NULL OR key = %s)""",
        (system, owner, key, key),
    )


def look_at_clock(cursor: Cursor[Any], system: str, now: dt.datetime, waited_since: dt.datetime) -> Due:
    """What is due by time alone. Intents wait for their documents since `waited_since` at the longest.

    An echo is overdue when the change stream has told everything until then without it, not while it stands still.
    """
    cursor.execute(
        """SELECT state, key, created_at AS since FROM command WHERE system = %(system)s AND current
             AND ((state = 'stale' AND due_at <= %(now)s)
                  OR (state = 'accepted' AND due_at <= %(now)s AND due_at <= coalesce(
                    (SELECT coalesce(told_until, 'epoch') FROM source_position p WHERE p.system = %(system)s),
                    %(now)s))
                  OR (state = 'sent' AND (lease_until IS NULL OR lease_until < %(now)s)))
           UNION ALL
           SELECT state, id, received_at FROM intent
           WHERE system = %(system)s AND state = 'waiting' AND received_at <= %(waited_since)s
           UNION ALL
           SELECT state, id, apply_at FROM conflict
           WHERE system = %(system)s AND state = 'chosen' AND apply_at <= %(now)s
           UNION
           SELECT 'dropped', c.key, c.created_at FROM dead_letter l
           JOIN command c ON c.system = l.system AND 'command/' || c.key = l.document AND c.current
           WHERE l.system = %(system)s AND l.kind = 'command' AND l.state = 'dropped' AND l.closed_at >= c.due_at
             AND c.state IN ('pending', 'unknown', 'part_done')
             AND (c.lease_until IS NULL OR c.lease_until < %(now)s)
           ORDER BY since, key""",
        {"system": system, "now": now, "waited_since": waited_since},
    )
    keys: dict[str, list[str]] = {"sent": [], "stale": [], "accepted": [], "waiting": [], "chosen": [], "dropped": []}
    for state, key, _ in cursor:
        keys[state].append(key)
    return Due(*(tuple(found) for found in keys.values()))


def sent_by_others(cursor: Cursor[Any], system: str, owner: str) -> list[str]:
    """Commands under way in the hands of another owner."""
    cursor.execute(
        """SELECT key FROM command WHERE system = %s AND current AND state = 'sent'
             AND lease_owner IS DISTINCT FROM %s ORDER BY created_at, key""",
        (system, owner),
    )
    return [str(key) for (key,) in cursor]


def forget_leases(cursor: Cursor[Any], system: str, owner: str) -> None:
    """Take away the leases of every other owner: only for who knows that they are gone."""
    cursor.execute(
        """UPDATE command SET lease_owner = NULL, lease_until = NULL
           WHERE system = %s AND current AND lease_owner IS DISTINCT FROM %s AND lease_owner IS NOT NULL""",
        (system, owner),
    )
