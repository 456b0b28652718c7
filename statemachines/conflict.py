"""The life of a conflict: a stored disagreement between the AR side and the ERP, from detection to its end.

Its promise: a choice can be undone until it is applied, and not after.
"""

from enum import StrEnum

from statemachines.definition import By, Machine, State, Transition


class ConflictState(StrEnum):
    """Where a conflict stands."""

    DETECTED = "detected"
    HELD = "held"
    CHOSEN = "chosen"
    APPLIED = "applied"
    DISMISSED = "dismissed"


class ConflictTrigger(StrEnum):
    """What can happen to a conflict."""

    HOLD = "hold"
    CHOOSE = "choose"
    UNDO = "undo"
    APPLY = "apply"
    DISMISS = "dismiss"


_S, _T = ConflictState, ConflictTrigger

CONFLICT = Machine(
    name="conflict",
    version=2,
    initial=_S.DETECTED,
    states=(
        State(_S.DETECTED, "Both sides disagree, and no policy has looked at it."),
        State(_S.HELD, "It waits for an operator's choice."),
        State(_S.CHOSEN, "A way out is chosen and can still be undone."),
        State(_S.APPLIED, "The chosen way out has been carried out."),
        State(_S.DISMISSED, "The ERP's later word has made it moot."),
    ),
    transitions=(
        Transition(_T.HOLD, (By.ENGINE,), (_S.DETECTED,), _S.HELD, "The policy leaves it to people."),
        Transition(
            _T.CHOOSE, (By.ENGINE, By.OPERATOR), (_S.DETECTED, _S.HELD), _S.CHOSEN, "The policy or an operator chose."
        ),
        Transition(
            _T.UNDO,
            (By.OPERATOR, By.ENGINE),
            (_S.CHOSEN,),
            _S.HELD,
            "The choice was taken back before it was applied, or the ERP has moved on since.",
        ),
        Transition(_T.APPLY, (By.ENGINE,), (_S.CHOSEN,), _S.APPLIED, "The choice was carried out."),
        Transition(
            _T.DISMISS,
            (By.ENGINE,),
            (_S.DETECTED, _S.HELD, _S.CHOSEN),
            _S.DISMISSED,
            "The ERP has told something since that leaves nothing to choose.",
        ),
    ),
)
