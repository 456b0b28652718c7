"""From Tryton's errors to outcomes: what each says about the effect depends on how far the attempt had come."""

from collections.abc import Callable
from typing import Final, TypeVar

from connectors.tryton.rpc import (
    AccessRefused,
    Busy,
    Concurrency,
    InternalError,
    LoginRefused,
    NoAnswer,
    RpcError,
    Session,
    Unreachable,
    UserError,
    WarningRaised,
)
from engine.model.commands import Outcome, OutcomeKind

T = TypeVar("T")
_MOST_WARNINGS: Final = 5


class Attempt:
    """How far one send has come: whether a call has left that may have changed the books."""

    def __init__(self) -> None:
        self.may_have_written = False

    def writes(self) -> None:
        """The next call may change the books."""
        self.may_have_written = True

    def has_not_written(self) -> None:
        """The last call is known to have changed nothing."""
        self.may_have_written = False


def confirmed(session: Session, allowed: frozenset[str], act: Callable[[], T]) -> T:
    """Do something, answering yes to warnings of these names alone (after the digest of the records and a full stop).

    Raises `WarningRaised` at any other: some of them unlink or write off what others have done.
    """
    for _ in range(_MOST_WARNINGS):
        try:
            return act()
        except WarningRaised as warning:
            if warning.name.partition(".")[2] not in allowed:
                raise
            session.acknowledge(warning.name)
    return act()


def outcome_of(error: RpcError, attempt: Attempt) -> Outcome:
    """What an error means for the command."""
    text = str(error)
    match error:
        case Concurrency():
            return Outcome(OutcomeKind.STALE, text)
        case UserError() | AccessRefused():
            return Outcome(OutcomeKind.REJECTED, text)
        case WarningRaised():
            # Some of Tryton's confirmations unlink or write off what others have done: a person must look.
            return Outcome(OutcomeKind.REJECTED, f"Tryton wants a person to confirm: {text}")
        case Unreachable() | LoginRefused():
            return Outcome(OutcomeKind.THROTTLED, text)
        case NoAnswer() | InternalError() if attempt.may_have_written:
            return Outcome(OutcomeKind.UNKNOWN, text)
        case Busy():
            # Tryton's own answer, after it has rolled back. Should it be a gateway's: nothing goes out again before
            # its key was looked up, nor with a token that this call had used up.
            return Outcome(OutcomeKind.THROTTLED, text)
    return Outcome(OutcomeKind.THROTTLED, text)
