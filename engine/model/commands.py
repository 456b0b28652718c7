"""What arsync asks an ERP to write, and what the ERP answered."""

import datetime as dt
import re
from decimal import Decimal
from enum import StrEnum

import msgspec

from engine.model.canonical import short_digest

_KEY_FORM = re.compile("[A-Z2-7]{16}")


def command_key(system: str, intent: str, ordinal: int) -> str:
    """The permanent idempotency key of one write: 16 characters A-Z, 2-7.

    A pure function of its three arguments and of nothing else, so that it survives rebase, retry and policy change.
    """
    return short_digest(("command/1", system, intent, ordinal))


def is_command_key(text: str | None) -> bool:
    """Whether a text has the form of a command's key; only the store knows whether it is one."""
    return text is not None and _KEY_FORM.fullmatch(text) is not None


class PromisedAllocation(msgspec.Struct, frozen=True):
    """One part of a promise: `amount` (own direction of the invoice) will have been applied to `invoice`.

    `number` and `version` are the invoice's number and content version when the command was decided.
    """

    invoice: str
    amount: Decimal
    number: str | None
    version: str


class PostPayment(msgspec.Struct, frozen=True, tag="post_payment", tag_field="kind"):
    """Post a receipt and apply it. What it promises is what it says."""

    company: str
    customer: str
    currency: str
    amount: Decimal
    date: dt.date
    allocations: tuple[PromisedAllocation, ...]
    reference: str | None = None


Write = PostPayment


class OutcomeKind(StrEnum):
    """What the ERP's answer means for the command."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    STALE = "stale"
    THROTTLED = "throttled"
    UNKNOWN = "unknown"


class Outcome(msgspec.Struct, frozen=True):
    """The ERP's answer. `detail` is its own text with secrets removed; `reference` the ERP's document.

    `reason` names a conflict kind when the answer leaves no other reading (an invoice found already cleared under
    the lease, a closed period); otherwise None.
    """

    kind: OutcomeKind
    detail: str = ""
    reference: str | None = None
    reason: str | None = None


class Found(msgspec.Struct, frozen=True):
    """A write that carries a command's key was found in the ERP. `complete` is False when steps are still missing."""

    reference: str
    amount: Decimal | None = None
    complete: bool = True
