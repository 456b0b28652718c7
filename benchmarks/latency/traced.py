"""`arsync` with a clock at its stations: `python -m benchmarks.latency.traced VERB ...`.

The engine itself is as it ships: what is timed are the calls that every batch makes anyway, wrapped from outside. One
line of JSON for each unit of work goes to the file that the variable names, a `Mark`.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from connectors.debezium.embedded import EmbeddedSource
from connectors.debezium.kafka.ahead import AheadSource
from engine.app.cli import main
from engine.ports.source import SourceBatch
from engine.store import unit as units

VARIABLE = "ARSYNC_BENCH_TRACE"
_LOCAL = threading.local()


class Mark(msgspec.Struct, frozen=True):
    """A unit of work's times, in seconds since 1970.

    `polled`: its batch was at hand (None for what no batch led to). `asked`: it asked for the head lock; `entered`:
    it had it. `decided`: what it decided is complete. `flushed`: all is written, what is left is the commit. `now` is
    the time that it gives to what it decides, in microseconds since 1970.
    """

    system: str
    batch: int
    now: int
    polled: float | None
    asked: float
    entered: float
    decided: float
    flushed: float


class _Timed(units.Unit):
    def __init__(
        self, connection: Any, system: str, now: Any, versions: Mapping[str, Any], policy: Any = None
    ) -> None:
        self._asked = time.time()
        super().__init__(connection, system, now, versions, policy)
        self._entered = time.time()

    def flush(self) -> None:
        """As the engine's own, with the time before and after."""
        decided = time.time()
        super().flush()
        micros = round(self.now.timestamp() * 1_000_000)
        _WRITE(Mark(self.system, self.batch, micros, getattr(_LOCAL, "polled", None), self._asked, self._entered,
                    decided, time.time()))  # fmt: skip


def _noting(poll: Callable[[Any, float], SourceBatch | None]) -> Callable[[Any, float], SourceBatch | None]:
    def noting(source: Any, timeout: float) -> SourceBatch | None:
        batch = poll(source, timeout)
        if batch is not None:
            _LOCAL.polled = time.time()
        return batch

    return noting


def _writer() -> Callable[[Mark], object]:
    encode = msgspec.json.Encoder().encode
    file = os.open(Path(os.environ[VARIABLE]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    return lambda mark: os.write(file, encode(mark) + b"\n")


if __name__ == "__main__":
    _WRITE = _writer()
    units.Unit = _Timed  # type: ignore[misc]
    for kind in (EmbeddedSource, AheadSource):
        kind.poll = _noting(kind.poll)  # type: ignore[method-assign, assignment]
    main()
