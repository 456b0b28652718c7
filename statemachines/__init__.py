"""The ground: every life cycle of arsync, defined once and compiled to frozen tables."""

import hashlib
import json
from collections.abc import Mapping
from types import MappingProxyType

from statemachines.command import COMMAND, CommandState, CommandTrigger
from statemachines.conflict import CONFLICT, ConflictState, ConflictTrigger
from statemachines.definition import SAME, By, DefinitionError, Machine, State, Transition
from statemachines.dispute import DISPUTE, DisputeState, DisputeTrigger
from statemachines.intent import INTENT, IntentState, IntentTrigger
from statemachines.invoice import INVOICE, InvoiceState, InvoiceTrigger

MACHINES: Mapping[str, Machine] = MappingProxyType({
    machine.name: machine for machine in (INVOICE, INTENT, COMMAND, DISPUTE, CONFLICT)
})  # fmt: skip
"""All machines by name."""


def machines_version() -> str:
    """The versions of all machines with the first 48 bits of a digest of their tables.

    No transition can change unseen: an entry of the journal names the tables under which it was decided.
    """
    tables = {m.name: [m.version, m.initial, sorted([*pair, to] for pair, to in m.table.items())]
              for m in MACHINES.values()}  # fmt: skip
    text = json.dumps(tables, sort_keys=True, separators=(",", ":"))
    numbers = ".".join(str(machine.version) for machine in MACHINES.values())
    return f"{numbers}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


MACHINES_VERSION = machines_version()
"""Computed once, for the journal."""

__all__ = [
    "INTENT",
    "MACHINES",
    "MACHINES_VERSION",
    "SAME",
    "By",
    "CommandState",
    "CommandTrigger",
    "ConflictState",
    "ConflictTrigger",
    "DefinitionError",
    "DisputeState",
    "DisputeTrigger",
    "IntentState",
    "IntentTrigger",
    "InvoiceState",
    "InvoiceTrigger",
    "Machine",
    "State",
    "Transition",
    "machines_version",
]
