"""The ground: every life cycle of arsync, defined once and compiled to frozen tables."""

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

__all__ = [
    "MACHINES",
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
]
