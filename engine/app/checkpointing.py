"""Takes checkpoints of the journal by the clock and adds each one's line to a file outside of the database.

The daemon runs one of these for each system where `[journal] checkpoint_every` is set. What goes wrong is logged and
tried again; it stops nothing else.
"""

import datetime as dt
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import structlog

from engine.app.config import JournalConfig
from engine.app.wiring import OpenStore, now
from engine.flow.vitals import Vitals
from engine.store.checkpoints import Checkpoint, CheckpointError, kept, read_checkpoint, take

log = structlog.get_logger()
PART = "checkpoints"
_AGAIN_SECONDS = 60.0


def add_line(file: Path, point: Checkpoint) -> None:
    """Add a checkpoint to a file that is kept outside, once."""
    line = point.line + "\n"
    known = file.read_text(encoding="utf-8") if file.exists() else ""
    if line not in known:
        with file.open("a", encoding="utf-8") as opened:
            opened.write(line)


class Checkpoints:
    """One system's checkpoints by the clock: the next one so long after the last, whoever took that."""

    def __init__(self, store: OpenStore, settings: JournalConfig, folder: Path, system: str, vitals: Vitals) -> None:
        self._store = store
        self._every = settings.seconds
        self._file = folder / settings.checkpoint_file if settings.checkpoint_file else None
        self._key = folder / settings.checkpoint_key if settings.checkpoint_key else None
        self._system = system
        self._vitals = vitals

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set."""
        while not stop.wait(self._seconds_to_next()):
            try:
                self.once()
            except (CheckpointError, OSError, psycopg.Error) as error:
                self._vitals.report(PART, well=False, detail=str(error).strip())
                log.warning("no checkpoint was taken", system=self._system, error=str(error).strip())
                stop.wait(_AGAIN_SECONDS)

    def once(self) -> Checkpoint:
        """Take one now, and write its line outside."""
        with self._store.connect() as connection:
            point = take(connection, self._system, now(), self._key)
        if self._file is not None:
            add_line(self._file, point)
        self._vitals.report(PART, well=True, detail=f"batch {point.batch}, {point.records} records")
        log.info("checkpoint", system=self._system, batch=point.batch, digest=point.digest[:16])
        return point

    def _seconds_to_next(self) -> float:
        try:
            with self._store.connect() as connection:
                lines = kept(connection, self._system)
        except psycopg.OperationalError:
            return _AGAIN_SECONDS
        last = read_checkpoint(lines[-1][0]).at if lines else dt.datetime.min.replace(tzinfo=dt.UTC)
        return max(0.0, self._every - (now() - last).total_seconds())


@contextmanager
def checkpoints_by_the_clock(
    store: OpenStore, settings: JournalConfig, folder: Path, system: str, vitals: Vitals
) -> Iterator[None]:
    """Take them for the time of the block, where the configuration asks for it."""
    if settings.checkpoint_every is None:
        yield
        return
    done = threading.Event()
    work = Checkpoints(store, settings, folder, system, vitals)
    thread = threading.Thread(target=work.run, args=(done,), name="checkpoints", daemon=True)
    thread.start()
    try:
        yield
    finally:
        # One that is under way is left: it is one transaction; the next one covers all that it would have.
        done.set()
