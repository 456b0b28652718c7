"""Publishes the outbound log through a transport, each system's in its order, from where the last process stopped.

The daemon runs `Publisher.run` in a thread. Published is what the transport has kept; only then the position moves.
A process that dies in between publishes the same again: by their ids consumers know repeats. Documents are read when
they are published, so that the last message of a key is never older than what was told before it.
"""

import datetime as dt
import threading
from collections.abc import Callable, Sequence

import msgspec
import structlog
from psycopg import Cursor

from engine.model.documents import DocumentKind
from engine.model.outbound import CustomerDocument, OutDocument, OutEvent
from engine.ports.feed import Channel, Feed, Outgoing
from engine.store import document_pages, outbound
from engine.store.outbound import FeedPosition, Log
from engine.store.unit import Connection

log = structlog.get_logger()
PAGE = 500
IDLE = 0.2
"""Seconds between two looks at a log in which nothing is new."""


class Publisher:
    """One feed's publishing half. `connection` is the one that holds the feed's lock: who lost it commits nothing."""

    def __init__(
        self,
        name: str,
        systems: Sequence[str],
        feed: Feed,
        connection: Connection,
        clock: Callable[[], dt.datetime],
        *,
        personal: bool = False,
    ) -> None:
        """`personal`: documents carry names and addresses."""
        self._name = name
        self._systems = systems
        self._feed = feed
        self._connection = connection
        self._clock = clock
        self._personal = personal

    def run(self, stop: threading.Event) -> None:
        """Publish until `stop` is set.

        Raises:
            Unavailable: the transport does not take messages now.
            psycopg.OperationalError: the store is away.
        """
        while not stop.is_set():
            if not self.step():
                stop.wait(IDLE)

    def step(self) -> bool:
        """Publish the next page of every system; False when nothing was new."""
        news = [self._system(system) for system in self._systems]
        return any(news)

    def _system(self, system: str) -> bool:
        with self._connection.cursor() as cursor:
            kept = outbound.log_of(cursor, system)
            if kept is None:
                return False
            position = outbound.load_feed(cursor, self._name, system, kept)
            if position.after_document is not None:
                messages, further = self._documents_of_before(cursor, system, kept, position)
            else:
                messages, further = self._news(cursor, system, position)
            if messages:
                self._feed.publish(messages)
            if further != position:
                outbound.save_feed(cursor, self._name, system, further, self._clock())
            return bool(messages) or further.after_document != position.after_document

    def _documents_of_before(
        self, cursor: Cursor[object], system: str, kept: Log, position: FeedPosition
    ) -> tuple[list[Outgoing], FeedPosition]:
        """A new feed begins with every document; the events since the log began come after them."""
        word, _, after = (position.after_document or "invoice/").partition("/")
        kind = DocumentKind(word)
        if not after and kind is DocumentKind.INVOICE:
            log.info("every document is published", feed=self._name, system=system)
        page = document_pages.document_page(cursor, system, kind, after, PAGE, deleted=True)
        stem = f"{system}/documents/{kept.start}"
        messages = [self._document(one, f"{stem}/{_name(one)}/{one.content_version}") for one in page]
        following = f"{kind}/{page[-1].key}" if len(page) == PAGE else None
        if following is None and kind is DocumentKind.INVOICE:
            following = "customer/"
        return messages, FeedPosition(position.place, following)

    def _news(
        self, cursor: Cursor[object], system: str, position: FeedPosition
    ) -> tuple[list[Outgoing], FeedPosition]:
        events, further = outbound.page(cursor, system, position.place, PAGE)
        last = {event.subject: event for event in events if event.kind == "document.changed"}
        documents = self._read(cursor, system, last)
        messages: list[Outgoing] = []
        for event in events:
            if event.kind != "document.changed":
                value = msgspec.json.encode(event)
                messages.append(Outgoing(Channel.EVENTS, f"{system}/{event.subject}", event.id, event.kind, value))
            elif last[event.subject] is event:
                # Of a document that changed several times the last one says everything.
                messages.append(documents.get(event.subject) or _gone(system, event))
        return messages, FeedPosition(further if events else position.place, None)

    def _read(self, cursor: Cursor[object], system: str, last: dict[str, OutEvent]) -> dict[str, Outgoing]:
        found: dict[str, Outgoing] = {}
        for kind in DocumentKind:
            keys = [subject.partition("/")[2] for subject in last if subject.startswith(f"{kind}/")]
            for one in document_pages.some_documents(cursor, system, kind, keys) if keys else ():
                found[_name(one)] = self._document(one, last[_name(one)].id)
        return found

    def _document(self, document: OutDocument, name: str) -> Outgoing:
        shown = document
        if isinstance(document, CustomerDocument) and not self._personal:
            shown = msgspec.structs.replace(document, personal=None)
        value = None if document.deleted else msgspec.json.encode(shown)
        return Outgoing(Channel.DOCUMENTS, f"{document.system}/{_name(document)}", name, "document", value)


def _name(document: OutDocument) -> str:
    return f"{'customer' if isinstance(document, CustomerDocument) else 'invoice'}/{document.key}"


def _gone(system: str, event: OutEvent) -> Outgoing:
    return Outgoing(Channel.DOCUMENTS, f"{system}/{event.subject}", event.id, "document", None)
