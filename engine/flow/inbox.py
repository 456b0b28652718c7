"""Takes the intents that the AR side leaves in a transport's streams, each exactly once in effect.

The daemon runs `Inbox.run` in a thread. How far it has read is committed after the intents that it read: a process
that dies in between reads them again, and the same intent changes nothing. What cannot be taken is kept as a dead
letter with its reason, answered by an event, and the stream goes on.
"""

import datetime as dt
import threading
from collections.abc import Callable, Mapping, Sequence

import psycopg
import structlog

from engine.flow.intake import Door, NotTaken, submit_all
from engine.model.outbound import IntentNotTaken
from engine.ports.feed import Feed, Incoming
from engine.store import letters, outbound
from engine.store.letters import LetterKind
from engine.store.unit import Connection, unit_of_work

log = structlog.get_logger()
_TIMEOUT = 0.2


class Inbox:
    """One feed's reading half, with the connection on which it commits."""

    def __init__(
        self,
        name: str,
        doors: Mapping[str, Door],
        feed: Feed,
        connection: Connection,
        clock: Callable[[], dt.datetime],
        owns: Callable[[], None],
    ) -> None:
        """`owns` raises when the feed may be another process's by now; it is asked before a position is kept."""
        self._name = name
        self._doors = doors
        self._feed = feed
        self._connection = connection
        self._clock = clock
        self._owns = owns

    def run(self, stop: threading.Event) -> None:
        """Read until `stop` is set.

        Raises:
            Unavailable: the transport does not answer now.
            psycopg.OperationalError: the store is away.
        """
        self.begin()
        while not stop.is_set():
            self.step(_TIMEOUT)

    def begin(self) -> None:
        """Go on where the last process stopped."""
        with self._connection.cursor() as cursor:
            positions = outbound.load_inbox(cursor, self._name)
        for lost in self._feed.seek(positions):
            log.error("messages of the AR side were gone before they were read", feed=self._name, detail=lost)

    def step(self, timeout: float) -> int:
        """Take the next messages; returns how many."""
        messages = self._feed.poll(timeout)
        if not messages:
            return 0
        self._take(messages)
        self._owns()
        with self._connection.transaction(), self._connection.cursor() as cursor:
            positions = {message.stream: message.position + 1 for message in messages}
            outbound.save_inbox(cursor, self._name, positions, self._clock())
        return len(messages)

    def _take(self, messages: Sequence[Incoming]) -> None:
        by = f"feed {self._name}"
        raws = [message.value or b"" for message in messages]
        try:
            results = submit_all(self._connection, self._doors, raws, self._clock, by)
        except psycopg.OperationalError:
            raise
        except Exception:
            if len(messages) > 1:
                # One of them is at fault: the others are taken one by one.
                for message in messages:
                    self._take([message])
                return
            log.exception("an intent could not be taken by a defect", feed=self._name, origin=messages[0].origin)
            results = [NotTaken("arsync has a defect with this intent; its log says more")]
        for message, result in zip(messages, results, strict=True):
            if isinstance(result, NotTaken):
                self._answer(message, result.reason, result.id, result.system)
            elif result.trouble is not None:
                self._answer(message, result.trouble, result.id, result.system)

    def _answer(self, message: Incoming, reason: str, name: str | None, system: str | None) -> None:
        """Keep what could not be taken, and tell the AR side of it, once however often it is delivered."""
        # What names no system of ours is told in the first one's feed.
        place = system if system is not None and system in self._doors else min(self._doors)
        log.warning("an intent was not taken", feed=self._name, origin=message.origin, reason=reason)
        payload = (message.value or b"").decode("utf-8", "backslashreplace").replace("\x00", "\\x00")
        now = self._clock()
        with unit_of_work(self._connection, place, now) as work:
            if letters.knows(work.cursor, place, message.origin):
                return
            letters.keep(
                work.cursor, place, now, LetterKind.INTENT, origin=message.origin, reason=reason, payload=payload
            )
            if work.telling is not None:
                told = IntentNotTaken(message.origin, reason, name)
                work.telling.add(message.origin, f"intent/{name or message.origin}", now, told)
