"""What is done about a conflict when nobody is asked. A value: read from the configuration, journalled by version."""

import datetime as dt
from decimal import Decimal
from enum import StrEnum

import msgspec

from engine.model.records import ConflictKind


class Choice(StrEnum):
    """What can be done about a conflict. None of them lets the AR side overwrite a fact of the ERP."""

    ACCEPT_ERP = "accept_erp"
    REBASE = "rebase"
    RETRY = "retry"
    HOLD = "hold"


class Naming(StrEnum):
    """By what the AR side's intents name invoices."""

    EITHER = "either"
    KEY = "key"
    NUMBER = "number"


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


POSSIBLE: dict[ConflictKind, tuple[Choice, ...]] = dict.fromkeys(ConflictKind, (Choice.ACCEPT_ERP, Choice.HOLD)) | {
    ConflictKind.PERIOD_CLOSED: (Choice.ACCEPT_ERP, Choice.RETRY, Choice.HOLD),
    ConflictKind.ERP_REJECTED: (Choice.ACCEPT_ERP, Choice.RETRY, Choice.HOLD),
    ConflictKind.STALE_BASIS: (Choice.ACCEPT_ERP, Choice.REBASE, Choice.HOLD),
    ConflictKind.CREDIT_LIMIT_RACE: (Choice.ACCEPT_ERP, Choice.REBASE, Choice.HOLD),
}
"""What a policy can choose by itself, by kind. A person sees for each conflict what can be chosen about it."""


class Exemption(msgspec.Struct, frozen=True):
    """A choice for some conflicts only. Every bound that is given must fit; amounts count in `currency`.

    `over` and `up_to` bound the money at stake: more than the one, at most the other. A conflict without an amount
    fits no exemption that bounds it.
    """

    choice: Choice
    kinds: tuple[ConflictKind, ...] = ()
    company: str | None = None
    currency: str | None = None
    over: Decimal | None = None
    up_to: Decimal | None = None

    def fits(self, kind: ConflictKind, company: str | None, amount: Decimal | None, currency: str | None) -> bool:
        """Whether this one speaks about a conflict."""
        bounded = self.over is not None or self.up_to is not None
        return (
            (not self.kinds or kind in self.kinds)
            and (self.company is None or self.company == company)
            and (self.currency is None or self.currency == currency)
            and (not bounded or amount is not None)
            and (self.over is None or (amount is not None and amount > self.over))
            and (self.up_to is None or (amount is not None and amount <= self.up_to))
        )


class Policy(msgspec.Struct, frozen=True):
    """Choices by kind, and the bounds of waiting and trying. The first of `exemptions` that fits comes before them.

    `settle_time`: how long an accepted command may wait for its echo. `unknown_for`: how long an intent may wait
    for a document that the ERP has not told yet. `retry_after`: pause before a command that was put back is tried
    again; a stale one whose reason the change stream has not shown waits longer each time, up to a minute.
    `most_stales`: how often guards may prove stale, or one guard again and again while the change stream shows no
    reason, before a person must look. `start_date`: invoices of before it are left to people. `in_doubt_for`: how
    long an outcome may stay unknown before a person is told. `most_retries`: how often a policy of `retry` sends
    again. `most_losses`: how often a command's answer may be lost, and the ERP have nothing of it, before it is sent
    no more and a person must look. `undo_for`: how long a person's choice can be undone before it is carried out.
    `invoices_named_by`: what intents call an invoice.
    """

    choices: dict[ConflictKind, Choice] = {}
    exemptions: tuple[Exemption, ...] = ()
    settle_time: dt.timedelta = dt.timedelta(minutes=5)
    unknown_for: dt.timedelta = dt.timedelta(minutes=15)
    retry_after: dt.timedelta = dt.timedelta(seconds=2)
    most_stales: int = 20
    start_date: dt.date | None = None
    in_doubt_for: dt.timedelta = dt.timedelta(minutes=15)
    most_retries: int = 3
    most_losses: int = 10
    undo_for: dt.timedelta = dt.timedelta(seconds=30)
    invoices_named_by: Naming = Naming.EITHER

    def choice(
        self,
        kind: ConflictKind,
        *,
        company: str | None = None,
        amount: Decimal | None = None,
        currency: str | None = None,
    ) -> Choice:
        """What to do about a conflict of this kind in a company, with so much money at stake."""
        for exemption in self.exemptions:
            if exemption.fits(kind, company, amount, currency):
                return exemption.choice
        return self.choices.get(kind, DEFAULT_CHOICES[kind])
