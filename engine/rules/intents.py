"""Decides on intents: plan, wait, hold or refuse; and decides again when the ERP's word has changed."""

import datetime as dt
from decimal import Decimal

import msgspec

from engine.model.canonical import short_digest, to_plain
from engine.model.commands import command_key
from engine.model.events import Planned
from engine.model.intents import Intent
from engine.model.records import CommandRecord, ConflictKind, IntentRecord, Match
from engine.rules.conflicts import Problem, first_by_precedence, raise_conflict
from engine.rules.desk import Desk
from engine.rules.plan import Plan, plan_payment
from engine.rules.policy import Choice
from statemachines import INTENT, CommandState, IntentState, IntentTrigger, InvoiceTrigger


def submit(desk: Desk, intent: Intent, at: dt.datetime) -> None:
    """Take a new intent. One whose id is known already changes nothing."""
    if desk.intent(intent.id) is not None:
        return
    desk.put_intent(IntentRecord(intent=intent, state=str(IntentState.RECEIVED), received_at=at))
    decide_intent(desk, intent.id, at)


def decide_intent(desk: Desk, intent_id: str, at: dt.datetime) -> None:
    """Plan an intent that has no command yet."""
    record = desk.intent(intent_id)
    if record is None:
        return
    plan = plan_payment(desk, record.intent, command=None)
    if plan.unknown:
        if record.state == IntentState.RECEIVED:
            desk.move_intent(intent_id, "wait", f"waiting for {', '.join(plan.unknown)}")
        return
    if plan.problems:
        choice = _raise(desk, plan, at, record, None)
        if choice is not Choice.REBASE:
            stop_intent(desk, record.id, choice, str(first_by_precedence(list(plan.problems))[0].kind))
            return
        plan = plan_payment(desk, record.intent, command=None, accept_stale=True)
    if plan.write is not None:
        _put_command(desk, record, plan, at, ordinal=0)
        desk.move_intent(
            intent_id, "plan", invoices=plan.invoices, commands=(command_key(desk.system, intent_id, 0),)
        )


def recheck_command(
    desk: Desk, key: str, at: dt.datetime, *, patient: bool = False, due_at: dt.datetime | None = None
) -> bool:
    """Decide a command again on the present word of the ERP, before it is sent or after it proved stale.

    Returns whether it may still be sent as it stands (a stale one is pending again then, due now or at `due_at`).
    When `patient`, a stale command whose facts are the same waits on for a guard other than the one refused.
    """
    command = desk.command(key)
    intent = desk.intent(command.intent) if command else None
    if command is None or intent is None:
        return False
    plan = plan_payment(desk, _as_decided(intent.intent, command), command=key)
    if plan.write is not None:
        if command.state == CommandState.STALE:
            if patient and command.sent_guard == guard_digest(desk, command):
                return False
            desk.move_command(key, "renew_guard", due_at=due_at or at)
        return True
    problems = plan.problems or _vanished(plan)
    choice = _raise(desk, Plan(problems=problems), at, intent, command)
    if command.state == CommandState.PENDING and command.sends:
        # Superseding straight out of `pending` is for what never left.
        desk.move_command(key, "find_stale", "facts changed")
    desk.move_command(key, "supersede", "facts changed")
    if choice is Choice.REBASE:
        again = plan_payment(desk, intent.intent, command=key, accept_stale=True)
        if again.write is not None:
            _put_command(desk, intent, again, at, ordinal=command.ordinal, before=command)
            return False
    end_matches(desk, command, "superseded")
    stop_intent(desk, intent.id, choice, str(first_by_precedence(list(problems))[0].kind))
    return False


def guard_digest(desk: Desk, command: CommandRecord) -> str:
    """A digest of the tokens that the mirror knows of everything that a command depends on."""
    records = [desk.invoice(allocation.invoice) for allocation in command.write.allocations]
    return short_digest([record.guard for record in records if record is not None])


def give_up_waiting(desk: Desk, intent_id: str, at: dt.datetime) -> None:
    """The ERP never told of a document that an intent names."""
    record = desk.intent(intent_id)
    if record is None or record.state != IntentState.WAITING:
        return
    plan = plan_payment(desk, record.intent, command=None)
    if not plan.unknown:
        decide_intent(desk, intent_id, at)
        return
    problem = _vanished(plan)[0]
    choice = raise_conflict(desk, problem, at, intent=record)
    stop_intent(desk, intent_id, choice, str(problem.kind))


def stop_intent(desk: Desk, intent_id: str, choice: Choice, reason: str) -> None:
    """Refuse an intent or hold it. One that stands there already, or has ended, only learns the further reason."""
    record = desk.intent(intent_id)
    if record is None:
        return
    trigger = IntentTrigger.REFUSE if choice is Choice.ACCEPT_ERP else IntentTrigger.HOLD
    stopped = record.reason and record.state not in (IntentState.RECEIVED, IntentState.WAITING, IntentState.PLANNED)
    known = record.reason.split(", ") if stopped and record.reason else []
    reasons = ", ".join(dict.fromkeys([*known, reason]))
    if INTENT.next(record.state, trigger) is not None:
        desk.move_intent(intent_id, trigger, reasons)
    elif reasons != record.reason:
        desk.put_intent(msgspec.structs.replace(record, reason=reasons))


def end_matches(desk: Desk, command: CommandRecord, reason: str) -> None:
    """Take a command's money off the invoices that it was on its way to."""
    for allocation in command.write.allocations:
        end_match(desk, allocation.invoice, command.key, reason)


def lower_match(desk: Desk, invoice: str, command: str, left: Decimal) -> None:
    """A part of a command's money has arrived: only the rest is still on its way."""
    record = desk.invoice(invoice)
    if record is not None:
        matches = tuple(Match(command, left) if m.command == command else m for m in record.matches)
        desk.put_invoice(msgspec.structs.replace(record, matches=matches))


def end_match(desk: Desk, invoice: str, command: str, reason: str) -> None:
    """Take one match off; the last one's end is a step of the invoice."""
    record = desk.invoice(invoice)
    if record is None or all(match.command != command for match in record.matches):
        return
    left = tuple(match for match in record.matches if match.command != command)
    desk.put_invoice(msgspec.structs.replace(record, matches=left))
    if not left:
        desk.move_invoice(record.key, InvoiceTrigger.MATCH_ENDED, reason)


def _put_command(
    desk: Desk,
    intent: IntentRecord,
    plan: Plan,
    at: dt.datetime,
    *,
    ordinal: int,
    before: CommandRecord | None = None,
) -> None:
    assert plan.write is not None  # noqa: S101 - callers checked it; said again for the type checker
    key = command_key(desk.system, intent.id, ordinal)
    command = CommandRecord(
        key=key,
        revision=before.revision + 1 if before else 1,
        intent=intent.id,
        ordinal=ordinal,
        customer=intent.intent.customer,
        state=str(CommandState.PENDING),
        write=plan.write,
        created_at=before.created_at if before else at,
        due_at=at,
        sends=before.sends if before else 0,
        stales=before.stales if before else 0,
        fence=before.fence + 1 if before else 0,
        echoed=before.echoed if before else {},
    )
    desk.put_command(command)
    desk.say(Planned(key, command.revision, intent.id, to_plain(plan.write)))
    for allocation in plan.write.allocations:
        record = desk.invoice(allocation.invoice)
        # A rebased command keeps its match, and with it its place ahead of what was decided later.
        if record is not None and all(match.command != key for match in record.matches):
            desk.put_invoice(
                msgspec.structs.replace(record, matches=(*record.matches, Match(key, allocation.amount)))
            )
            desk.move_invoice(record.key, InvoiceTrigger.MATCH)


def _as_decided(intent: Intent, command: CommandRecord) -> Intent:
    """The intent with the versions on which its command was decided in place of the author's."""
    versions = {a.invoice: a.version for a in command.write.allocations}
    numbers = {a.number: a.version for a in command.write.allocations if a.number}
    allocations = tuple(
        msgspec.structs.replace(a, basis=versions.get(a.invoice) or numbers.get(a.invoice) or a.basis)
        for a in intent.allocations
    )
    return msgspec.structs.replace(intent, allocations=allocations)


def _vanished(plan: Plan) -> tuple[Problem, ...]:
    names = ", ".join(plan.unknown)
    sentence = f"The ERP has told nothing of {names} within the time that an intent may wait."
    return (Problem(ConflictKind.UNKNOWN_DOCUMENT, "plan.unknown", sentence),)


def _raise(desk: Desk, plan: Plan, at: dt.datetime, intent: IntentRecord, command: CommandRecord | None) -> Choice:
    problem, tags = first_by_precedence(list(plan.problems))
    # Deciding again makes sense only where nothing but the basis is in the way.
    stale = problem.kind is ConflictKind.STALE_BASIS and not tags
    able = (Choice.ACCEPT_ERP, Choice.REBASE) if stale else (Choice.ACCEPT_ERP,)
    return raise_conflict(desk, problem, at, intent=intent, command=command, tags=tags, able=able)
