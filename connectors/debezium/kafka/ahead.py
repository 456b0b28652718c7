"""The engine's end of a topic that is read ahead by a process of its own (`connectors.debezium.kafka.reading`).

`open_ahead` is what the entry point `kafka` opens. A thread would gain nothing: fetching and decoding are the
interpreter's own work, a quarter of what a change costs.
"""

import os
import subprocess
import time
from contextlib import suppress
from typing import Final

import msgspec

from connectors.debezium.kafka.frames import FAILED, Delivered, Failure, send_setup
from connectors.debezium.kafka.progress import PROGRESS
from connectors.debezium.process import start_child
from connectors.debezium.wire import Frames, receive_frame
from engine.ports.errors import SourceError
from engine.ports.source import SourceBatch, SourceSetup

LOG: Final = "kafka-reader.log"
_END_SECONDS: Final = 5.0
_batch: Final = msgspec.json.Decoder(Delivered)
_failure: Final = msgspec.json.Decoder(Failure)


class AheadSource:
    """A topic that another process reads. Made by `open_ahead`."""

    def __init__(self, setup: SourceSetup) -> None:
        """Returns when the other process has begun to read, or raises what it could not begin for."""
        self._system = setup.system
        self._log = setup.folder / LOG
        self._frames = Frames()
        self._at: tuple[str, int] | None = None
        self._line, self._process = start_child("connectors.debezium.kafka.reading", self._log, os.environ)
        try:
            # If it has ended at once, what is received next says so.
            with suppress(OSError):
                send_setup(self._line, setup)
            opened = self._receive(None)
            self._epoch = msgspec.json.decode(opened or b"", type=str)
        except BaseException:
            self.close()
            raise

    @property
    def epoch(self) -> str:
        """As `KafkaSource.epoch`."""
        return self._epoch

    @property
    def exhausted(self) -> bool:
        """Never: an ERP goes on."""
        return False

    @property
    def pid(self) -> int:
        """The process that reads."""
        return self._process.pid

    def poll(self, timeout: float) -> SourceBatch | None:
        """As `KafkaSource.poll`; SourceError also when the process that reads has ended."""
        body = self._receive(time.monotonic() + timeout)
        if body is None:
            return None
        delivered = _batch.decode(body)
        self._at = (delivered.resume["topic"], delivered.resume["offset"])
        return SourceBatch(delivered.records, delivered.resume)

    def acknowledge(self) -> None:
        """The engine has committed: tell it to whoever watches the group."""
        if self._at is not None:
            PROGRESS.note(*self._at)

    def close(self) -> None:
        """End the process. It has nothing to save."""
        self._line.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def _receive(self, until: float | None) -> bytes | None:
        """The body of the next frame, or None when there is none in time; with None as time it is waited for.

        Raises what the other process failed with.
        """
        try:
            frame = receive_frame(self._line, self._frames, until)
        except EOFError:
            raise SourceError(
                f"system {self._system}: the process that reads the topic ended unasked (exit code "
                f"{self._process.wait()})",
                f"see {self._log}",
            ) from None
        if frame is None:
            return None
        letter, body = frame[:1], frame[1:]
        if letter == FAILED:
            raise _failure.decode(body).raised()
        return body


def open_ahead(setup: SourceSetup) -> AheadSource:
    """Begin to read the topic in a process of its own. Raises as `open_kafka` does."""
    setup.folder.mkdir(parents=True, exist_ok=True)
    return AheadSource(setup)
