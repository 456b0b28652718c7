"""What is done about a conflict when nobody is asked. A value: read from the configuration, journalled by version."""

import datetime as dt
from enum import StrEnum

import msgspec

from engine.model.records import ConflictKind


class Choice(StrEnum):
    """What can be done about a conflict. None of them lets the AR side overwrite a fact of the ERP."""

    ACCEPT_ERP = "accept_erp"
    REBASE = "rebase"
    RETRY = "retry"
    HOLD = "hold"


DEFAULT_CHOICES: dict[ConflictKind, Choice] = {
    ConflictKind.VOIDED_TARGET: Choice.ACCEPT_ERP,
    ConflictKind.CUSTOMER_MISMATCH: Choice.ACCEPT_ERP,
    ConflictKind.DUPLICATE_RECEIPT: Choice.ACCEPT_ERP,
    ConflictKind.ALREADY_CLEARED: Choice.ACCEPT_ERP,
    ConflictKind.OVER_APPLICATION: Choice.ACCEPT_ERP,
    ConflictKind.CONCURRENT_CLAIMS: Choice.ACCEPT_ERP,
    ConflictKind.PERIOD_CLOSED: Choice.HOLD,
    ConflictKind.PARTLY_DONE: Choice.HOLD,
    ConflictKind.LATE_EFFECT: Choice.HOLD,
    ConflictKind.ECHO_MISMATCH: Choice.HOLD,
    ConflictKind.OUTCOME_UNKNOWN: Choice.HOLD,
    ConflictKind.ECHO_MISSING: Choice.HOLD,
    ConflictKind.ERP_REJECTED: Choice.HOLD,
    ConflictKind.PRECONDITION_FAILED: Choice.HOLD,
    ConflictKind.STALE_BASIS: Choice.REBASE,
    ConflictKind.ERP_REVERSED: Choice.ACCEPT_ERP,
    ConflictKind.CREDIT_LIMIT_RACE: Choice.HOLD,
    ConflictKind.UNKNOWN_DOCUMENT: Choice.ACCEPT_ERP,
    ConflictKind.DRIFT: Choice.HOLD,
    ConflictKind.REFUSED_TRANSITION: Choice.HOLD,
}


class Policy(msgspec.Struct, frozen=True):
    """Choices by kind, and the bounds of waiting and trying.

    `settle_time`: how long an accepted command may wait for its echo. `unknown_for`: how long an intent may wait
    for a document that the ERP has not told yet. `retry_after`: pause before a command that was put back is tried
    again; a stale one whose reason the change stream has not shown waits longer each time, up to a minute.
    `most_stales`: how often guards may prove stale, or one guard again and again while the change stream shows no
    reason, before a person must look. `start_date`: invoices of before it are left to people.
    """

    choices: dict[ConflictKind, Choice] = {}
    settle_time: dt.timedelta = dt.timedelta(minutes=5)
    unknown_for: dt.timedelta = dt.timedelta(minutes=15)
    retry_after: dt.timedelta = dt.timedelta(seconds=2)
    most_stales: int = 20
    start_date: dt.date | None = None

    def choice(self, kind: ConflictKind) -> Choice:
        """What to do about a conflict of this kind."""
        return self.choices.get(kind, DEFAULT_CHOICES[kind])
