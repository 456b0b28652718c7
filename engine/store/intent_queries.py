"""What the command line shows of the AR side's intents, the commands they caused, and the conflicts."""

import json
from typing import Any

from psycopg import Cursor


def list_intents(cursor: Cursor[Any], system: str | None, id_: str | None) -> list[dict[str, Any]]:
    """Intents in the order they came, all or the one with this id, with their commands and conflicts."""
    selected = {"system": system, "id": id_}
    commands: dict[tuple[str, str], list[dict[str, Any]]] = {}
    cursor.execute(
        """SELECT system, record::text, lease_until FROM command
           WHERE current AND (%(system)s::text IS NULL OR system = %(system)s)
             AND (%(id)s::text IS NULL OR intent = %(id)s) ORDER BY created_at, key""",
        selected,
    )
    for owner, text, lease in cursor:
        record = json.loads(text)
        commands.setdefault((owner, record["intent"]), []).append(_command(record, lease))
    conflicts: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for conflict in list_conflicts(cursor, system, None, intent=id_):
        named = {name: conflict[name] for name in ("id", "kind", "state", "choice", "sentence")}
        conflicts.setdefault((conflict["system"], conflict["intent"]), []).append(named)
    cursor.execute(
        """SELECT system, record::text FROM intent
           WHERE (%(system)s::text IS NULL OR system = %(system)s) AND (%(id)s::text IS NULL OR id = %(id)s)
           ORDER BY received_at, id""",
        selected,
    )
    return [
        _intent(owner, record, commands.get((owner, record["intent"]["id"]), []),
                conflicts.get((owner, record["intent"]["id"]), []))
        for owner, record in ((owner, json.loads(text)) for owner, text in cursor)
    ]  # fmt: skip


def list_conflicts(
    cursor: Cursor[Any], system: str | None, id_: str | None, *, intent: str | None = None
) -> list[dict[str, Any]]:
    """Conflicts in the order they were detected: all, the one with this id, or those about one intent."""
    cursor.execute(
        """SELECT system, record::text FROM conflict
           WHERE (%(system)s::text IS NULL OR system = %(system)s) AND (%(id)s::text IS NULL OR id = %(id)s)
             AND (%(intent)s::text IS NULL OR intent = %(intent)s)
           ORDER BY detected_at, id""",
        {"system": system, "id": id_, "intent": intent},
    )
    return [{"system": owner, **json.loads(text)} for owner, text in cursor]


def list_commands(cursor: Cursor[Any], system: str | None, *, unsent: bool) -> list[dict[str, Any]]:
    """Commands in the order in which they were decided; `unsent` are those that wait to be sent."""
    cursor.execute(
        """SELECT system, record::text, lease_until FROM command
           WHERE current AND (%(system)s::text IS NULL OR system = %(system)s)
             AND (NOT %(unsent)s OR state = 'pending')
           ORDER BY created_at, key""",
        {"system": system, "unsent": unsent},
    )
    return [
        {"system": owner, "intent": record["intent"], "customer": record["customer"], **_command(record, lease),
         "due_at": record["due_at"], "write": record["write"]}
        for owner, record, lease in ((owner, json.loads(text), lease) for owner, text, lease in cursor)
    ]  # fmt: skip


def _intent(
    system: str, record: dict[str, Any], commands: list[dict[str, Any]], conflicts: list[dict[str, Any]]
) -> dict[str, Any]:
    intent = record["intent"]
    return {
        "system": system,
        "id": intent["id"],
        "kind": intent["kind"],
        "state": record["state"],
        "reason": record["reason"],
        "received_at": record["received_at"],
        **{name: value for name, value in intent.items() if name not in ("id", "kind", "system")},
        "commands": commands,
        "conflicts": conflicts,
    }


def _command(record: dict[str, Any], lease: Any) -> dict[str, Any]:
    outcome = record["outcome"] or {}
    return {
        **{name: record[name] for name in ("key", "revision", "state", "sends", "sent_at", "reference", "echoed")},
        "answer": outcome.get("kind"),
        "answer_text": outcome.get("detail"),
        "lease_until": lease.isoformat() if lease else None,
    }
