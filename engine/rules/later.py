"""What the ERP's later word makes of disagreements: closes what has become moot, and sees a balance cross zero.

`invoices` calls it for every transaction told, once all its documents are taken in, and `decide` for every answer.
"""

import datetime as dt
from collections.abc import Set as AbstractSet

from engine.model.documents import Application, Invoice
from engine.model.records import CommandRecord, ConflictKind, ConflictRecord, IntentRecord, InvoiceRecord
from engine.rules.conflicts import Problem, dismiss, first_by_precedence, open_conflicts, raise_conflict
from engine.rules.desk import Desk
from engine.rules.intents import stop_intent
from engine.rules.plan import plan_intent
from statemachines import CommandState, IntentState, InvoiceState

_NOTHING_LEFT = (
    ConflictKind.VOIDED_TARGET,
    ConflictKind.CUSTOMER_MISMATCH,
    ConflictKind.DUPLICATE_RECEIPT,
    ConflictKind.ALREADY_CLEARED,
)
"""Kinds after which an intent cannot make sense any more, whatever stood in its way before."""
_NEVER_DONE = (CommandState.REJECTED, CommandState.SUPERSEDED)


def close_moot(desk: Desk, told: AbstractSet[str], at: dt.datetime) -> None:
    """Close what waits for people and has nothing left to choose, because of what these invoices are now.

    A held intent that the ERP has overtaken (paid by hand, cancelled) goes on as the policy says of that; the
    conflict that held it is dismissed with the ERP's word as the reason.
    """
    for conflict in open_conflicts(desk):
        if not told & {name.removeprefix("invoice/") for name in conflict.documents}:
            continue
        intent = desk.intent(conflict.intent) if conflict.intent else None
        if conflict.rule == "erp.below_zero":
            _close_when_repaid(desk, conflict, at)
        elif intent is not None and intent.state == IntentState.HELD and conflict.kind not in _NOTHING_LEFT:
            _overtaken(desk, intent, at)


def end_overtaken(desk: Desk, at: dt.datetime) -> None:
    """An intent that has just been held although the ERP had overtaken it before: while its command was under way."""
    for name, intent in sorted(desk.out.intents.items()):
        if intent.state != IntentState.HELD:
            continue
        if any(conflict.intent == name and conflict.kind not in _NOTHING_LEFT for conflict in open_conflicts(desk)):
            _overtaken(desk, intent, at)


def watch_zero(desk: Desk, old: InvoiceRecord | None, record: InvoiceRecord, at: dt.datetime) -> None:
    """More was applied to an invoice than it came to: by us and by hand, or by others alone."""
    doc = record.doc
    crossed = old is not None and old.state != InvoiceState.NEW and old.doc.balance >= 0 > doc.balance
    if not crossed:
        return
    ours = next(((one, c) for one in doc.applications if (c := desk.command(one.text)) is not None), None)
    twin = _twin(desk, doc, ours[0]) if ours else None
    command = ours[1] if ours else None
    intent = desk.intent(command.intent) if command else None
    name = doc.number or doc.key
    if twin is not None and ours is not None:
        kind, words = ConflictKind.DUPLICATE_RECEIPT, (
            f"The receipt of {twin.amount} {doc.currency} on invoice {name} stands twice in the ERP: once under key "
            f"{ours[0].text}, once as {twin.text or twin.item}; it is over-applied by {-doc.balance}."
        )  # fmt: skip
    else:
        kind, words = ConflictKind.OVER_APPLICATION, (
            f"More was applied to invoice {name} in the ERP than was open; {doc.balance} {doc.currency} is left."
        )  # fmt: skip
    problem = Problem(kind, "erp.below_zero", words, desk.invoice(record.key), ("open_amount",), -doc.balance)
    raise_conflict(desk, problem, at, intent=intent, command=command)


def _twin(desk: Desk, doc: Invoice, ours: Application) -> Application | None:
    others = (one for one in doc.applications if desk.command(one.text) is None)
    return next((one for one in others if one.amount == ours.amount), None)


def _close_when_repaid(desk: Desk, conflict: ConflictRecord, at: dt.datetime) -> None:
    record = desk.invoice((conflict.document or "").removeprefix("invoice/"))
    if record is not None and record.doc.balance >= 0:
        dismiss(desk, [conflict], f"the ERP has put it right: {record.doc.balance} is open", at)


def _overtaken(desk: Desk, intent: IntentRecord, at: dt.datetime) -> None:
    command = _idle_command(desk, intent)
    if intent.commands and command is None:
        return
    plan = plan_intent(
        desk, intent.intent, command=command.key if command else None, accept_stale=True, keys=intent.invoices
    )
    ends = [problem for problem in plan.problems if problem.kind in _NOTHING_LEFT]
    if not ends:
        return
    problem, tags = first_by_precedence(ends)
    mine = [conflict for conflict in open_conflicts(desk) if conflict.intent == intent.id]
    dismiss(desk, mine, f"the ERP has said since: {problem.sentence}", at)
    choice = raise_conflict(desk, problem, at, intent=intent, command=command, tags=tags)
    stop_intent(desk, intent.id, choice, str(problem.kind))


def _idle_command(desk: Desk, intent: IntentRecord) -> CommandRecord | None:
    """Its command, if nothing of it can be in the ERP."""
    command = desk.command(intent.commands[-1]) if intent.commands else None
    return command if command is not None and command.state in _NEVER_DONE and not command.echoed else None
