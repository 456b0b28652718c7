"""The life of a command: one write to an ERP, from the decision to its echo. The rules fire its triggers.

Its promises: a command whose answer was lost goes out again only when its absence is proven, and only the change
stream confirms. The echo may come before the answer, or instead of it: every state but `confirmed` takes it.
"""

from enum import StrEnum

from statemachines.definition import By, Machine, State, Transition


class CommandState(StrEnum):
    """Where a command stands."""

    PENDING = "pending"
    SENT = "sent"
    ACCEPTED = "accepted"
    PART_DONE = "part_done"
    REJECTED = "rejected"
    STALE = "stale"
    UNKNOWN = "unknown"
    SUPERSEDED = "superseded"
    WITHDRAWN = "withdrawn"
    HELD = "held"
    OVERDUE = "overdue"
    CONFIRMED = "confirmed"
    MISMATCHED = "mismatched"


class CommandTrigger(StrEnum):
    """What can happen to a command."""

    SEND = "send"
    ACCEPT = "accept"
    REJECT = "reject"
    FIND_STALE = "find_stale"
    LOSE_ANSWER = "lose_answer"
    PUT_BACK = "put_back"
    FOUND = "found"
    PROVEN_ABSENT = "proven_absent"
    RENEW_GUARD = "renew_guard"
    SUPERSEDE = "supersede"
    STEP_DONE = "step_done"
    NEXT_STEP_DONE = "next_step_done"
    NEXT_STEP_REFUSED = "next_step_refused"
    WITHDRAW = "withdraw"
    EXPIRE = "expire"
    WAIT_AGAIN = "wait_again"
    TRY_STEP_AGAIN = "try_step_again"
    CONFIRM = "confirm"
    MISMATCH = "mismatch"


_S, _T = CommandState, CommandTrigger
_ERP, _ENGINE, _EITHER = (By.ERP,), (By.ENGINE,), (By.ERP, By.ENGINE)
_SENT = (_S.SENT,)
_UNCONFIRMED = tuple(state for state in _S if state is not _S.CONFIRMED)

COMMAND = Machine(
    name="command",
    version=3,
    initial=_S.PENDING,
    states=(
        State(_S.PENDING, "It is decided and not under way."),
        State(_S.SENT, "It may have reached the ERP, and no answer is on record."),
        State(_S.ACCEPTED, "The ERP said that it did it, and the change stream has not shown it yet."),
        State(_S.PART_DONE, "The ERP did one step of several, and the next one is to be done."),
        State(_S.REJECTED, "The ERP refused it for a reason that sending it again would not cure."),
        State(_S.STALE, "Its guard no longer held, so the ERP's records moved after it was decided."),
        State(_S.UNKNOWN, "Its answer was lost, and only the ERP knows whether it was done."),
        State(_S.SUPERSEDED, "The facts under it became different, and it will not be sent as it is."),
        State(_S.WITHDRAWN, "It was taken back before the first byte went out."),
        State(_S.HELD, "Its first step stands in the ERP, its next one was refused, and people must choose."),
        State(_S.OVERDUE, "The ERP accepted it, and the change stream has not shown it in time."),
        State(_S.CONFIRMED, "The change stream has shown all that it promised."),
        State(_S.MISMATCHED, "The ERP shows its key with something else than it promised."),
    ),
    transitions=(
        Transition(
            _T.SEND, _ENGINE, (_S.PENDING,), _S.SENT, "Claimed, its guard read again; the first byte comes after."
        ),
        Transition(_T.ACCEPT, _ERP, _SENT, _S.ACCEPTED, "The answer says done."),
        Transition(_T.REJECT, _ERP, _SENT, _S.REJECTED, "The answer is a refusal for good."),
        Transition(
            _T.FIND_STALE,
            _EITHER,
            (_S.SENT, _S.PENDING),
            _S.STALE,
            "The guard failed, in the ERP or just before the write; or the facts changed before it was sent again.",
        ),
        Transition(
            _T.LOSE_ANSWER,
            _ENGINE,
            (_S.SENT, _S.PENDING, _S.STALE),
            _S.UNKNOWN,
            "No answer came, or the sender's lease ran out; or a part shows up of what was thought not done.",
        ),
        Transition(_T.PUT_BACK, _EITHER, _SENT, _S.PENDING, "Throttled, or refused before anything was done."),
        Transition(_T.FOUND, _ERP, (_S.UNKNOWN,), _S.ACCEPTED, "The ERP holds a document that carries its key."),
        Transition(
            _T.PROVEN_ABSENT,
            _ENGINE,
            (_S.UNKNOWN,),
            _S.PENDING,
            "The key was not found after the time in which the ERP could still have committed it.",
        ),
        Transition(_T.RENEW_GUARD, _ENGINE, (_S.STALE,), _S.PENDING, "The facts are the same: same key, new guard."),
        Transition(
            _T.SUPERSEDE, _ENGINE, (_S.STALE, _S.PENDING), _S.SUPERSEDED, "The facts changed, and the policy decides."
        ),
        Transition(_T.STEP_DONE, _ERP, (_S.ACCEPTED,), _S.PART_DONE, "One step of several is done."),
        Transition(_T.NEXT_STEP_DONE, _ERP, (_S.PART_DONE,), _S.ACCEPTED, "The next step succeeded."),
        Transition(_T.NEXT_STEP_REFUSED, _ERP, (_S.PART_DONE,), _S.HELD, "The ERP refused the next step."),
        Transition(
            _T.WITHDRAW, (By.AR, By.OPERATOR), (_S.PENDING,), _S.WITHDRAWN, "Taken back before it was ever sent."
        ),
        Transition(_T.EXPIRE, _ENGINE, (_S.ACCEPTED,), _S.OVERDUE, "The settle time passed without an echo."),
        Transition(
            _T.WAIT_AGAIN, (By.OPERATOR,), (_S.OVERDUE,), _S.ACCEPTED, "An operator lets the echo take its time."
        ),
        Transition(
            _T.TRY_STEP_AGAIN,
            (By.OPERATOR,),
            (_S.HELD,),
            _S.PART_DONE,
            "An operator lets the refused step be tried once more; what stands already is looked up first.",
        ),
        Transition(_T.CONFIRM, _ERP, _UNCONFIRMED, _S.CONFIRMED, "The change stream showed its key and its promise."),
        Transition(
            _T.MISMATCH,
            _EITHER,
            _UNCONFIRMED,
            _S.MISMATCHED,
            "The change stream showed its key and contradicted its promise.",
        ),
    ),
)
