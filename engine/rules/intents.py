"""Decides on intents: plan, wait, hold or refuse; and decides again when the ERP's word has changed."""

import datetime as dt

import msgspec
from msgspec import UNSET

from engine.model.canonical import short_digest, to_plain
from engine.model.commands import ApplyReceipt, SetCreditLimit, Write, command_key
from engine.model.events import Planned
from engine.model.intents import ApplyPayment, Intent, Withdraw
from engine.model.intents import SetCreditLimit as SetLimit
from engine.model.records import CommandRecord, ConflictKind, IntentRecord
from engine.rules.claims import end_claims, put_claims
from engine.rules.conflicts import Problem, dismiss, first_by_precedence, open_conflicts, raise_conflict
from engine.rules.desk import Desk
from engine.rules.disputes import begin_dispute_step, drop_dispute
from engine.rules.plan import Plan, plan_intent
from engine.rules.policy import Choice
from statemachines import INTENT, CommandState, IntentState, IntentTrigger

_SETTLED = "the ERP has nothing to do for it any more"


def submit(desk: Desk, intent: Intent, at: dt.datetime) -> None:
    """Take a new intent. One whose id is known already changes nothing."""
    if desk.intent(intent.id) is not None:
        return
    desk.put_intent(IntentRecord(intent=intent, state=str(IntentState.RECEIVED), received_at=at))
    if isinstance(intent, Withdraw):
        _withdraw(desk, intent, at)
    else:
        decide_intent(desk, intent.id, at)


def decide_intent(desk: Desk, intent_id: str, at: dt.datetime) -> None:
    """Plan an intent that has no command yet."""
    record = desk.intent(intent_id)
    if record is None:
        return
    plan = plan_intent(desk, record.intent, command=None)
    if plan.unknown:
        if record.state == IntentState.RECEIVED:
            desk.move_intent(intent_id, "wait", f"waiting for {', '.join(plan.unknown)}")
        return
    if plan.problems:
        choice = _raise(desk, plan, at, record, None)
        if choice is not Choice.REBASE:
            stop_intent(desk, record.id, choice, str(first_by_precedence(list(plan.problems))[0].kind))
            return
        plan = plan_intent(desk, record.intent, command=None, accept_stale=True)
    _put_plan(desk, record, plan, at)


def decide_again(
    desk: Desk, intent_id: str, at: dt.datetime, *, rebase: bool, due_at: dt.datetime | None = None
) -> str | None:
    """Plan a held intent anew, as a person or a policy chose: under the same key, as the next revision.

    With `rebase` on the ERP's present word, else only while the facts are those that it was decided on. Only for one
    of which nothing can have reached the ERP, or of which what was sent was refused. Returns why it cannot be.
    """
    record = desk.intent(intent_id)
    if record is None:
        return f"There is no intent {intent_id}."
    before = desk.command(record.commands[-1]) if record.commands else None
    asked = record.intent if before is None or rebase else _as_decided(record.intent, before.write)
    plan = plan_intent(desk, asked, command=before.key if before else None, accept_stale=rebase, keys=record.invoices)
    if plan.unknown or plan.problems:
        problems = plan.problems or _vanished(plan)
        problem, _ = first_by_precedence(list(problems))
        hint = " Rebase decides on what the ERP says now." if problem.kind is ConflictKind.STALE_BASIS else ""
        return problem.sentence + hint
    if before is None or plan.write is None:
        _put_plan(desk, record, plan, at)
    else:
        _put_command(desk, record, plan.write, at, ordinal=before.ordinal, before=before, due_at=due_at)
        if record.state != IntentState.PLANNED:
            invoices = plan.invoices or record.invoices
            desk.move_intent(intent_id, "plan", "decided again by choice", invoices=invoices)
    return None


def still_right(desk: Desk, command: CommandRecord) -> bool:
    """Whether a command would be decided in the same way on what the ERP says now."""
    intent = desk.intent(command.intent)
    if intent is None:
        return False
    asked = _as_decided(intent.intent, command.write)
    plan = plan_intent(desk, asked, command=command.key, keys=intent.invoices)
    return plan.write is not None


def _put_plan(desk: Desk, record: IntentRecord, plan: Plan, at: dt.datetime) -> None:
    """Carry out a plan that nothing stands in the way of."""
    key = command_key(desk.system, record.id, 0)
    if not record.commands or desk.rules == 1:
        begin_dispute_step(desk, record.intent, plan.invoices, key)
    if plan.write is not None:
        _put_command(desk, record, plan.write, at, ordinal=0)
        desk.move_intent(record.id, "plan", invoices=plan.invoices, commands=(key,))
    elif plan.settled:
        desk.move_intent(record.id, "plan", "the ERP has nothing to do for it", invoices=plan.invoices)
        desk.move_intent(record.id, "finish")


def recheck_command(
    desk: Desk, key: str, at: dt.datetime, *, patient: bool = False, due_at: dt.datetime | None = None
) -> bool:
    """Decide a command again on the present word of the ERP, before it is sent or after it proved stale.

    Returns whether it may still be sent as it stands (a stale one is pending again then, due now or at `due_at`).
    When `patient`, a stale command whose facts are the same waits on for a guard other than the one refused. Where
    something else is to be written by now, that is the command's next revision; where nothing is, its intent is done.
    """
    command = desk.command(key)
    intent = desk.intent(command.intent) if command else None
    if command is None or intent is None:
        return False
    asked = _as_decided(intent.intent, command.write)
    plan = plan_intent(desk, asked, command=key, keys=intent.invoices)
    if plan.settled and desk.rules > 1:
        _supersede(desk, command, _SETTLED)
        _settle(desk, command, intent)
        return False
    if plan.write is not None or plan.settled:
        if command.state == CommandState.STALE and patient and command.sent_guard == guard_digest(desk, command):
            return False
        if plan.write is not None and desk.rules > 1 and _is_another(plan.write, command):
            _supersede(desk, command, "something else is to be written by now")
            _put_command(desk, intent, plan.write, at, ordinal=command.ordinal, before=command, due_at=due_at)
            return False
        if command.state == CommandState.STALE:
            desk.move_command(key, "renew_guard", due_at=due_at or at)
        return True
    problems = plan.problems or _vanished(plan)
    choice = _raise(desk, Plan(problems=problems), at, intent, command)
    _supersede(desk, command, "facts changed")
    if choice is Choice.REBASE:
        again = plan_intent(desk, intent.intent, command=key, accept_stale=True, keys=intent.invoices)
        if again.write is not None:
            _put_command(desk, intent, again.write, at, ordinal=command.ordinal, before=command)
            return False
        if again.settled and desk.rules > 1:
            _settle(desk, command, intent)
            return False
    end_claims(desk, command, "superseded")
    stop_intent(desk, intent.id, choice, str(first_by_precedence(list(problems))[0].kind))
    return False


def _supersede(desk: Desk, command: CommandRecord, why: str) -> None:
    if command.state == CommandState.PENDING and command.sends:
        # Superseding straight out of `pending` is for what never left.
        desk.move_command(command.key, "find_stale", why)
    desk.move_command(command.key, "supersede", why)


def _settle(desk: Desk, command: CommandRecord, intent: IntentRecord) -> None:
    """The ERP is as it was to be, or is to stay as it is: nothing of a superseded command is left to be done."""
    end_claims(desk, command, "superseded")
    desk.move_intent(intent.id, "finish", _SETTLED)


def _is_another(write: Write, command: CommandRecord) -> bool:
    """Whether something else is to be written than was planned; what shows in the ERP already stays as it is."""
    return not command.echoed and _essence(write) != _essence(command.write)


def _essence(write: Write) -> Write:
    """What a write will do, without the versions and numbers that it was decided on, and what stood there before."""
    if isinstance(write, ApplyReceipt):
        write = msgspec.structs.replace(write, before=UNSET)
    plain = tuple(msgspec.structs.replace(a, version="", number=None) for a in write.allocations)
    return msgspec.structs.replace(write, allocations=plain)


def guard_digest(desk: Desk, command: CommandRecord) -> str:
    """A digest of the tokens that the mirror knows of everything that a command depends on."""
    invoices = [desk.invoice(allocation.invoice) for allocation in command.write.allocations]
    guards = [record.guard for record in invoices if record is not None]
    customer = desk.customer(command.customer) if isinstance(command.write, SetCreditLimit) else None
    return short_digest([*guards, *([customer.guard] if customer else [])])


def _withdraw(desk: Desk, intent: Withdraw, at: dt.datetime) -> None:
    """Take another intent back, if nothing of it can have reached the ERP."""
    other = desk.intent(intent.intent)
    reason = None
    if other is None or (other.id == intent.id and desk.rules > 1):
        reason = f"there is no {'other ' if desk.rules > 1 else ''}intent {intent.intent}"
    elif other.intent.customer != intent.customer:
        reason = f"intent {intent.intent} is about customer {other.intent.customer}"
    elif INTENT.next(other.state, IntentTrigger.WITHDRAW) is None:
        reason = f"intent {intent.intent} is {other.state}"
    else:
        commands = [command for name in other.commands if (command := desk.command(name)) is not None]
        sent = [c for c in commands if c.sends and c.state not in (CommandState.REJECTED, CommandState.SUPERSEDED)]
        if sent:
            reason = f"its command {sent[0].key} may have reached the ERP; it is {sent[0].state}"
    if reason is not None or other is None:
        desk.move_intent(intent.id, "refuse", reason)
        return
    for command in commands:
        if command.state == CommandState.PENDING:
            desk.move_command(command.key, "withdraw", f"withdrawn by {intent.id}")
        elif command.state == CommandState.STALE:
            desk.move_command(command.key, "supersede", f"withdrawn by {intent.id}")
        end_claims(desk, command, "withdrawn")
    desk.move_intent(other.id, "withdraw", f"withdrawn by {intent.id}")
    if desk.rules > 1:
        drop_dispute(desk, other, f"withdrawn by {intent.id}")
    mine = [conflict for conflict in open_conflicts(desk) if conflict.intent == other.id]
    dismiss(desk, mine, f"intent {other.id} was withdrawn by {intent.id}", at)
    desk.move_intent(intent.id, "plan", invoices=other.invoices)
    desk.move_intent(intent.id, "finish")


def give_up_waiting(desk: Desk, intent_id: str, at: dt.datetime) -> None:
    """The ERP never told of a document that an intent names."""
    record = desk.intent(intent_id)
    if record is None or record.state != IntentState.WAITING:
        return
    plan = plan_intent(desk, record.intent, command=None)
    if not plan.unknown:
        decide_intent(desk, intent_id, at)
        return
    problem = _vanished(plan)[0]
    if isinstance(record.intent, SetLimit) and desk.customer(record.intent.customer) is not None and desk.rules > 1:
        # It is not unknown: another limit of ours is on its way, and it is not known what that one comes to.
        sentence = (
            f"The limit of customer {record.intent.customer} is being changed by another intent, which has not come "
            "to an end in time; ask again when it has."
        )
        problem = Problem(ConflictKind.CREDIT_LIMIT_RACE, "plan.credit_limit", sentence, fields=("credit_limit",))
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


def _put_command(
    desk: Desk,
    intent: IntentRecord,
    write: Write,
    at: dt.datetime,
    *,
    ordinal: int,
    before: CommandRecord | None = None,
    due_at: dt.datetime | None = None,
) -> None:
    key = command_key(desk.system, intent.id, ordinal)
    if isinstance(write, ApplyReceipt) and before is not None and isinstance(before.write, ApplyReceipt):
        # What has come to stand there since may be what this command did, unless that was refused.
        may_be_ours = before.sends and before.state != CommandState.REJECTED
        write = msgspec.structs.replace(write, before=before.write.before if may_be_ours else write.before)
    command = CommandRecord(
        key=key,
        revision=before.revision + 1 if before else 1,
        intent=intent.id,
        ordinal=ordinal,
        customer=intent.intent.customer,
        state=str(CommandState.PENDING),
        write=write,
        created_at=before.created_at if before else at,
        due_at=due_at or at,
        sends=before.sends if before else 0,
        stales=before.stales if before else 0,
        fence=before.fence + 1 if before else 0,
        echoed=before.echoed if before else {},
    )
    desk.put_command(command)
    desk.say(Planned(key, command.revision, intent.id, to_plain(write)))
    put_claims(desk, command)


def _as_decided(intent: Intent, write: Write) -> Intent:
    """The intent with the versions on which its command was decided in place of the author's."""
    if isinstance(intent, ApplyPayment):
        allocations = tuple(
            msgspec.structs.replace(asked, basis=decided.version)
            for asked, decided in zip(intent.allocations, write.allocations, strict=True)
        )
        return msgspec.structs.replace(intent, allocations=allocations)
    if isinstance(write, SetCreditLimit):
        return msgspec.structs.replace(intent, replaces=write.replaces)
    if write.allocations:
        return msgspec.structs.replace(intent, basis=write.allocations[0].version)
    return intent


def _vanished(plan: Plan) -> tuple[Problem, ...]:
    names = ", ".join(plan.unknown)
    sentence = f"The ERP has told nothing of {names} within the time that an intent may wait."
    return (Problem(ConflictKind.UNKNOWN_DOCUMENT, "plan.unknown", sentence),)


def _raise(desk: Desk, plan: Plan, at: dt.datetime, intent: IntentRecord, command: CommandRecord | None) -> Choice:
    problem, tags = first_by_precedence(list(plan.problems))
    # Deciding again makes sense only where nothing but the basis is in the way.
    stale = problem.kind in (ConflictKind.STALE_BASIS, ConflictKind.CREDIT_LIMIT_RACE) and not tags
    able = (Choice.ACCEPT_ERP, Choice.REBASE) if stale else (Choice.ACCEPT_ERP,)
    return raise_conflict(desk, problem, at, intent=intent, command=command, tags=tags, able=able)
