"""The shapes of requests and answers. The OpenAPI document is made of them, and requests are read by them."""

import datetime as dt
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from engine.model.intents import Intent, Key
from engine.model.outbound import CustomerDocument, InvoiceDocument, OutEvent
from engine.model.records import ConflictRecord
from statemachines import ConflictState, IntentState, InvoiceState

Limit = Annotated[int, msgspec.Meta(ge=1, le=500, description="how many at most")]
After = Annotated[
    str,
    msgspec.Meta(
        max_length=400, pattern="^[^\\x00]*$", description="go on after this one: `next` of the page before"
    ),
]
Wait = Annotated[
    int, msgspec.Meta(ge=0, le=30, description="seconds to wait for the first event, where there is none yet")
]
Batch = Annotated[
    list[Any],
    msgspec.Meta(
        min_length=1, max_length=500, description="Intents; what is none is refused in its place.",
        extra_json_schema={"items": {"anyOf": [{"$ref": "#/components/schemas/Intent"}, {}]}},
    ),
]  # fmt: skip
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern="^[^\\x00]*$")]


class NoPath(msgspec.Struct, frozen=True):
    """An address without parts."""


class OfSystem(msgspec.Struct, frozen=True):
    """An address below a system."""

    system: Word


class OfThing(msgspec.Struct, frozen=True):
    """The address of one thing of a system."""

    system: Word
    key: Key


class NoQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters."""


class PageQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A page."""

    after: After = ""
    limit: Limit = 100


class IntentQuery(PageQuery, frozen=True, kw_only=True):
    """A page of intents; with `state` of those that stand in it."""

    state: IntentState | UnsetType = UNSET


class ConflictQuery(PageQuery, frozen=True, kw_only=True):
    """A page of conflicts; with `state` of those that stand in it."""

    state: ConflictState | UnsetType = UNSET


class InvoiceQuery(PageQuery, frozen=True, kw_only=True):
    """A page of invoices."""

    state: InvoiceState | UnsetType = UNSET
    customer: Word | UnsetType = UNSET
    number: Word | UnsetType = UNSET


class EventQuery(PageQuery, frozen=True, kw_only=True):
    """A part of a feed. `after` is a cursor or an event's id; without it the oldest that is kept comes first."""

    wait: Wait = 0


class SystemStatus(msgspec.Struct, frozen=True):
    """A system: whether anything is held back, and where its feed stands now."""

    system: str
    connector: str
    paused: bool
    events_from: str
    events_end: str


class SystemList(msgspec.Struct, frozen=True):
    """The configured systems."""

    systems: list[SystemStatus]


class Health(msgspec.Struct, frozen=True):
    """Whether requests can be answered."""

    well: bool


class Taken(msgspec.Struct, frozen=True):
    """What became of an intent when it was submitted; `known` when the same one had been before."""

    system: str
    id: str
    state: str
    reason: str | None
    known: bool


class BatchResult(msgspec.Struct, frozen=True):
    """One of several: either what became of it, or why it was not taken (`status` as for one alone)."""

    status: int
    taken: Taken | None
    refused: str | None


class BatchResults(msgspec.Struct, frozen=True):
    """What became of several intents, in their order."""

    results: list[BatchResult]


class CommandStatus(msgspec.Struct, frozen=True):
    """A write that an intent caused, and the ERP's last answer to it."""

    key: str
    revision: int
    state: str
    sends: int
    sent_at: dt.datetime | None
    reference: str | None
    answer: str | None
    answer_text: str | None
    echoed: dict[str, Decimal]


class ConflictBrief(msgspec.Struct, frozen=True):
    """A conflict in one sentence."""

    id: str
    kind: str
    state: str
    choice: str | None
    sentence: str


class IntentStatus(msgspec.Struct, frozen=True):
    """An intent and all that became of it."""

    system: str
    id: str
    state: str
    reason: str | None
    received_at: dt.datetime
    intent: Intent
    commands: list[CommandStatus]
    conflicts: list[ConflictBrief]


class IntentPage(msgspec.Struct, frozen=True):
    """Intents in the order of their ids; `next` is null on the last page."""

    intents: list[IntentStatus]
    next: str | None


class InvoicePage(msgspec.Struct, frozen=True):
    """Invoices in the order of their keys. `events_after`: the feed from there on tells what changed since."""

    invoices: list[InvoiceDocument]
    next: str | None
    events_after: str


class CustomerPage(msgspec.Struct, frozen=True):
    """Customers in the order of their keys."""

    customers: list[CustomerDocument]
    next: str | None
    events_after: str


class ConflictPage(msgspec.Struct, frozen=True):
    """Conflicts in the order of their ids."""

    conflicts: list[ConflictRecord]
    next: str | None


class EventPage(msgspec.Struct, frozen=True):
    """Events in order; go on with `after` = `next`, whether there were any or not."""

    events: list[OutEvent]
    next: str
