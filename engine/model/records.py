"""What the engine knows of a document, an intent, a command and a conflict. The store keeps them, rules replace them.

A record is never changed: a decision makes a new one.
"""

import datetime as dt
from decimal import Decimal
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from engine.model.commands import Outcome, PostPayment, Write
from engine.model.documents import Customer, Invoice
from engine.model.intents import Intent
from statemachines import CommandState, ConflictState, DisputeState


class Match(msgspec.Struct, frozen=True):
    """Money on its way to an invoice: a command in flight. `amount` is in the invoice's own direction."""

    command: str
    amount: Decimal


class Dispute(msgspec.Struct, frozen=True):
    """A customer's claim against an invoice. `id` is that of the intent that raised it; `amount` is contested.

    `holds`: the ERP was asked to hold the invoice's open items back while it lasts. `memo` is the key of the command
    that credits it.
    """

    id: str
    state: str
    amount: Decimal
    reason: str
    holds: bool = False
    memo: str | None = None

    @property
    def alive(self) -> bool:
        """Whether it still has to be settled."""
        return self.state in (DisputeState.RAISED, DisputeState.APPROVED)


class Word(msgspec.Struct, frozen=True):
    """Where the ERP said something: its transaction, the position of the transaction's end, and when it was read."""

    tx: str
    commit: int | None
    at: dt.datetime


class Past(msgspec.Struct, frozen=True):
    """What an invoice was at an earlier content version, as far as people need it to understand a disagreement.

    `facts` are those that the version after it changed: laid over the present ones, newest first, they give the rest.
    """

    version: str
    facts: dict[str, str | None]
    told: Word | None = None


class InvoiceRecord(msgspec.Struct, frozen=True):
    """An invoice with its life. `state` is the machine's state; `erp_updates` counts what the ERP told about it.

    `version` is its content version, `told` where the ERP said what has that version, `past` what it was before
    (bounded; newest first). `ancestors` are earlier versions from which this one differs only by what our
    own commands did: a basis that names one of them is not stale. `changes` are the keys of commands under way that
    will change it otherwise than by a match. `credited` is what our credit memos about it come to, once one was seen.
    """

    doc: Invoice
    version: str
    guard: dict[str, str]
    state: str = "new"
    clearing: str | None = None
    ancestors: tuple[str, ...] = ()
    matches: tuple[Match, ...] = ()
    disputes: tuple[Dispute, ...] = ()
    changes: tuple[str, ...] = ()
    moves: int = 0
    deleted: bool = False
    told: Word | None = None
    past: tuple[Past, ...] = ()
    credited: Decimal | UnsetType = UNSET

    @property
    def key(self) -> str:
        return self.doc.key

    @property
    def under_way(self) -> tuple[str, ...]:
        """The keys of all commands that have a hand on it."""
        return (*(match.command for match in self.matches), *self.changes)

    @property
    def disputed(self) -> bool:
        """Whether a dispute about it still has to be settled."""
        return any(dispute.alive for dispute in self.disputes)

    @property
    def credit(self) -> Decimal:
        """`credited` as a number."""
        return Decimal("0.00") if self.credited is UNSET else self.credited

    def dispute(self, name: str) -> Dispute | None:
        """A dispute about it, by its id."""
        return next((one for one in self.disputes if one.id == name), None)

    def claimed(self, *, besides: str | None = None) -> Decimal:
        """Money in flight to this invoice, own direction, without that of one command."""
        return sum((m.amount for m in self.matches if m.command != besides), Decimal(0))


class CustomerRecord(msgspec.Struct, frozen=True):
    """A customer as the ERP last told it. `changes` are the keys of commands under way that will change it."""

    doc: Customer
    version: str
    guard: dict[str, str]
    changes: tuple[str, ...] = ()
    deleted: bool = False

    @property
    def key(self) -> str:
        return self.doc.key


class IntentRecord(msgspec.Struct, frozen=True):
    """An intent and what became of it. `invoices` are the keys of the documents it names, once they are known."""

    intent: Intent
    state: str
    received_at: dt.datetime
    invoices: tuple[str, ...] = ()
    reason: str | None = None
    commands: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return self.intent.id


NEVER = dt.datetime(9999, 1, 1, tzinfo=dt.UTC)
"""When a command is due that nobody looks at before people choose. What is due then keeps no other one waiting."""


class CommandRecord(msgspec.Struct, frozen=True):
    """One write. A rebase makes the next `revision` under the same key; `sends` counts over all revisions.

    `echoed` is what the change stream shows under its key, by invoice. `due_at` is when the dispatcher or a timer
    looks at it next. `fence` is raised by every claim: an answer that carries an older one changes nothing.
    `sent_guard` is a digest of the guard of the last send. `stales` counts the guards that proved stale while the
    mirror knew newer ones already, `waits` how often in a row the present one did while the mirror knew no other.
    `losses` counts this revision's sends whose answer was lost and of which the ERP then had nothing, if any.
    """

    key: str
    revision: int
    intent: str
    ordinal: int
    customer: str
    state: str
    write: Write
    created_at: dt.datetime
    due_at: dt.datetime
    sends: int = 0
    stales: int = 0
    fence: int = 0
    sent_at: dt.datetime | None = None
    outcome: Outcome | None = None
    reference: str | None = None
    echoed: dict[str, Decimal] = {}
    sent_guard: str | None = None
    waits: int = 0
    losses: int | UnsetType = UNSET

    @property
    def place(self) -> tuple[dt.datetime, str]:
        """Where it stands in the order in which commands were decided."""
        return self.created_at, self.key

    @property
    def lost(self) -> int:
        """`losses` as a number."""
        return 0 if self.losses is UNSET else self.losses

    def promised(self, document: str) -> Decimal | None:
        """What a document was promised to show, own direction; of a new one, whichever carries our key."""
        return self.write.promise.get(document, self.write.carried)

    @property
    def echo_complete(self) -> bool:
        """Everything promised was seen in the change stream, and nothing else."""
        promise, carried = self.write.promise, self.write.carried
        shown = all(self.echoed.get(key, Decimal(0)) >= amount for key, amount in promise.items())
        if carried is None:
            return shown and not self.excess
        return shown and [amount for key, amount in self.echoed.items() if key not in promise] == [carried]

    @property
    def excess(self) -> Decimal:
        """How much more the change stream shows than was promised.

        What a receipt left on account may be applied later, to any invoice; and once it is confirmed, people may move
        its money about.
        """
        write, promise = self.write, self.write.promise
        if write.carried is not None:
            made = sum((amount for key, amount in self.echoed.items() if key not in promise), Decimal(0))
            return max(made - write.carried, Decimal(0))
        spare = write.on_account if isinstance(write, PostPayment) else Decimal(0)
        if self.state == CommandState.CONFIRMED:
            shown = sum(self.echoed.values(), Decimal(0))
            return max(shown - sum(promise.values(), spare), Decimal(0))
        over = (amount - promise.get(key, Decimal(0)) for key, amount in self.echoed.items())
        return max(sum((one for one in over if one > 0), Decimal(0)) - spare, Decimal(0))


class ConflictKind(StrEnum):
    """In order of precedence: one disagreement has one primary kind, the first that fits."""

    VOIDED_TARGET = "voided_target"
    CUSTOMER_MISMATCH = "customer_mismatch"
    DUPLICATE_RECEIPT = "duplicate_receipt"
    ALREADY_CLEARED = "already_cleared"
    OVER_APPLICATION = "over_application"
    CONCURRENT_CLAIMS = "concurrent_claims"
    PERIOD_CLOSED = "period_closed"
    PARTLY_DONE = "partly_done"
    LATE_EFFECT = "late_effect"
    ECHO_MISMATCH = "echo_mismatch"
    OUTCOME_UNKNOWN = "outcome_unknown"
    ECHO_MISSING = "echo_missing"
    ERP_REJECTED = "erp_rejected"
    PRECONDITION_FAILED = "precondition_failed"
    STALE_BASIS = "stale_basis"
    ERP_REVERSED = "erp_reversed"
    CREDIT_LIMIT_RACE = "credit_limit_race"
    UNKNOWN_DOCUMENT = "unknown_document"
    DRIFT = "drift"
    REFUSED_TRANSITION = "refused_transition"


class ConflictRecord(msgspec.Struct, frozen=True):
    """A stored disagreement. `base` is what the AR side had seen, `ar` what it wants, `erp` what the ERP says.

    `amount` is the money at stake in `currency`. `told` is where the ERP said what `erp` holds. `documents` and
    `commands` are all that have to do with it; `tags` the further kinds that fit.

    `default_choice` is what the policy would do and stays beside the `choice` that was made by `chosen_by` (a policy
    or a person). One that is chosen can be undone until `apply_at`; `shown` is what it was chosen on. `ended_at` is
    when it was applied or dismissed, `why` the reason for what happened to it last.
    """

    id: str
    kind: ConflictKind
    state: str
    sentence: str
    rule: str
    default_choice: str
    detected_at: dt.datetime
    intent: str | None = None
    command: str | None = None
    document: str | None = None
    customer: str | None = None
    company: str | None = None
    amount: Decimal | None = None
    currency: str | None = None
    base: dict[str, Any] = {}
    ar: dict[str, Any] = {}
    erp: dict[str, Any] = {}
    told: Word | None = None
    fields: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    choice: str | None = None
    chosen_by: str | None = None
    chosen_at: dt.datetime | None = None
    apply_at: dt.datetime | None = None
    shown: dict[str, str] = {}
    why: str | None = None
    ended_at: dt.datetime | None = None

    @property
    def open(self) -> bool:
        """Whether something can still be chosen about it."""
        return self.state in OPEN_CONFLICT


OPEN_CONFLICT = (ConflictState.DETECTED, ConflictState.HELD, ConflictState.CHOSEN)
