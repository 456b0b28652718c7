"""Tells a conflict as a story: both sides, what happened when, what was said to the ERP, what each choice would do.

`arsync conflicts show` and the analyst's screen lay it out. Reads only; secrets never come this far, and what looks
like one in an ERP's answer is taken out.
"""

import datetime as dt
import re
from typing import Any

import msgspec
from psycopg import Cursor

from engine.flow.choosing import Explained, explain
from engine.model.records import ConflictRecord
from engine.rules.policy import Policy
from engine.store import conflict_queries as queries
from engine.store import records

_SECRETS = (
    re.compile(r"(?i)((?:password|passwd|pwd|secret|token|api[_-]?key|session)[\"']?\s*[=:]\s*)(\S+)"),
    re.compile(r"(?i)((?:bearer|basic)\s+)([\w.+/=~-]{8,})"),
    re.compile(r"(://[^/\s:@]+:)([^@\s/]+)(?=@)"),
)


class Happening(msgspec.Struct, frozen=True):
    """One thing that happened. `who` is `ERP`, `AR`, `arsync`, or a person; `position` is in the ERP's log."""

    at: dt.datetime
    who: str
    what: str
    position: int | None = None


class Compared(msgspec.Struct, frozen=True):
    """One line of the three columns; `differs` when the ERP says something else than was seen or is asked for."""

    name: str
    base: str | None
    ar: str | None
    erp: str | None
    differs: bool


class Story(msgspec.Struct, frozen=True):
    """Everything there is to know about one conflict."""

    system: str
    explained: Explained
    assignee: str | None
    columns: tuple[Compared, ...]
    timeline: tuple[Happening, ...]
    exchange: tuple[Happening, ...]
    notes: tuple[Happening, ...]


def tell(cursor: Cursor[Any], system: str, conflict: str, policy: Policy, now: dt.datetime) -> Story:
    """The story of a conflict. Raises UnknownConflictError."""
    explained = explain(cursor, system, conflict, policy, now)
    record = explained.conflict
    exchange = _exchange(cursor, system, record, now)
    notes = tuple(Happening(at, who, text) for at, who, text in queries.notes(cursor, system, conflict))
    return Story(
        system=system,
        explained=explained,
        assignee=queries.assignee_of(cursor, system, conflict),
        columns=compare(record),
        timeline=_timeline(cursor, system, record, exchange, notes),
        exchange=exchange,
        notes=notes,
    )


_ORDER = (
    "number", "customer", "currency", "total_amount", "open_amount", "amount", "due", "phase", "state", "blocked",
    "applied", "credit_limit", "limit", "replaces", "receivable", "date", "reference", "content_version", "read_at",
    "position",
)  # fmt: skip
_SAID_OF_BOTH = ("customer", "currency")


def compare(record: ConflictRecord) -> tuple[Compared, ...]:
    """The three columns, what people look for first on top."""
    names = {*record.base, *record.ar, *record.erp} - {"intent"}
    ordered = sorted(names, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))
    rows = (_compared(record, name) for name in ordered)
    return tuple(row for row in rows if (row.base, row.ar, row.erp) != (None, None, None))


def _compared(record: ConflictRecord, name: str) -> Compared:
    base, ar, erp = (_text(name, side.get(name)) for side in (record.base, record.ar, record.erp))
    apart = name in record.base and name in record.erp and base != erp
    contrary = name in _SAID_OF_BOTH and name in record.ar and name in record.erp and ar != erp
    noted = name in record.fields and name in record.erp
    return Compared(name, base, ar, erp, (apart or contrary or noted) and name not in ("read_at", "position"))


def _text(name: str, value: object) -> str | None:
    if value is None:
        return None
    return str(value)[:19].replace("T", " ") if name == "read_at" else str(value)


def _timeline(
    cursor: Cursor[Any], system: str, record: ConflictRecord, exchange: tuple[Happening, ...],
    notes: tuple[Happening, ...],
) -> tuple[Happening, ...]:  # fmt: skip
    found = list(notes)
    since = record.detected_at
    if record.intent is not None:
        known = records.load_intents(cursor, system, [record.intent]).get(record.intent)
        if known is not None:
            since = min(since, known.received_at)
            found.append(Happening(known.received_at, "AR", f"intent {record.intent} was submitted"))
    names = [name for name in record.documents if name.startswith("invoice/")]
    for at, document, trigger, source, to, reason, position in queries.steps_of(cursor, system, names):
        who = "ERP" if trigger.startswith("erp_") else ("AR" if trigger in ("match", "dispute") else "arsync")
        step = f"{source} -> {to}" if source != to else f"stays {to}"
        what = f"{document}: {trigger}, {step}{f' ({reason})' if reason else ''}"
        found.append(Happening(at, who, what, position))
    found += exchange
    found.append(Happening(record.detected_at, "arsync", f"conflict {record.kind} was detected by {record.rule}"))
    if record.chosen_at is not None and record.choice is not None:
        found.append(
            Happening(record.chosen_at, record.chosen_by or "arsync", f"chose {record.choice}: {record.why}")
        )
    if record.ended_at is not None:
        found.append(Happening(record.ended_at, "arsync", f"the conflict was {record.state}: {record.why}"))
    return tuple(sorted(found, key=lambda one: one.at))


def _exchange(cursor: Cursor[Any], system: str, record: ConflictRecord, now: dt.datetime) -> tuple[Happening, ...]:
    """What was sent and what came back, from the journal."""
    if record.command is None:
        return ()
    command = records.load_commands(cursor, system, keys=[record.command]).get(record.command)
    if command is None:
        return ()
    found: list[Happening] = []
    stream = f"{system}/outcomes"
    for at, kind, body in queries.journalled(cursor, stream, command.created_at, now, command.key):
        said = msgspec.json.decode(body)["input"]
        found += _said(at, kind, said, command.write.title, command.key)
    return tuple(found)


def _said(at: dt.datetime, kind: str, said: dict[str, Any], title: str, key: str) -> list[Happening]:
    if kind == "outcome" and said.get("command") == key:
        outcome = said["outcome"]
        text = f"answered {outcome['kind']}{': ' + without_secrets(outcome['detail']) if outcome['detail'] else ''}"
        return [Happening(at, "ERP", text)]
    if kind == "erp_read" and said.get("command") == key:
        found = said.get("found")
        proof = ", which proves its absence" if said.get("proves_absence") else ""
        text = f"key {key} was found as {found['reference']}" if found else f"key {key} was not found{proof}"
        return [Happening(at, "ERP", text)]
    if kind == "timer" and said.get("subject") == key and said.get("timer") == "send":
        return [Happening(at, "arsync", f"sent {title} under key {key}")]
    return []


def without_secrets(text: str) -> str:
    """A text without what looks like a password, a token or a session."""
    for pattern in _SECRETS:
        text = pattern.sub(r"\1***", text)
    return text
