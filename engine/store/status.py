"""How a system stands: how far its log was read, and how many of what stand where."""

import datetime as dt
from typing import Any

import msgspec
from psycopg import Cursor

from engine.store.brake import paused
from engine.store.drift import last_reconciliation
from engine.store.position import load_position

_COUNTED = {
    "invoices": "SELECT state, count(*) FROM invoice WHERE system = %s AND NOT deleted GROUP BY 1 ORDER BY 1",
    "intents": "SELECT state, count(*) FROM intent WHERE system = %s GROUP BY 1 ORDER BY 1",
    "commands": "SELECT state, count(*) FROM command WHERE system = %s AND current GROUP BY 1 ORDER BY 1",
    "conflicts": "SELECT state, count(*) FROM conflict WHERE system = %s GROUP BY 1 ORDER BY 1",
}


def systems(cursor: Cursor[Any]) -> list[str]:
    """The names of all systems in the store."""
    return [str(name) for (name,) in cursor.execute("SELECT name FROM system ORDER BY name")]


def connector_of(cursor: Cursor[Any], system: str) -> str:
    """The name of a system's connector."""
    row = cursor.execute("SELECT connector FROM system WHERE name = %s", (system,)).fetchone()
    return str(row[0]) if row else ""


def counts(cursor: Cursor[Any], system: str) -> dict[str, dict[str, int]]:
    """For invoices, intents, commands and conflicts: how many are in which state."""
    found = {what: dict(cursor.execute(query, (system,)).fetchall()) for what, query in _COUNTED.items()}
    for what, query in (
        ("documents_parked", "SELECT 'parked', count(*) FROM invoice WHERE system = %s AND parked IS NOT NULL"),
        ("dead_letters", "SELECT kind, count(*) FROM dead_letter WHERE system = %s AND state = 'open' GROUP BY 1"),
    ):
        found[what] = dict(cursor.execute(query, (system,)).fetchall())
    return found


def status(cursor: Cursor[Any], system: str) -> dict[str, Any]:
    """The whole picture. `lag_seconds` is what the last applied transaction took from the ERP's commit to ours."""
    position = load_position(cursor, system)
    oldest = cursor.execute(
        """SELECT min(created_at) FROM command
           WHERE system = %s AND current AND state IN ('pending', 'sent', 'unknown', 'stale', 'part_done')""",
        (system,),
    ).fetchone()
    verified = last_reconciliation(cursor, system)
    told = dt.datetime.fromtimestamp(position.source_us / 1e6, dt.UTC) if position and position.source_us else None
    applied = position.updated_at if position else None
    return {
        "system": system,
        "epoch": position.epoch if position else None,
        "position": position.commit if position else None,
        "snapshot_complete": position.snapshot_complete if position else False,
        "last_change_at": told.isoformat() if told else None,
        "last_commit_at": applied.isoformat() if applied else None,
        "lag_seconds": round((applied - told).total_seconds(), 3) if applied and told else None,
        "paused": msgspec.to_builtins(paused(cursor, system)),
        "reconciled": msgspec.to_builtins(verified),
        "oldest_open_command_at": oldest[0].isoformat() if oldest and oldest[0] else None,
        **counts(cursor, system),
    }
