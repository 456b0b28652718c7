"""Everything that can happen to the engine, and everything that it can decide. Named values; nothing else drives it.

An event carries its own time: the rules have no clock. What an event led to is a list of effects, journalled with it.
"""

import datetime as dt
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from engine.model.commands import Found, Outcome
from engine.model.documents import Customer, Invoice, Paper
from engine.model.intents import Intent


class Told(msgspec.Struct, frozen=True):
    """One document as the ERP tells it now; `document` is None when the ERP has deleted it."""

    key: str
    document: Invoice | Customer | Paper | None
    guard: dict[str, str]


class DocumentsTold(msgspec.Struct, frozen=True, tag="change"):
    """What one ERP transaction (or one page of a snapshot) made of the documents that it touched, in key order.

    `papers` are told only where one of our commands is about them. `commit` is the position of the transaction's end.
    """

    tx: str
    at: dt.datetime
    invoices: tuple[Told, ...] = ()
    customers: tuple[Told, ...] = ()
    papers: tuple[Told, ...] = ()
    commit: int | None = None


class IntentSubmitted(msgspec.Struct, frozen=True, tag="intent"):
    """The AR side asks for something. `by` says who brought it: a token's name, a topic, a user of this machine."""

    intent: Intent
    at: dt.datetime
    by: str | None = None


class OutcomeReceived(msgspec.Struct, frozen=True, tag="outcome"):
    """The ERP answered a command, or did not."""

    command: str
    fence: int
    outcome: Outcome
    at: dt.datetime


class KeyLookedUp(msgspec.Struct, frozen=True, tag="erp_read"):
    """A key was looked up in the ERP. `proves_absence`: nothing found, and no answer can still be on its way."""

    command: str
    fence: int
    found: Found | None
    proves_absence: bool
    at: dt.datetime


class Timer(StrEnum):
    """What a clock can ask for."""

    SEND = "send"
    LEASE_EXPIRED = "lease_expired"
    RETRY_STALE = "retry_stale"
    ECHO_OVERDUE = "echo_overdue"
    STILL_UNKNOWN = "still_unknown"
    APPLY_CHOICE = "apply_choice"
    GIVEN_UP = "given_up"


class TimerFired(msgspec.Struct, frozen=True, tag="timer"):
    """The time has come. `subject` is a command's key, for `still_unknown` an intent's id, for `apply_choice` a
    conflict's. `given_up`: somebody has dropped the dead letter that parked the command.

    `told_until`: the change stream has told everything that the ERP did until then; asked for where silence counts.
    """

    timer: Timer
    subject: str
    at: dt.datetime
    told_until: dt.datetime | UnsetType = UNSET


class ChoiceMade(msgspec.Struct, frozen=True, tag="choice"):
    """Somebody chose what is to be done about a conflict.

    `choice` is one of the policy's words, `shown` the version of what the actor had before them, if they named it.
    Until `apply_at` it can be undone; None carries it out at once.
    """

    conflict: str
    choice: str
    actor: str
    reason: str
    at: dt.datetime
    shown: str | None = None
    apply_at: dt.datetime | None = None


class ChoiceUndone(msgspec.Struct, frozen=True, tag="undo"):
    """Somebody takes a choice back that was not carried out yet."""

    conflict: str
    actor: str
    reason: str
    at: dt.datetime


class FieldDiffers(msgspec.Struct, frozen=True):
    """One fact of a document: what the ERP's own API says of it, and what is kept. `amount` is the money between."""

    name: str
    erp: str | None
    arsync: str | None
    amount: Decimal | None = None


class DocumentCompared(msgspec.Struct, frozen=True, tag="comparison"):
    """A document was held against the ERP's own API while nothing of it was on its way; no difference ends a drift.

    `document` is `kind/key`, `through` the position up to which the mirror had been read.
    """

    document: str
    differences: tuple[FieldDiffers, ...]
    at: dt.datetime
    customer: str | None = None
    through: int | None = None


Event = (
    DocumentsTold
    | IntentSubmitted
    | OutcomeReceived
    | KeyLookedUp
    | TimerFired
    | ChoiceMade
    | ChoiceUndone
    | DocumentCompared
)


class Moved(msgspec.Struct, frozen=True, tag="moved"):
    """A machine took a step. `machine` is its name, `subject` the key of what it belongs to."""

    machine: str
    subject: str
    trigger: str
    source: str
    destination: str
    reason: str | None = None


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """A machine has no such step: the trigger changed nothing."""

    machine: str
    subject: str
    trigger: str
    state: str


class Planned(msgspec.Struct, frozen=True, tag="planned"):
    """A command was decided on: `write` is what it will ask for."""

    command: str
    revision: int
    intent: str
    write: dict[str, Any]


class Echoed(msgspec.Struct, frozen=True, tag="echoed"):
    """The change stream showed a part of what a command promised."""

    command: str
    invoice: str
    amount: str


class Raised(msgspec.Struct, frozen=True, tag="raised"):
    """A conflict was detected."""

    conflict: str
    kind: str
    rule: str
    sentence: str
    choice: str


class Chosen(msgspec.Struct, frozen=True, tag="chosen"):
    """A choice about a conflict was taken. `shown` is what the ERP and the engine said of it: word by subject."""

    conflict: str
    choice: str
    by: str
    why: str
    shown: dict[str, str]


class Declined(msgspec.Struct, frozen=True, tag="declined"):
    """A choice about a conflict cannot be carried out, and changed nothing."""

    conflict: str
    choice: str
    sentence: str


Effect = Moved | Refused | Planned | Echoed | Raised | Chosen | Declined
