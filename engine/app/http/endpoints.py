"""What each address does. An endpoint is a value: the routes and the OpenAPI document are both made of this list.

Handlers run in a thread with a connection of their own to the store, read or submit, and return a value; a refusal is
raised.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from psycopg import Cursor

from engine.app.http import shapes
from engine.app.http.access import Caller
from engine.app.http.problems import Refusal
from engine.app.http.submitting import submit_batch, submit_one
from engine.flow.intake import Door
from engine.model.documents import DocumentKind
from engine.model.intents import Intent
from engine.model.outbound import CustomerDocument, InvoiceDocument
from engine.model.records import ConflictRecord
from engine.store import document_pages, intent_pages, outbound, status
from engine.store.brake import paused
from engine.store.outbound import LostPlaceError, Place
from engine.store.unit import Connection


class Asked(msgspec.Struct, frozen=True):
    """A request that was understood."""

    connection: Connection
    doors: Mapping[str, Door]
    caller: Caller
    path: Any
    query: Any
    body: bytes = b""

    @property
    def cursor(self) -> Cursor[Any]:
        """A cursor to read with."""
        return self.connection.cursor()


class Endpoint(msgspec.Struct, frozen=True):
    """One address and method. `answers` gives the shape for each status of success; `body` that of the request."""

    method: str
    path: str
    name: str
    summary: str
    handle: Callable[[Asked], tuple[int, object]]
    answers: Mapping[int, Any]
    path_shape: type[msgspec.Struct] = shapes.NoPath
    query_shape: type[msgspec.Struct] = shapes.NoQuery
    body: Any = None
    refuses: tuple[int, ...] = ()
    is_open: bool = False


def _health(asked: Asked) -> tuple[int, object]:
    asked.connection.execute("SELECT 1")
    return 200, shapes.Health(well=True)


def _systems(asked: Asked) -> tuple[int, object]:
    return 200, shapes.SystemList([_system(asked.cursor, name) for name in sorted(asked.doors)])


def _system(cursor: Cursor[Any], name: str) -> shapes.SystemStatus:
    log = _log(cursor, name)
    return shapes.SystemStatus(
        name, status.connector_of(cursor, name), paused(cursor, name) is not None, str(log.start), str(log.end)
    )


def _intents(asked: Asked) -> tuple[int, object]:
    query: shapes.IntentQuery = asked.query
    system = _known(asked)
    found = intent_pages.intent_page(asked.cursor, system, query.after, query.limit, _set(query.state))
    more = found[-1].record.id if len(found) == query.limit else None
    return 200, shapes.IntentPage([_intent(system, one) for one in found], more)


def _one_intent(asked: Asked) -> tuple[int, object]:
    system = _known(asked)
    found = intent_pages.one_intent(asked.cursor, system, asked.path.key)
    if found is None:
        raise _missing(f"intent {asked.path.key}", system, "intents")
    return 200, _intent(system, found)


def _invoices(asked: Asked) -> tuple[int, object]:
    query: shapes.InvoiceQuery = asked.query
    system = _known(asked)
    end = _log(asked.cursor, system).end
    found = document_pages.invoice_page(
        asked.cursor, system, query.after, query.limit,
        state=_set(query.state), customer=_set(query.customer), number=_set(query.number),
    )  # fmt: skip
    return 200, shapes.InvoicePage(found, found[-1].key if len(found) == query.limit else None, str(end))


def _customers(asked: Asked) -> tuple[int, object]:
    query: shapes.PageQuery = asked.query
    system = _known(asked)
    end = _log(asked.cursor, system).end
    kind = DocumentKind.CUSTOMER
    read = document_pages.document_page(asked.cursor, system, kind, query.after, query.limit)
    found = [one for one in read if isinstance(one, CustomerDocument)]
    return 200, shapes.CustomerPage(found, found[-1].key if len(found) == query.limit else None, str(end))


def _one_invoice(asked: Asked) -> tuple[int, object]:
    return 200, _document(asked, DocumentKind.INVOICE)


def _one_customer(asked: Asked) -> tuple[int, object]:
    return 200, _document(asked, DocumentKind.CUSTOMER)


def _document(asked: Asked, kind: DocumentKind) -> object:
    system = _known(asked)
    found = document_pages.some_documents(asked.cursor, system, kind, [asked.path.key])
    if not found:
        raise _missing(f"{kind} {asked.path.key}", system, f"{kind}s")
    return found[0]


def _conflicts(asked: Asked) -> tuple[int, object]:
    query: shapes.ConflictQuery = asked.query
    system = _known(asked)
    found = intent_pages.conflict_page(asked.cursor, system, query.after, query.limit, _set(query.state))
    return 200, shapes.ConflictPage(found, found[-1].id if len(found) == query.limit else None)


def _one_conflict(asked: Asked) -> tuple[int, object]:
    system = _known(asked)
    found = intent_pages.one_conflict(asked.cursor, system, asked.path.key)
    if found is None:
        raise _missing(f"conflict {asked.path.key}", system, "conflicts")
    return 200, found


def _events(asked: Asked) -> tuple[int, object]:
    query: shapes.EventQuery = asked.query
    system = _known(asked)
    cursor = asked.cursor
    after: Place | None = _log(cursor, system).start
    if query.after:
        after = Place.parse(query.after) or outbound.place_of(cursor, system, query.after)
    lost = Refusal(
        410,
        f"after {query.after!r} in the feed of system {system}",
        "this place is not kept: it is too old, of another life of the store, or no place at all",
        "read the documents anew, then the feed after their `events_after`",
    )
    if after is None:
        raise lost
    try:
        found, further = outbound.page(cursor, system, after, query.limit)
    except LostPlaceError:
        raise lost from None
    return 200, shapes.EventPage(found, str(further))


def _log(cursor: Cursor[Any], system: str) -> outbound.Log:
    log = outbound.log_of(cursor, system)
    if log is None:
        cause = "nothing is written for the AR side"
        raise Refusal(503, f"system {system}", cause, "start `arsync run` or `arsync serve` with this configuration")
    return log


def _known(asked: Asked) -> str:
    system: str = asked.path.system
    if system not in asked.doors:
        known = ", ".join(sorted(asked.doors)) or "none"
        raise Refusal(
            404, f"system {system}", f"it is not configured; configured are: {known}", "ask for one of them"
        )
    return system


def _missing(thing: str, system: str, plural: str) -> Refusal:
    where = f"/v1/systems/{system}/{plural}"
    return Refusal(404, thing, f"system {system} knows none of this name", f"GET {where} lists those that are known")


def _set(value: str | UnsetType) -> str | None:
    return None if value is UNSET else str(value)


def _intent(system: str, whole: intent_pages.WholeIntent) -> shapes.IntentStatus:
    record = whole.record
    commands = [
        shapes.CommandStatus(
            c.key, c.revision, c.state, c.sends, c.sent_at, c.reference,
            str(c.outcome.kind) if c.outcome else None, c.outcome.detail if c.outcome else None, c.echoed,
        )
        for c in whole.commands
    ]  # fmt: skip
    conflicts = [shapes.ConflictBrief(c.id, c.kind, c.state, c.choice, c.sentence) for c in whole.conflicts]
    return shapes.IntentStatus(
        system, record.id, record.state, record.reason, record.received_at, record.intent, commands, conflicts
    )


def _submit(asked: Asked) -> tuple[int, object]:
    return submit_one(asked.connection, asked.doors, asked.body, asked.caller)


def _submit_batch(asked: Asked) -> tuple[int, object]:
    return submit_batch(asked.connection, asked.doors, asked.body, asked.caller)


_OF_SYSTEM = "/v1/systems/{system}"
ENDPOINTS = (
    Endpoint("GET", "/health", "health", "Whether requests can be answered", _health,
             {200: shapes.Health}, is_open=True),
    Endpoint("GET", "/v1/systems", "systems", "The configured systems", _systems, {200: shapes.SystemList}),
    Endpoint("POST", "/v1/intents", "submit_intent", "Submit an intent; the same one again changes nothing", _submit,
             {200: shapes.Taken, 201: shapes.Taken}, body=Intent, refuses=(409, 413, 415, 422)),
    Endpoint("POST", "/v1/intents/batch", "submit_intents",
             "Submit several intents in their order; one that cannot be taken does not hold up the others",
             _submit_batch, {200: shapes.BatchResults}, body=shapes.Batch, refuses=(413, 415)),
    Endpoint("GET", f"{_OF_SYSTEM}/intents", "intents", "Intents with what became of them", _intents,
             {200: shapes.IntentPage}, shapes.OfSystem, shapes.IntentQuery, refuses=(404,)),
    Endpoint("GET", f"{_OF_SYSTEM}/intents/{{key}}", "intent", "One intent, by its id", _one_intent,
             {200: shapes.IntentStatus}, shapes.OfThing, refuses=(404,)),
    Endpoint("GET", f"{_OF_SYSTEM}/invoices", "invoices", "Invoices and credit memos", _invoices,
             {200: shapes.InvoicePage}, shapes.OfSystem, shapes.InvoiceQuery, refuses=(404,)),
    Endpoint("GET", f"{_OF_SYSTEM}/invoices/{{key}}", "invoice", "One invoice, by its key; a deleted one too",
             _one_invoice, {200: InvoiceDocument}, shapes.OfThing, refuses=(404,)),
    Endpoint("GET", f"{_OF_SYSTEM}/customers", "customers", "Customers with what they owe", _customers,
             {200: shapes.CustomerPage}, shapes.OfSystem, shapes.PageQuery, refuses=(404,)),
    Endpoint("GET", f"{_OF_SYSTEM}/customers/{{key}}", "customer", "One customer, by its key", _one_customer,
             {200: CustomerDocument}, shapes.OfThing, refuses=(404,)),
    Endpoint("GET", f"{_OF_SYSTEM}/conflicts", "conflicts", "Where both sides disagreed, and what was chosen",
             _conflicts, {200: shapes.ConflictPage}, shapes.OfSystem, shapes.ConflictQuery, refuses=(404,)),
    Endpoint("GET", f"{_OF_SYSTEM}/conflicts/{{key}}", "conflict", "One conflict, by its id", _one_conflict,
             {200: ConflictRecord}, shapes.OfThing, refuses=(404,)),
    Endpoint("GET", f"{_OF_SYSTEM}/events", "events", "What happened, in order, after a place in the feed", _events,
             {200: shapes.EventPage}, shapes.OfSystem, shapes.EventQuery, refuses=(404, 410)),
)  # fmt: skip
