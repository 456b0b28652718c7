"""Turns a step that a machine does not have into a conflict, so that a refusal is seen and not only journalled.

Called at the end of every decision. Each one says that the ERP's facts, or an order of events, do not fit the life
that the tables describe: somebody must look at the document, or at the mapping.
"""

import datetime as dt

from engine.model.events import Refused
from engine.model.records import ConflictKind
from engine.rules.conflicts import Problem, raise_conflict
from engine.rules.desk import Desk

_SUBJECTS = ("invoice", "command", "intent")


def tell_refusals(desk: Desk, at: dt.datetime) -> None:
    """Raise one conflict for each subject that refused a step in this decision."""
    refused = [effect for effect in desk.out.effects if isinstance(effect, Refused) and effect.machine in _SUBJECTS]
    for subject in dict.fromkeys((one.machine, one.subject) for one in refused):
        machine, name = subject
        steps = [one for one in refused if (one.machine, one.subject) == subject]
        words = ", ".join(f"{one.trigger} in {one.state}" for one in steps)
        record = desk.invoice(name) if machine == "invoice" else None
        command = desk.command(name) if machine == "command" else None
        owner = command.intent if command else name
        intent = desk.intent(owner) if machine != "invoice" else None
        label = (record.doc.number or record.key) if record else name
        problem = Problem(
            ConflictKind.REFUSED_TRANSITION,
            f"machine.{machine}",
            f"{machine.capitalize()} {label} has no such step: {words}. Nothing was changed by it.",
            invoice=record,
            subject=f"{machine}/{name}",
            occasion=record.moves if record else (command.fence if command else 0),
        )
        raise_conflict(desk, problem, at, intent=intent, command=command, able=())
