"""Decides on commands: sending, answers, look-ups, time running out, and the echo that confirms."""

import datetime as dt
from typing import Any

import msgspec

from engine.model.commands import OutcomeKind
from engine.model.events import KeyLookedUp, OutcomeReceived, Timer, TimerFired
from engine.model.records import CommandRecord, ConflictKind
from engine.rules.conflicts import Problem, raise_conflict
from engine.rules.desk import Desk
from engine.rules.intents import end_matches, give_up_waiting, recheck_command
from engine.rules.policy import Choice
from statemachines import CommandState, ConflictState, IntentState

_SETTLED = (CommandState.CONFIRMED, CommandState.MISMATCHED)


def take_timer(desk: Desk, fired: TimerFired) -> None:
    """A time has come."""
    if fired.timer is Timer.STILL_UNKNOWN:
        give_up_waiting(desk, fired.subject, fired.at)
        return
    command = desk.command(fired.subject)
    if command is None:
        return
    if fired.timer is Timer.SEND:
        _send(desk, command, fired.at)
    elif fired.timer is Timer.LEASE_EXPIRED and command.state == CommandState.SENT:
        # Whoever sent it is gone; only the ERP knows whether it was done.
        desk.move_command(command.key, "lose_answer", fence=command.fence + 1, due_at=fired.at)
    elif fired.timer is Timer.RETRY_STALE and command.state == CommandState.STALE:
        recheck_command(desk, command.key, fired.at)
    elif fired.timer is Timer.ECHO_OVERDUE and command.state == CommandState.ACCEPTED:
        desk.move_command(command.key, "expire")
        sentence = (
            f"The ERP accepted {command.write.amount} {command.write.currency} under key {command.key}, "
            "but its database has not shown the effect in time."
        )
        _stop(desk, command, ConflictKind.ECHO_MISSING, "echo.overdue", sentence, fired.at)


def _send(desk: Desk, command: CommandRecord, at: dt.datetime) -> None:
    """Claim a command for sending. It is decided once more on the documents as they stand."""
    if command.state == CommandState.PENDING and recheck_command(desk, command.key, at):
        desk.move_command(
            command.key, "send", sends=command.sends + 1, fence=command.fence + 1, sent_at=at, outcome=None
        )


def take_outcome(desk: Desk, event: OutcomeReceived) -> None:
    """The ERP's answer. One that comes after the echo, or from a sender that has lost its lease, changes nothing."""
    command = desk.command(event.command)
    if command is None or command.fence != event.fence or command.state in _SETTLED:
        return
    outcome, at, key = event.outcome, event.at, command.key
    retry_at = at + desk.policy.retry_after
    told: dict[str, Any] = {"outcome": outcome, "reference": outcome.reference or command.reference}
    if command.state == CommandState.PART_DONE:
        _take_next_step(desk, command, event)
    elif outcome.kind is OutcomeKind.ACCEPTED:
        desk.move_command(key, "accept", due_at=at + desk.policy.settle_time, **told)
    elif outcome.kind is OutcomeKind.REJECTED:
        desk.move_command(key, "reject", **told)
        kind = ConflictKind(outcome.reason) if outcome.reason else ConflictKind.ERP_REJECTED
        sentence = f"The ERP refused {command.write.amount} {command.write.currency}: {outcome.detail}"
        _stop(desk, command, kind, "outcome.rejected", sentence, at)
    elif outcome.kind is OutcomeKind.STALE:
        _take_stale(desk, command, at, told)
    elif outcome.kind is OutcomeKind.THROTTLED:
        desk.move_command(key, "put_back", due_at=retry_at, **told)
    else:
        desk.move_command(key, "lose_answer", due_at=retry_at, **told)


def _take_stale(desk: Desk, command: CommandRecord, at: dt.datetime, told: dict[str, Any]) -> None:
    """The guard no longer held. The mirror will soon tell why; until then the command stays stale."""
    desk.move_command(
        command.key, "find_stale", stales=command.stales + 1, due_at=at + desk.policy.retry_after, **told
    )
    if command.stales + 1 > desk.policy.most_stales:
        desk.move_command(command.key, "supersede", "stale too often")
        sentence = (
            f"The ERP's records changed {command.stales + 1} times just before {command.write.amount} "
            f"{command.write.currency} could be written; somebody must look at what keeps changing them."
        )
        _stop(desk, command, ConflictKind.PRECONDITION_FAILED, "outcome.stale_too_often", sentence, at)


def _take_next_step(desk: Desk, command: CommandRecord, event: OutcomeReceived) -> None:
    outcome = event.outcome
    if outcome.kind is OutcomeKind.ACCEPTED:
        desk.move_command(command.key, "next_step_done", due_at=event.at + desk.policy.settle_time, outcome=outcome)
    elif outcome.kind is OutcomeKind.REJECTED:
        desk.move_command(command.key, "next_step_refused", outcome=outcome)
        sentence = f"The ERP booked the receipt under key {command.key} but refused the next step: {outcome.detail}"
        _stop(desk, command, ConflictKind.PARTLY_DONE, "outcome.partly_done", sentence, event.at, keep_matches=True)
    else:
        retry = msgspec.structs.replace(command, due_at=event.at + desk.policy.retry_after, outcome=outcome)
        desk.put_command(retry)


def take_lookup(desk: Desk, event: KeyLookedUp) -> None:
    """What the ERP says about a command's key."""
    command = desk.command(event.command)
    if command is None or command.fence != event.fence or command.state != CommandState.UNKNOWN:
        return
    if event.found is not None:
        settle = event.at + (desk.policy.settle_time if event.found.complete else dt.timedelta(0))
        desk.move_command(command.key, "found", reference=event.found.reference, due_at=settle)
        if not event.found.complete:
            desk.move_command(command.key, "step_done")
    elif event.proves_absence:
        desk.move_command(command.key, "proven_absent", due_at=event.at)
    else:
        again = event.at + desk.policy.retry_after
        desk.put_command(msgspec.structs.replace(command, due_at=again))


def confirm(desk: Desk, key: str, at: dt.datetime) -> None:
    """An echo of this command was seen: when its promise is fulfilled, it is done, whatever was thought before."""
    command = desk.command(key)
    if command is None or command.state in _SETTLED or not command.echo_complete:
        return
    given_up = command.state in (CommandState.REJECTED, CommandState.SUPERSEDED, CommandState.WITHDRAWN)
    desk.move_command(key, "confirm")
    end_matches(desk, command, "used up")
    intent = desk.intent(command.intent)
    if given_up:
        sentence = (
            f"{command.write.amount} {command.write.currency} under key {key} took effect in the ERP after "
            f"the command had been {command.state}."
        )
        problem = Problem(ConflictKind.LATE_EFFECT, "echo.late", sentence, amount=command.write.amount)
        raise_conflict(desk, problem, at, intent=intent, command=command)
    if intent is not None and intent.state in (IntentState.PLANNED, IntentState.HELD):
        done = [desk.command(name) for name in intent.commands]
        if all(c is not None and c.state == CommandState.CONFIRMED for c in done):
            desk.move_intent(intent.id, "finish")
    _dismiss_moot(desk, key)


def _dismiss_moot(desk: Desk, key: str) -> None:
    """The echo has answered what was asked about this command."""
    moot = (ConflictKind.ECHO_MISSING, ConflictKind.OUTCOME_UNKNOWN, ConflictKind.PARTLY_DONE)
    for conflict in sorted(desk.view.conflicts.values(), key=lambda c: c.id):
        unsettled = conflict.state in (ConflictState.DETECTED, ConflictState.HELD)
        if conflict.command == key and conflict.kind in moot and unsettled:
            desk.move_conflict(conflict.id, "dismiss", why="the ERP shows the whole effect")


def _stop(
    desk: Desk,
    command: CommandRecord,
    kind: ConflictKind,
    rule: str,
    sentence: str,
    at: dt.datetime,
    *,
    keep_matches: bool = False,
) -> None:
    """Raise a conflict about a command that cannot go on, and end or hold its intent."""
    first = command.write.allocations[0].invoice
    problem = Problem(kind, rule, sentence, desk.invoice(first), (), command.write.amount)
    choice = raise_conflict(desk, problem, at, intent=desk.intent(command.intent), command=command)
    if not keep_matches and kind is not ConflictKind.ECHO_MISSING:
        end_matches(desk, command, "failed")
    desk.move_intent(command.intent, "refuse" if choice is Choice.ACCEPT_ERP else "hold", str(kind))
