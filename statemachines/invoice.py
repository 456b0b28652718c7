"""The life of an invoice. The rules fire its triggers in the order of the rows below, one ERP transaction at a time.

Its promise: nothing that the AR side does leads into or out of `cleared` and `posted`; only the ERP's own word does.
"""

from enum import StrEnum

from statemachines.definition import SAME, By, Machine, State, Transition


class InvoiceState(StrEnum):
    """Where an invoice stands. `new` is before the ERP first opened it."""

    NEW = "new"
    OPEN = "open"
    MATCHED = "matched"
    DISPUTED = "disputed"
    CLEARED = "cleared"
    POSTED = "posted"


class InvoiceTrigger(StrEnum):
    """What can happen to an invoice. Those that begin with `erp_` are facts from the change stream."""

    ERP_OPENED = "erp_opened"
    ERP_CHANGED = "erp_changed"
    ERP_REDUCED = "erp_reduced"
    ERP_CLEARED = "erp_cleared"
    ERP_POSTED = "erp_posted"
    ERP_REOPENED = "erp_reopened"
    ERP_REOPENED_MATCHED = "erp_reopened_matched"
    ERP_REOPENED_DISPUTED = "erp_reopened_disputed"
    ERP_VOIDED = "erp_voided"
    MATCH = "match"
    MATCH_ENDED = "match_ended"
    DISPUTE = "dispute"
    RESOLVE = "resolve"
    RESOLVE_MATCHED = "resolve_matched"
    DISPUTE_ENDED = "dispute_ended"


_S, _T = InvoiceState, InvoiceTrigger
_ERP, _AR, _AR_OR_ENGINE = (By.ERP,), (By.AR,), (By.AR, By.ENGINE)
_OWED = (_S.OPEN, _S.MATCHED, _S.DISPUTED)
_SETTLED = (_S.CLEARED, _S.POSTED)
_EVERY = (*_OWED, *_SETTLED)

INVOICE = Machine(
    name="invoice",
    version=1,
    initial=_S.NEW,
    states=(
        State(_S.NEW, "The ERP has not posted it yet, so nobody owes anything."),
        State(_S.OPEN, "The customer owes a balance, and no money of ours is on its way to it."),
        State(
            _S.MATCHED, "The customer owes a balance, and at least one payment or credit of ours is in flight to it."
        ),
        State(_S.DISPUTED, "The customer owes a balance and contests it, whether or not a match is in flight."),
        State(_S.CLEARED, "The ERP itself has cleared every open line, by settlement or as void."),
        State(_S.POSTED, "The ERP has cleared every open line, and every clearing entry is final in its ledger."),
    ),
    transitions=(
        Transition(_T.ERP_OPENED, _ERP, (_S.NEW,), _S.OPEN, "The ERP posted the document."),
        Transition(_T.ERP_CHANGED, _ERP, _EVERY, SAME, "Amount, due date, terms or text became different."),
        Transition(_T.ERP_REDUCED, _ERP, _OWED, SAME, "It was paid or credited in part, and a balance is left."),
        Transition(
            _T.ERP_CLEARED, _ERP, _OWED, _S.CLEARED, "The ERP cleared all open lines; a zero sum alone is not it."
        ),
        Transition(_T.ERP_POSTED, _ERP, (_S.CLEARED,), _S.POSTED, "Every clearing entry is final in the ledger."),
        Transition(
            _T.ERP_REOPENED, _ERP, _SETTLED, _S.OPEN, "The clearing was reset, the payment bounced or was reversed."
        ),
        Transition(_T.ERP_REOPENED_MATCHED, _ERP, _SETTLED, _S.MATCHED, "Reopened while a match is still in flight."),
        Transition(_T.ERP_REOPENED_DISPUTED, _ERP, _SETTLED, _S.DISPUTED, "Reopened while a dispute is still open."),
        Transition(_T.ERP_VOIDED, _ERP, _EVERY, _S.CLEARED, "It was cancelled, reversed or deleted."),
        Transition(_T.MATCH, _AR, (_S.OPEN, _S.MATCHED), _S.MATCHED, "A payment or credit is to be applied."),
        Transition(_T.MATCH, _AR, (_S.DISPUTED,), SAME, "The money is written, and the dispute stands."),
        Transition(
            _T.MATCH_ENDED,
            _AR_OR_ENGINE,
            (_S.MATCHED,),
            _S.OPEN,
            "The last match in flight was withdrawn, failed or used up.",
        ),
        Transition(
            _T.MATCH_ENDED,
            _AR_OR_ENGINE,
            (_S.DISPUTED, *_SETTLED),
            SAME,
            "The last match ended where something stronger decides the state.",
        ),
        Transition(_T.DISPUTE, _AR, (_S.OPEN, _S.MATCHED), _S.DISPUTED, "The customer contests what is owed."),
        Transition(
            _T.DISPUTE, _AR, (_S.DISPUTED, *_SETTLED), SAME, "A further dispute, or a claim after the payment."
        ),
        Transition(_T.RESOLVE, _AR_OR_ENGINE, (_S.DISPUTED,), _S.OPEN, "The last dispute ended."),
        Transition(_T.RESOLVE, _AR_OR_ENGINE, _SETTLED, SAME, "The last dispute ended after the clearing."),
        Transition(
            _T.RESOLVE_MATCHED,
            _AR_OR_ENGINE,
            (_S.DISPUTED,),
            _S.MATCHED,
            "The last dispute ended, and a match is still in flight.",
        ),
        Transition(
            _T.DISPUTE_ENDED, _AR_OR_ENGINE, (_S.DISPUTED, *_SETTLED), SAME, "One dispute ended, and others remain."
        ),
    ),
)
