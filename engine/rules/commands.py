"""Decides on commands: sending, answers, look-ups, and time running out. What confirms them is in `echoes`."""

import datetime as dt
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import UnsetType

from engine.model.commands import Outcome, OutcomeKind
from engine.model.events import KeyLookedUp, OutcomeReceived, Timer, TimerFired
from engine.model.records import NEVER, CommandRecord, ConflictKind
from engine.rules.claims import end_claims
from engine.rules.conflicts import Problem, dismiss, open_conflicts, raise_conflict
from engine.rules.desk import Desk
from engine.rules.intents import (
    decide_again,
    give_up_waiting,
    guard_digest,
    recheck_command,
    still_right,
    stop_intent,
)
from engine.rules.policy import Choice
from statemachines import CommandState, IntentState

_LONGEST_WAIT = dt.timedelta(minutes=1)
_FIRST_RETRY = dt.timedelta(minutes=1)
"""What was refused for good is not tried again at once, even where the policy has it tried."""


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
    elif fired.timer is Timer.ECHO_OVERDUE and command.state == CommandState.ACCEPTED and _was_told(command, fired):
        desk.move_command(command.key, "expire")
        shown = sum(command.echoed.values(), Decimal(0))
        sentence = (
            f"The ERP accepted {command.write.title} under key {command.key}, "
            f"but its database has {f'shown only {shown} of it' if shown else 'not shown the effect'} in time."
        )
        kind = ConflictKind.PARTLY_DONE if shown else ConflictKind.ECHO_MISSING
        _stop(desk, command, kind, "echo.overdue", sentence, fired.at, keep_matches=True)
    elif fired.timer is Timer.GIVEN_UP:
        _give_up(desk, command, fired.at)


def _was_told(command: CommandRecord, fired: TimerFired) -> bool:
    """Whether the echo would have been read by now: the silence of a change stream that stands still says nothing."""
    return isinstance(fired.told_until, UnsetType) or fired.told_until >= command.due_at


def _send(desk: Desk, command: CommandRecord, at: dt.datetime) -> None:
    """Claim a command for sending. It is decided once more on the documents as they stand."""
    if command.state == CommandState.PENDING and recheck_command(desk, command.key, at):
        guard = guard_digest(desk, command)
        desk.move_command(
            command.key,
            "send",
            sends=command.sends + 1,
            fence=command.fence + 1,
            sent_at=at,
            outcome=None,
            sent_guard=guard,
            waits=command.waits if command.sent_guard == guard else 0,
        )


def take_outcome(desk: Desk, event: OutcomeReceived) -> None:
    """The ERP's answer. One that comes again, or after the echo, or from a sender that has lost its lease, changes
    nothing."""
    command = desk.command(event.command)
    if command is None or command.fence != event.fence:
        return
    if command.state == CommandState.PART_DONE:
        _take_next_step(desk, command, event)
    elif command.state == CommandState.SENT:
        _take_answer(desk, command, event)


def _take_answer(desk: Desk, command: CommandRecord, event: OutcomeReceived) -> None:
    outcome, at, key = event.outcome, event.at, command.key
    retry_at = at + desk.policy.retry_after
    told: dict[str, Any] = {"outcome": outcome, "reference": outcome.reference or command.reference}
    if outcome.kind is OutcomeKind.ACCEPTED:
        desk.move_command(key, "accept", due_at=at + desk.policy.settle_time, **told)
    elif command.echoed:
        _take_denial(desk, command, outcome, at, told)
    elif outcome.kind is OutcomeKind.REJECTED:
        _take_refusal(desk, command, outcome, at, told)
    elif outcome.kind is OutcomeKind.STALE:
        _take_stale(desk, command, at, told)
    elif outcome.kind is OutcomeKind.THROTTLED:
        desk.move_command(key, "put_back", due_at=retry_at, **told)
        recheck_command(desk, key, at)  # what was told while it was under way
    else:
        desk.move_command(key, "lose_answer", due_at=retry_at, **told)


def _take_refusal(
    desk: Desk, command: CommandRecord, outcome: Outcome, at: dt.datetime, told: dict[str, Any]
) -> None:
    """The ERP refused it for good, unless the policy has it tried again: as the next revision, looked up before."""
    desk.move_command(command.key, "reject", **told)
    sentence = f"The ERP refused {command.write.title}: {outcome.detail}"
    if desk.rules > 1:
        end_claims(desk, command, "failed")  # whether it may be tried again is decided as it would be then
    mine = [desk.conflict(name) for name in {*desk.view.conflicts, *desk.out.conflicts}]
    tried = sum(c is not None and c.command == command.key and c.choice == Choice.RETRY for c in mine)
    again = tried < desk.policy.most_retries and still_right(desk, command)
    able = (Choice.ACCEPT_ERP, Choice.RETRY) if again else (Choice.ACCEPT_ERP,)
    choice = _stop(desk, command, _kind_of_refusal(outcome), "outcome.rejected", sentence, at, able=able)
    if choice is Choice.RETRY:
        wait = max(desk.policy.retry_after, _FIRST_RETRY) * 2**tried
        decide_again(desk, command.intent, at, rebase=False, due_at=at + wait)


def _take_denial(desk: Desk, command: CommandRecord, outcome: Outcome, at: dt.datetime, told: dict[str, Any]) -> None:
    """The answer says that nothing was done, and the change stream has shown a part already: the stream is right."""
    if outcome.kind is OutcomeKind.REJECTED:
        desk.move_command(command.key, "reject", **told)
        sentence = f"The ERP shows a part of what it refused under key {command.key}: {outcome.detail}"
        _stop(desk, command, ConflictKind.PARTLY_DONE, "outcome.partly_done", sentence, at, keep_matches=True)
        return
    desk.move_command(command.key, "lose_answer", due_at=at, **told)


def _kind_of_refusal(outcome: Outcome) -> ConflictKind:
    return ConflictKind(outcome.reason) if outcome.reason in set(ConflictKind) else ConflictKind.ERP_REJECTED


def _take_stale(desk: Desk, command: CommandRecord, at: dt.datetime, told: dict[str, Any]) -> None:
    """The guard no longer held. What changed decides: now, if the mirror knows it, else when it is told.

    While the mirror still knows the very guard that was refused, it lags: the command stays stale until it is told
    another one, and a timer tries it more and more seldom.
    """
    policy = desk.policy
    lags = command.sent_guard == guard_digest(desk, command)
    stales, waits = (command.stales, command.waits + 1) if lags else (command.stales + 1, 0)
    pause = min(policy.retry_after * 2 ** min(max(waits - 1, 0), 16), max(policy.retry_after, _LONGEST_WAIT))
    desk.move_command(command.key, "find_stale", stales=stales, waits=waits, due_at=at + pause, **told)
    asked = f"{command.write.title} under key {command.key}"
    if waits > policy.most_stales:
        rule = "outcome.stale_unexplained"
        sentence = (
            f"The ERP found the guard of {asked} out of date {waits} times in a row, and its change stream has shown "
            "no reason; somebody must look whether the stream stands still or misses a table."
        )
    elif stales > policy.most_stales:
        rule = "outcome.stale_too_often"
        sentence = (
            f"The ERP's records changed {stales} times just before {asked} could be written; somebody must look at "
            "what keeps changing them."
        )
    else:
        if not lags:
            recheck_command(desk, command.key, at, due_at=at + pause)
        return
    desk.move_command(command.key, "supersede", "stale too often")
    _stop(desk, command, ConflictKind.PRECONDITION_FAILED, rule, sentence, at)


def _take_next_step(desk: Desk, command: CommandRecord, event: OutcomeReceived) -> None:
    outcome = event.outcome
    if outcome.kind is OutcomeKind.ACCEPTED:
        desk.move_command(command.key, "next_step_done", due_at=event.at + desk.policy.settle_time, outcome=outcome)
    elif outcome.kind is OutcomeKind.REJECTED:
        desk.move_command(command.key, "next_step_refused", outcome=outcome)
        sentence = (
            f"The ERP began {command.write.title} under key {command.key} but refused the next step: {outcome.detail}"
        )
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
    elif event.proves_absence and not command.echoed:
        lost: dict[str, Any] = {"losses": command.lost + 1} if desk.rules > 1 else {}
        desk.move_command(command.key, "proven_absent", due_at=event.at, **lost)
        _settle_absent(desk, command.key, event.at)
    else:
        again = event.at + desk.policy.retry_after
        desk.put_command(msgspec.structs.replace(command, due_at=again))
        _doubt(desk, command, event.at)


def _doubt(desk: Desk, command: CommandRecord, at: dt.datetime) -> None:
    """Tell people of an outcome that stays unknown for long; it is looked up all the while."""
    known = [desk.conflict(name) for name in sorted({*desk.view.conflicts, *desk.out.conflicts})]
    asked = [c for c in known if c and c.command == command.key and c.kind is ConflictKind.OUTCOME_UNKNOWN]
    told = [one.ended_at for one in asked if one.ended_at]
    if command.sent_at is None:
        return
    since = max([command.sent_at, *told] if desk.rules > 1 or not told else told)
    if at - since <= desk.policy.in_doubt_for:
        return
    sentence = (
        f"It is not known whether the ERP did {command.write.title}: the answer of {command.sent_at:%H:%M} UTC was "
        f"lost, and what key {command.key} stands for cannot be found out; it is looked up again and again."
    )
    _stop(desk, command, ConflictKind.OUTCOME_UNKNOWN, "lookup.in_doubt", sentence, at, keep_matches=True)


def _settle_absent(desk: Desk, key: str, at: dt.datetime) -> None:
    """It never reached the ERP: it is sent again, unless nobody wants it any more or people are to choose."""
    command = desk.command(key)
    intent = desk.intent(command.intent) if command else None
    if command is None or intent is None:
        return
    doubts = [c for c in open_conflicts(desk) if c.command == key and c.kind is ConflictKind.OUTCOME_UNKNOWN]
    if command.lost >= desk.policy.most_losses and (doubts or intent.state == IntentState.PLANNED):
        why = (
            f"was sent {command.lost} times, its answer was lost each time, and each time the ERP had nothing of "
            "it; somebody must look why."
        )
        _send_no_more(desk, command, "lookup.always_lost", why, at)
        return
    if intent.state == IntentState.HELD:
        dismiss(desk, doubts, "it was looked up in time: the ERP had never got it", at)
        if not [c for c in open_conflicts(desk) if c.intent == intent.id]:
            desk.move_intent(intent.id, "plan", "the ERP had never got it")
    if desk.out.intents.get(intent.id, intent).state == IntentState.PLANNED:
        recheck_command(desk, key, at)
        return
    desk.move_command(key, "find_stale", f"intent {intent.id} is {intent.state}")
    desk.move_command(key, "supersede", f"intent {intent.id} is {intent.state}")
    end_claims(desk, command, "failed")


def _give_up(desk: Desk, command: CommandRecord, at: dt.datetime) -> None:
    """Somebody dropped the dead letter of a command on which the target fails: people must choose about it.

    What may have been done is not forgotten, and keeps its money claimed, but it keeps no other command waiting.
    """
    rule, asked = "letter.dropped", f"{command.write.title} under key {command.key}"
    if command.state == CommandState.PENDING:
        _send_no_more(desk, command, rule, "had not reached the ERP when its dead letter was dropped.", at)
    elif command.state == CommandState.UNKNOWN:
        desk.put_command(msgspec.structs.replace(command, due_at=NEVER))
        sentence = (
            f"It is not known whether the ERP did {asked}: its dead letter was dropped, so it is not looked up by "
            "itself. A retry looks it up, and sends it again if the ERP has nothing of it."
        )
        _stop(desk, command, ConflictKind.OUTCOME_UNKNOWN, rule, sentence, at, keep_matches=True)
    elif command.state == CommandState.PART_DONE:
        desk.move_command(command.key, "next_step_refused", "its dead letter was dropped")
        sentence = f"The ERP began {asked}, and its dead letter was dropped before the next step was done."
        _stop(desk, command, ConflictKind.PARTLY_DONE, rule, sentence, at, keep_matches=True)


def _send_no_more(desk: Desk, command: CommandRecord, rule: str, why: str, at: dt.datetime) -> None:
    """People must choose before a command leaves again. What they have sent again is looked up before it leaves."""
    sentence = f"{command.write.title} under key {command.key} {why} It is sent again only when somebody chooses so."
    desk.move_command(command.key, "find_stale", why)
    desk.move_command(command.key, "supersede", why)
    _stop(desk, command, ConflictKind.OUTCOME_UNKNOWN, rule, sentence, at)


def _stop(
    desk: Desk,
    command: CommandRecord,
    kind: ConflictKind,
    rule: str,
    sentence: str,
    at: dt.datetime,
    *,
    keep_matches: bool = False,
    able: tuple[Choice, ...] = (Choice.ACCEPT_ERP,),
) -> Choice:
    """Raise a conflict about a command that cannot go on, and end or hold its intent, unless it is tried again.

    `keep_matches` when its money may still arrive: then it stays claimed for as long as the intent is held.
    """
    first = next((desk.invoice(a.invoice) for a in command.write.allocations), None)
    problem = Problem(kind, rule, sentence, first, (), command.write.amount)
    choice = raise_conflict(desk, problem, at, intent=desk.intent(command.intent), command=command, able=able)
    if not keep_matches or choice is Choice.ACCEPT_ERP:
        end_claims(desk, command, "failed")
    if choice is not Choice.RETRY:
        stop_intent(desk, command.intent, choice, str(kind))
    return choice
