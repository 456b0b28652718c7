"""What a decision leaves different: for each record the fields that have another value now.

The flow journals it with every entry, and replay computes it again: so that a fold needs no rules to know every
record, and a decision that comes out otherwise shows field by field. Pure, like the rules.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec.structs import astuple

from engine.model.canonical import same_bytes
from engine.model.records import CommandRecord, ConflictRecord, CustomerRecord, IntentRecord, InvoiceRecord
from engine.rules.desk import Decision, View

DOCUMENT = frozenset({"doc", "version", "guard"})
"""Fields of an invoice's or a customer's record that the entry's input tells already."""

ASKED = frozenset({"intent"})
"""The field of an intent's record that the entry's input holds."""

PLANNED = frozenset({"write"})
"""The field of a command's record that the effect `planned` holds."""

_NONE: frozenset[str] = frozenset()
_Record = InvoiceRecord | CustomerRecord | IntentRecord | CommandRecord | ConflictRecord


def left_different(view: View, decision: Decision) -> dict[str, dict[str, Any]]:
    """By `kind/key` (a command by `command/key/revision`) the fields that differ from the view's record.

    A new record's fields are those that are not as they begin. Records that are as before are left out.
    """
    after: dict[str, dict[str, Any]] = {}
    _compare(after, "invoice", decision.invoices, view.invoices, DOCUMENT)
    _compare(after, "customer", decision.customers, view.customers, DOCUMENT)
    _compare(after, "intent", decision.intents, view.intents, ASKED)
    for (key, revision), command in decision.commands.items():
        known = view.commands.get(key)
        before = known if known is not None and known.revision == revision else None
        _put(after, f"command/{key}/{revision}", before, command, PLANNED)
    _compare(after, "conflict", decision.conflicts, view.conflicts, _NONE)
    return after


def _compare(
    after: dict[str, dict[str, Any]],
    kind: str,
    records: Mapping[str, _Record],
    known: Mapping[str, _Record],
    told: frozenset[str],
) -> None:
    for key, record in records.items():
        _put(after, f"{kind}/{key}", known.get(key), record, told)


def _put(
    after: dict[str, dict[str, Any]], name: str, before: _Record | None, now: _Record, told: frozenset[str]
) -> None:
    fields = _different(before, now, told)
    if fields:
        after[name] = fields


def _different(before: _Record | None, now: _Record, told: Iterable[str]) -> dict[str, Any]:
    was = beginning(type(now)).values() if before is None else astuple(before)
    return {
        name: new
        for name, old, new in zip(now.__struct_fields__, was, astuple(now), strict=True)
        if old is not new and name not in told and not same_bytes(old, new)
    }


_BEGINNINGS: dict[type, dict[str, Any]] = {}


def beginning(kind: type) -> dict[str, Any]:
    """The values with which a record of this kind begins; NODEFAULT for a field that has none."""
    known = _BEGINNINGS.get(kind)
    if known is None:
        known = {
            field.name: field.default_factory() if field.default_factory is not msgspec.NODEFAULT else field.default
            for field in msgspec.structs.fields(kind)
        }
        _BEGINNINGS[kind] = known
    return known
