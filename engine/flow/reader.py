"""Reads one system's source for as long as the daemon runs, and opens source and store again when they break.

`arsync run` calls it in its main thread. A batch is acknowledged to the source only after it was committed; whatever
fails, the next attempt begins at the committed position.
"""

import datetime as dt
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event

import msgspec
import psycopg
import structlog
from tenacity import RetryCallState, Retrying, retry_if_exception_type

from engine.flow.chores import Chores, ReadAgain
from engine.flow.pipeline import Pipeline
from engine.flow.vitals import Vitals
from engine.ports.errors import SourceError
from engine.ports.mapping import ErpMapping
from engine.ports.source import Resume, Source, SourceBatch, SourceSetup
from engine.ports.surveying import Surveyor
from engine.rules.policy import Policy
from engine.store.exclusive import take_over
from engine.store.position import load_position
from engine.store.unit import Connection

log = structlog.get_logger()
PART = "source"
CHORES_EVERY = 0.5
"""Seconds between two looks at what somebody asks the reader to do beside the stream."""
_LONGEST_PAUSE = 30.0


class Reading(msgspec.Struct, frozen=True):
    """What is read and how.

    `open_source` gets where to go on, and whether this is the first attempt of this process. `quiet` seconds without
    a record close the transactions whose end nobody announces. `until_end` stops behind the last record of a source
    that has one. `read_again` decodes once more what the source could not, `survey` opens what
    reads rows beside the stream.
    """

    system: str
    mapping: ErpMapping
    policy: Policy
    open_source: Callable[[Resume | None, bool], Source]
    connect: Callable[[], Connection]
    clock: Callable[[], dt.datetime]
    quiet: float = 1.0
    brake: int = 100
    most_letters: int = 10_000
    until_end: bool = False
    read_again: ReadAgain | None = None
    survey: Callable[[], Surveyor | None] = lambda: None


class Reader:
    """The daemon's reading half."""

    def __init__(
        self, reading: Reading, vitals: Vitals, *, ready: Callable[[], None], wake: Callable[[], None]
    ) -> None:
        """`ready` is called once, when documents are there and the stream is read; `wake` after every commit."""
        self._reading = reading
        self._vitals = vitals
        self._ready = ready
        self._wake = wake
        self._first = True
        self._is_ready = False
        self._failures = 0
        self.records = 0

    def run(self, stop: Event) -> None:
        """Read until `stop` is set or the source has ended.

        Raises:
            SourceRefused: going on would lose data.
            BrakeError: too many records in a row could not be read.
            AlreadyRunningError: another daemon works on this system.
        """
        for attempt in Retrying(
            retry=retry_if_exception_type((SourceError, psycopg.OperationalError)),
            wait=self._pause,
            stop=lambda _state: stop.is_set(),
            sleep=lambda seconds: _sleep(stop, seconds),
            before_sleep=self._broke,
            retry_error_callback=lambda _state: None,
        ):
            with attempt:
                self._read(stop)

    def _read(self, stop: Event) -> None:
        reading = self._reading
        with reading.connect() as connection:
            take_over(connection, reading.system)
            with connection.cursor() as cursor:
                stored = load_position(cursor, reading.system)
            source = reading.open_source(stored.resume if stored else None, self._first)
            try:
                pipeline = Pipeline(
                    connection,
                    reading.system,
                    reading.mapping,
                    reading.policy,
                    reading.clock,
                    epoch=source.epoch,
                    brake=reading.brake,
                    most_letters=reading.most_letters,
                )
                pipeline.catch_up()
                surveyor = reading.survey()
                chores = Chores(connection, reading.system, pipeline, reading.read_again, surveyor)
                self._follow(source, pipeline, chores, stop)
            finally:
                source.close()

    def _follow(self, source: Source, pipeline: Pipeline, chores: Chores, stop: Event) -> None:
        quiet_since = time.monotonic()
        chores_since = 0.0
        self._tell(pipeline)
        while not stop.is_set():
            if time.monotonic() - chores_since > CHORES_EVERY and pipeline.position.snapshot_complete:
                if chores.step():
                    self._wake()
                chores_since = time.monotonic()
            batch = source.poll(0.2)
            if batch is not None:
                self._take(source, pipeline, batch)
                quiet_since = time.monotonic()
            elif source.exhausted and self._reading.until_end:
                break
            elif time.monotonic() - quiet_since > self._reading.quiet:
                pipeline.settle(ended=source.exhausted)
                quiet_since = time.monotonic()
            elif source.exhausted:
                stop.wait(0.2)
        if source.exhausted:
            pipeline.settle()

    def _take(self, source: Source, pipeline: Pipeline, batch: SourceBatch) -> None:
        began = time.monotonic()
        before = pipeline.position.source_us
        count = pipeline.take(batch)
        source.acknowledge()
        # What an epoch's new snapshot asked for is done once its first batch is committed.
        self._first = False
        self._failures = 0
        self.records += count
        told_us = pipeline.position.source_us
        lag = self._reading.clock().timestamp() - told_us / 1e6 if told_us > before else None
        self._vitals.committed(count, time.monotonic() - began, lag)
        self._wake()
        self._tell(pipeline)

    def _tell(self, pipeline: Pipeline) -> None:
        ready = pipeline.position.snapshot_complete or pipeline.position.snapshot is None
        self._vitals.report(PART, well=True, detail="streaming" if ready else "reading the snapshot")
        if pipeline.position.snapshot_complete and not self._is_ready:
            self._is_ready = True
            self._ready()

    def _pause(self, _state: RetryCallState) -> float:
        """Seconds: longer with every failure since the last committed batch."""
        self._failures += 1
        return min(_LONGEST_PAUSE, 0.25 * 2.0**self._failures)

    def _broke(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        self._vitals.report(PART, well=False, detail=str(error).strip())
        log.warning("reading broke off and is taken up again", system=self._reading.system, error=str(error).strip())


def _sleep(stop: Event, seconds: float) -> None:
    stop.wait(seconds)


def source_setup(
    system: str, options: dict[str, object], mapping: ErpMapping, resume: Resume | None, folder: Path, max_batch: int
) -> SourceSetup:
    """Everything that a source is opened with."""
    folder.mkdir(parents=True, exist_ok=True)
    return SourceSetup(
        system=system,
        options=options,
        tables=[f"{spec.schema}.{spec.name}" for spec in mapping.tables],
        excluded=[f"{spec.schema}.{spec.name}.{column}" for spec in mapping.tables for column in spec.excluded],
        resume=resume,
        folder=folder,
        max_batch=max_batch,
    )
