"""The life of a dispute: a customer's claim against an invoice, from the claim to its end."""

from enum import StrEnum

from statemachines.definition import By, Machine, State, Transition


class DisputeState(StrEnum):
    """Where a dispute stands."""

    RAISED = "raised"
    APPROVED = "approved"
    CREDITED = "credited"
    REJECTED = "rejected"
    CLOSED = "closed"


class DisputeTrigger(StrEnum):
    """What can happen to a dispute."""

    APPROVE = "approve"
    CREDIT = "credit"
    REJECT = "reject"
    CLOSE = "close"


_S, _T = DisputeState, DisputeTrigger

DISPUTE = Machine(
    name="dispute",
    version=1,
    initial=_S.RAISED,
    states=(
        State(_S.RAISED, "The customer contests the invoice, and nobody has judged the claim."),
        State(_S.APPROVED, "The claim is found right, and the ERP does not show its credit yet."),
        State(_S.CREDITED, "The ERP shows the credit that the claim was due."),
        State(_S.REJECTED, "The claim is found wrong, and the customer owes what the invoice says."),
        State(_S.CLOSED, "Nothing about the claim is left to do."),
    ),
    transitions=(
        Transition(_T.APPROVE, (By.AR,), (_S.RAISED,), _S.APPROVED, "The claim was judged right."),
        Transition(_T.CREDIT, (By.ERP,), (_S.APPROVED,), _S.CREDITED, "The credit was seen in the change stream."),
        Transition(
            _T.REJECT,
            (By.AR,),
            (_S.RAISED, _S.APPROVED),
            _S.REJECTED,
            "The claim was judged wrong, or its approval was taken back before the credit.",
        ),
        Transition(
            _T.CLOSE, (By.AR, By.ENGINE), (_S.CREDITED, _S.REJECTED), _S.CLOSED, "The customer was told the outcome."
        ),
    ),
)
