"""The AR side of a process: HTTP, the feeds, and the pruning of what they have published.

`arsync run` keeps it up beside reader and dispatchers, `arsync serve` alone. Of several processes with one store one
does each of these; the others stand by, and take over within seconds when its connection to the store has gone.
"""

import contextlib
import datetime as dt
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import psycopg
import structlog

from engine.app import registry
from engine.app.config import Config
from engine.app.http.serving import served
from engine.app.wiring import OpenStore, now, open_doors
from engine.flow.feed import Publisher
from engine.flow.inbox import Inbox
from engine.flow.intake import Door
from engine.ports.errors import ConfigError, Unavailable
from engine.ports.feed import Feed
from engine.store import outbound
from engine.store.exclusive import hold
from engine.store.unit import Connection

log = structlog.get_logger()
_LOOK: Final = 1.0
_LONGEST_PAUSE: Final = 30.0
_PRUNE_EVERY: Final = 60.0
_START_SECONDS: Final = 10.0
Work = Callable[[Connection, threading.Event, Callable[[], None]], None]
"""Runs until the event is set; calls its last argument once it works."""


class Report(Protocol):
    """How a part says how it is."""

    def __call__(self, part: str, *, well: bool, detail: str = "") -> None: ...


class _Part:
    """One thing that one process of several does, in a thread."""

    def __init__(self, side: "ArSide", name: str, work: Work) -> None:
        self._side = side
        self._name = name
        self._work = work
        self.told = threading.Event()
        """Set once it is known whether it works."""
        self.refusal: ConfigError | None = None
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def _run(self) -> None:
        side, failures = self._side, 0
        while not side.stop.is_set():
            try:
                with side.store.connect() as own:
                    if not hold(own, f"ar/{self._name}"):
                        side.report(self._name, well=True, detail="another process does it; this one stands by")
                        self.told.set()
                        side.stop.wait(_LOOK)
                        continue
                    failures = 0
                    self._work(own, side.stop, self.told.set)
            except (psycopg.OperationalError, Unavailable) as error:
                failures += 1
                side.report(self._name, well=False, detail=str(error).strip())
                log.warning("broke off and is taken up again", part=self._name, error=str(error).strip())
                self.told.set()
                side.stop.wait(min(_LONGEST_PAUSE, 0.25 * 2.0**failures))
            except ConfigError as error:
                self.refusal = error
                side.report(self._name, well=False, detail=str(error))
                self.told.set()
                return
            except Exception as error:
                side.report(self._name, well=False, detail=f"{type(error).__name__}: {error}")
                log.exception("a part of the AR side has ended; start again when it is mended", part=self._name)
                self.told.set()
                return


class ArSide:
    """All parts over one store. Made by `ar_side`."""

    def __init__(
        self, store: OpenStore, config: Config, folder: Path, doors: Mapping[str, Door], report: Report
    ) -> None:
        self.store = store
        self.config = config
        self.folder = folder
        self.doors = doors
        self.report = report
        self.stop = threading.Event()
        self.port: int | None = None
        """HTTP's, while this process serves it."""

    def parts(self) -> list[_Part]:
        """Every part that is configured."""
        made = [_Part(self, "http", self._serve)] if self.config.http.tokens else []
        for name, options in self.config.feeds.items():
            made.append(_Part(self, f"feed {name}", self._fed(name, options)))
        made.append(_Part(self, "pruning", self._prune))
        return made

    def _serve(self, own: Connection, stop: threading.Event, told: Callable[[], None]) -> None:
        with served(self.store.connect, self.doors, self.config.http, self.folder) as port:
            self.port = port
            self.report("http", well=True, detail=f"{self.config.http.host}:{port}")
            told()
            try:
                while not stop.wait(_LOOK):
                    own.execute("SELECT 1")
            finally:
                self.port = None

    def _fed(self, name: str, options: dict[str, Any]) -> Work:
        def work(own: Connection, stop: threading.Event, told: Callable[[], None]) -> None:
            feed = registry.feed(name).open(options, self.folder)
            told()
            try:
                self._run_feed(name, feed, own, stop)
            finally:
                feed.close()

        return work

    def _run_feed(self, name: str, feed: Feed, own: Connection, stop: threading.Event) -> None:
        """Publish and read side by side; when one breaks off, both do."""
        personal = self.config.outbound.personal
        publisher = Publisher(name, sorted(self.doors), feed, own, now, personal=personal)
        ended = threading.Event()
        failed: list[Exception] = []

        def publish() -> None:
            try:
                publisher.run(ended)
            except Exception as error:  # noqa: BLE001 - raised again in the thread that reads
                failed.append(error)
                ended.set()

        with self.store.connect() as reading:
            inbox = Inbox(name, self.doors, feed, reading, now, owns=lambda: _alive(own))
            inbox.begin()
            self.report(f"feed {name}", well=True, detail="publishes and reads")
            thread = threading.Thread(target=publish, name=f"publish {name}", daemon=True)
            thread.start()
            try:
                while not ended.is_set() and not stop.is_set():
                    inbox.step(0.2)
            finally:
                ended.set()
                thread.join()
        if failed:
            raise failed[0]

    def _prune(self, own: Connection, stop: threading.Event, told: Callable[[], None]) -> None:
        told()
        keep = dt.timedelta(hours=self.config.outbound.keep_hours)
        while True:
            for system in self.doors:
                while not stop.is_set():
                    with own.transaction(), own.cursor() as cursor:
                        gone = outbound.prune(cursor, system, now() - keep, sorted(self.config.feeds))
                    if not gone:
                        break
                    log.info("told and old: removed", system=system, events=gone)
            self.report("pruning", well=True)
            if stop.wait(_PRUNE_EVERY):
                return


@contextlib.contextmanager
def ar_side(store: OpenStore, config: Config, folder: Path, report: Report) -> Iterator[ArSide]:
    """Keep the AR side up for the time of the block; what is under way is finished at its end.

    Where neither a token nor a feed is configured nothing is kept for the AR side, and nothing runs.

    Raises:
        ConfigError: a setting is wrong, or HTTP's port is taken by another program.
    """
    side = ArSide(store, config, folder, begin_log(store, config), report)
    parts = side.parts() if config.tells_ar else []
    until = time.monotonic() + _START_SECONDS
    try:
        for part in parts:
            part.thread.start()
        for part in parts:
            # A transport that does not answer yet must not hold up the rest.
            part.told.wait(max(0.0, until - time.monotonic()))
            if part.refusal is not None:
                raise part.refusal
        yield side
    finally:
        side.stop.set()
        for part in parts:
            if part.thread.ident is not None:
                part.thread.join()


def begin_log(store: OpenStore, config: Config) -> dict[str, Door]:
    """Have everything that happens written for the AR side from now on, or no longer; gives the systems' doors."""
    with store.connect() as connection:
        doors = open_doors(connection, config)
        for system in doors:
            with connection.transaction(), connection.cursor() as cursor:
                outbound.keep_log(cursor, system, wanted=config.tells_ar)
    return doors


def _alive(connection: Connection) -> None:
    connection.execute("SELECT 1")
