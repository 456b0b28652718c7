"""The life of an intent: from the AR side's request to what became of it. The rules fire its triggers.

Its promise: `done`, `refused` and `withdrawn` are final. An effect that shows up after one of them is a conflict
(late_effect), not a transition.
"""

from enum import StrEnum

from statemachines.definition import By, Machine, State, Transition


class IntentState(StrEnum):
    """Where an intent stands."""

    RECEIVED = "received"
    WAITING = "waiting"
    PLANNED = "planned"
    HELD = "held"
    DONE = "done"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"


class IntentTrigger(StrEnum):
    """What can happen to an intent."""

    WAIT = "wait"
    PLAN = "plan"
    HOLD = "hold"
    FINISH = "finish"
    REFUSE = "refuse"
    WITHDRAW = "withdraw"


_S, _T = IntentState, IntentTrigger
_ENGINE = (By.ENGINE,)
_UNDECIDED = (_S.RECEIVED, _S.WAITING)
_ALIVE = (*_UNDECIDED, _S.PLANNED, _S.HELD)

INTENT = Machine(
    name="intent",
    version=1,
    initial=_S.RECEIVED,
    states=(
        State(_S.RECEIVED, "It is on record, and nothing has been decided on it."),
        State(_S.WAITING, "It names a document of which the ERP has told nothing yet; the wait is bounded."),
        State(_S.PLANNED, "Its commands are decided, and their effects are not all seen in the ERP."),
        State(_S.HELD, "It cannot go on until an operator chooses."),
        State(_S.DONE, "The ERP's change stream has shown every effect that it asked for."),
        State(_S.REFUSED, "It will not be carried out, and the AR side is told why."),
        State(_S.WITHDRAWN, "Whoever asked for it has taken it back."),
    ),
    transitions=(
        Transition(_T.WAIT, _ENGINE, (_S.RECEIVED,), _S.WAITING, "A document that it names is not known yet."),
        Transition(
            _T.PLAN,
            (By.ENGINE, By.OPERATOR),
            (*_UNDECIDED, _S.HELD),
            _S.PLANNED,
            "Its commands were decided on what the ERP says now; out of held, on an operator's choice.",
        ),
        Transition(
            _T.HOLD,
            _ENGINE,
            (*_UNDECIDED, _S.PLANNED),
            _S.HELD,
            "A conflict arose, and the policy leaves it to people.",
        ),
        Transition(
            _T.FINISH, _ENGINE, (_S.PLANNED, _S.HELD), _S.DONE, "The echo of its last command completed its effects."
        ),
        Transition(
            _T.REFUSE,
            (By.ENGINE, By.OPERATOR),
            _ALIVE,
            _S.REFUSED,
            "The policy or an operator let the ERP's word stand against it.",
        ),
        Transition(_T.WITHDRAW, (By.AR, By.OPERATOR), _ALIVE, _S.WITHDRAWN, "It was taken back before it was done."),
    ),
)
