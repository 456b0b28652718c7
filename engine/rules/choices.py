"""Carries out what people choose about conflicts: chosen, undone until it is applied, and then done.

No choice lets the AR side overwrite a fact of the ERP: an intent is given up, decided again on the ERP's present
word, or sent again, always under its one key and looked up before it leaves. What may have reached the ERP, or stands
there, is never decided or sent a second time.
"""

import datetime as dt

import msgspec

from engine.model.events import ChoiceMade, ChoiceUndone, Chosen, Declined
from engine.model.records import CommandRecord, ConflictRecord, IntentRecord
from engine.rules.claims import end_claims, put_claims
from engine.rules.conflicts import dismiss, open_conflicts
from engine.rules.desk import Desk
from engine.rules.intents import decide_again, stop_intent
from engine.rules.policy import Choice
from engine.rules.standing import standing, version_of
from engine.rules.under_way import NOT_SENT
from statemachines import CommandState, ConflictState, IntentState

_NEVER_DONE = (CommandState.REJECTED, CommandState.SUPERSEDED)


def take_choice(desk: Desk, made: ChoiceMade) -> None:
    """Somebody chose. Declined with a sentence when it cannot be carried out, or the ERP has moved on since shown."""
    conflict = desk.conflict(made.conflict)
    if conflict is None:
        return
    sentence = _not_as_shown(desk, conflict, made) or why_not(desk, conflict, made.choice, made.at)
    if sentence is not None:
        desk.say(Declined(conflict.id, made.choice, sentence))
        return
    shown = standing(desk, conflict)
    if conflict.state == ConflictState.CHOSEN:
        desk.move_conflict(conflict.id, "undo", f"{made.actor} chooses anew", choice=None, apply_at=None)
    desk.say(Chosen(conflict.id, made.choice, made.actor, made.reason, shown))
    if made.choice == Choice.HOLD:
        _stay_held(desk, conflict.id, made)
        return
    desk.move_conflict(
        conflict.id, "choose", made.reason, choice=made.choice, chosen_by=made.actor, chosen_at=made.at, shown=shown,
        why=made.reason, apply_at=made.apply_at or made.at,
    )  # fmt: skip
    if made.apply_at is None:
        apply_choice(desk, conflict.id, made.at)


def take_undo(desk: Desk, undone: ChoiceUndone) -> None:
    """Somebody takes a choice back that has not been carried out."""
    conflict = desk.conflict(undone.conflict)
    if conflict is None:
        return
    if conflict.state != ConflictState.CHOSEN:
        sentence = f"Nothing about conflict {conflict.id} waits to be carried out; it is {conflict.state}."
        desk.say(Declined(conflict.id, "undo", sentence))
        return
    desk.say(Chosen(conflict.id, "undo", undone.actor, undone.reason, standing(desk, conflict)))
    _back_to_held(desk, conflict.id, undone.reason)


def apply_choice(desk: Desk, conflict_id: str, at: dt.datetime) -> None:
    """Carry out what was chosen; it goes back to people when the ERP has moved on since, or it cannot be done."""
    conflict = desk.conflict(conflict_id)
    if conflict is None or conflict.state != ConflictState.CHOSEN or conflict.choice is None:
        return
    sentence = None
    if conflict.shown != standing(desk, conflict):
        sentence = "The ERP has moved on since it was chosen; look again, then choose again."
    sentence = sentence or why_not(desk, conflict, conflict.choice, at)
    if sentence is not None:
        desk.say(Declined(conflict.id, conflict.choice, sentence))
        _back_to_held(desk, conflict.id, sentence)
        return
    carry_out(desk, conflict, Choice(conflict.choice), at)
    desk.move_conflict(conflict.id, "apply", conflict.why, ended_at=at, apply_at=None)
    if conflict.intent is not None and conflict.choice != Choice.HOLD:
        others = [c for c in open_conflicts(desk) if c.intent == conflict.intent and c.id != conflict.id]
        dismiss(desk, [c for c in others if c.detected_at < at], f"settled with conflict {conflict.id}", at)


def why_not(desk: Desk, conflict: ConflictRecord, choice: str, at: dt.datetime) -> str | None:
    """Why a choice cannot be carried out now; None when it can. Changes nothing."""
    if choice not in set(Choice):
        return f"There is no choice {choice}; possible are {', '.join(Choice)}."
    if not conflict.open:
        return f"Conflict {conflict.id} is {conflict.state}; nothing can be chosen about it any more."
    if choice == Choice.HOLD:
        return None
    trial = type(desk)(desk.view, desk.policy, desk.system)
    trial.out.conflicts.update(desk.out.conflicts)
    return carry_out(trial, conflict, Choice(choice), at)


def carry_out(desk: Desk, conflict: ConflictRecord, choice: Choice, at: dt.datetime) -> str | None:
    """Do it. Returns why it cannot be done; then the desk must be thrown away."""
    intent = desk.intent(conflict.intent) if conflict.intent else None
    if choice is Choice.ACCEPT_ERP:
        return _accept(desk, conflict, intent)
    if intent is None:
        return f"Conflict {conflict.id} is about no intent; there is nothing to {choice}."
    if intent.state != IntentState.HELD:
        return f"Intent {intent.id} is {intent.state}; there is nothing left to {choice}."
    if choice is Choice.REBASE:
        return _resume(desk, intent, at, rebase=True)
    return _retry(desk, intent, at)


def _accept(desk: Desk, conflict: ConflictRecord, intent: IntentRecord | None) -> str | None:
    """The ERP's word stands. A held intent is refused; what has ended only stops being an open question."""
    if intent is None or intent.state != IntentState.HELD:
        return None
    for key in intent.commands:
        command = desk.command(key)
        if command is None:
            continue
        if command.state in NOT_SENT:
            if command.state == CommandState.PENDING and command.sends:
                desk.move_command(key, "find_stale", "given up")
            desk.move_command(key, "supersede", f"conflict {conflict.id}: the ERP's word stands")
        end_claims(desk, command, "failed")
    stop_intent(desk, intent.id, Choice.ACCEPT_ERP, str(conflict.kind))
    return None


def _retry(desk: Desk, intent: IntentRecord, at: dt.datetime) -> str | None:
    """Go on where it stopped: look again, wait again, do the next step, or send the same write again."""
    command = _command(desk, intent)
    if command is None or command.state in _NEVER_DONE:
        return _resume(desk, intent, at, rebase=False)
    if command.state == CommandState.HELD:
        desk.move_command(command.key, "try_step_again", due_at=at)
    elif command.state == CommandState.OVERDUE:
        desk.move_command(command.key, "wait_again", due_at=at + desk.policy.settle_time)
    elif command.state == CommandState.UNKNOWN:
        desk.put_command(msgspec.structs.replace(command, due_at=at))
    else:
        return f"Command {command.key} is {command.state}; it cannot be tried again."
    _put_claims_back(desk, command)
    desk.move_intent(intent.id, "plan", "tried again by choice")
    return None


def _resume(desk: Desk, intent: IntentRecord, at: dt.datetime, *, rebase: bool) -> str | None:
    command = _command(desk, intent)
    if command is not None and (command.state not in _NEVER_DONE or command.echoed):
        return (
            f"Command {command.key} is {command.state}: what it asked for may stand in the ERP, so it is not decided "
            "or sent again."
        )
    return decide_again(desk, intent.id, at, rebase=rebase)


def _put_claims_back(desk: Desk, command: CommandRecord) -> None:
    """Its money is on its way again: nobody else may promise it meanwhile."""
    fresh = desk.command(command.key)
    if fresh is not None and fresh.write.claims and not fresh.echoed:
        put_claims(desk, fresh)


def _command(desk: Desk, intent: IntentRecord) -> CommandRecord | None:
    return desk.command(intent.commands[-1]) if intent.commands else None


def _not_as_shown(desk: Desk, conflict: ConflictRecord, made: ChoiceMade) -> str | None:
    present = version_of(desk, conflict)
    if made.shown is None or made.shown == present:
        return None
    return (
        f"What was shown as {made.shown} is {present} now: the ERP, or somebody else, has moved on since; look at "
        f"conflict {conflict.id} again, then choose."
    )


def _stay_held(desk: Desk, conflict_id: str, made: ChoiceMade) -> None:
    record = desk.conflict(conflict_id)
    if record is None:
        return
    noted = msgspec.structs.replace(record, why=made.reason, chosen_by=made.actor, chosen_at=made.at, choice=None)
    desk.put_conflict(noted)
    if record.state == ConflictState.DETECTED:
        desk.move_conflict(conflict_id, "hold", made.reason)


def _back_to_held(desk: Desk, conflict_id: str, why: str) -> None:
    desk.move_conflict(conflict_id, "undo", why, choice=None, apply_at=None, shown={}, why=why)
