"""Pausing a system, by a person or by the brake: kept in the store, so that it outlives every process.

A paused system is read, decided on and looked up as ever; only nothing new is sent.
"""

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec
from psycopg import Cursor

from engine.model.records import CommandRecord
from engine.store.journal import Entry
from engine.store.unit import Unit

_WINDOW = dt.timedelta(hours=1)


class Paused(msgspec.Struct, frozen=True):
    """Since when, by whom and why nothing is sent."""

    at: dt.datetime
    by: str
    why: str


def paused(cursor: Cursor[Any], system: str) -> Paused | None:
    """Whether the system is paused."""
    row = cursor.execute(
        "SELECT paused_at, paused_by, pause_reason FROM system WHERE name = %s AND paused_at IS NOT NULL", (system,)
    ).fetchone()
    return Paused(*row) if row else None


def pause(work: Unit, by: str, why: str) -> None:
    """Send nothing more until somebody resumes; journalled. One that is paused keeps its first reason."""
    changed = work.cursor.execute(
        """UPDATE system SET paused_at = %s, paused_by = %s, pause_reason = %s
           WHERE name = %s AND paused_at IS NULL""",
        (work.now, by, why, work.system),
    ).rowcount
    if changed:
        work.note(Entry(f"{work.system}/operators", "choice", work.now, {"pause": why, "by": by}))


def resume(work: Unit, by: str) -> bool:
    """Send again; what was sent before is forgotten by the brake. False when it was not paused."""
    changed = work.cursor.execute(
        """UPDATE system SET paused_at = NULL, paused_by = NULL, pause_reason = NULL, resumed_at = %s
           WHERE name = %s AND paused_at IS NOT NULL""",
        (work.now, work.system),
    ).rowcount
    if changed:
        work.note(Entry(f"{work.system}/operators", "choice", work.now, {"resume": True, "by": by}))
    return bool(changed)


def why_brake(
    cursor: Cursor[Any],
    system: str,
    now: dt.datetime,
    command: CommandRecord,
    *,
    commands_per_hour: int | None,
    money_per_hour: Mapping[str, Decimal],
) -> str | None:
    """Why sending this command would be too much within an hour; None when it is not."""
    amount, currency = command.write.amount, command.write.currency
    most = money_per_hour.get(currency)
    if commands_per_hour is None and most is None:
        return None
    row = cursor.execute(
        """SELECT count(*), coalesce(sum((c.record -> 'write' ->> 'amount')::numeric)
                                       FILTER (WHERE c.record -> 'write' ->> 'currency' = %s), 0)
           FROM command c JOIN system s ON s.name = c.system
           WHERE c.system = %s AND c.current AND c.key <> %s AND c.sent_at > greatest(%s, s.resumed_at)""",
        (currency, system, command.key, now - _WINDOW),
    ).fetchone()
    count, money = row or (0, Decimal(0))
    if commands_per_hour is not None and count + 1 > commands_per_hour:
        return f"{count} commands were sent within an hour, the limit is {commands_per_hour}"
    if most is not None and money + amount > most:
        return f"{money} {currency} were sent within an hour, {amount} more would pass the limit of {most}"
    return None
