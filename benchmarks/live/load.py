"""Keeps an ERP at work for the time of a block, and watches how far behind arsync is meanwhile."""

import threading
import time
from types import TracebackType
from typing import Self

import msgspec
import psycopg

from benchmarks.live.player import Played, Player

_LOOK_SECONDS = 0.02


class _Beside:
    """Does something in a thread for the time of a block: `_run`, until `_stop` is set."""

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        raise NotImplementedError


class Load(_Beside):
    """Plays `rate` row changes a second until the block ends; `last` then says what the ERP holds."""

    def __init__(self, player: Player, rate: float) -> None:
        super().__init__()
        self._player, self._rate = player, rate
        self._failure: Exception | None = None
        self.last: Played | None = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        if error is None and self._failure is not None:
            raise self._failure

    def check(self) -> None:
        """Raise what has ended it."""
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                # Short parts, so that the block's end is heard of; a part begins when the one before has ended.
                self.last = self._player.play(max(1, round(self._rate / 2)), self._rate)
        except Exception as error:  # noqa: BLE001 - it is raised where somebody waits
            self._failure = error


class Looked(msgspec.Struct, frozen=True):
    """At `at` (`time.monotonic`) the last transaction that was read was `lag` seconds old."""

    at: float
    lag: float


class Watch(_Beside):
    """Looks at a system's position in the store all the time, for the time of a block."""

    def __init__(self, dsn: str, system: str) -> None:
        super().__init__()
        self._dsn, self._system = dsn, system
        self.seen: list[Looked] = []

    def since(self, at: float) -> list[Looked]:
        """What was seen since then."""
        return [one for one in list(self.seen) if one.at >= at]

    def _run(self) -> None:
        with psycopg.connect(self._dsn, autocommit=True) as store:
            while not self._stop.wait(_LOOK_SECONDS):
                row = store.execute(
                    "SELECT source_us FROM source_position WHERE system = %s", (self._system,)
                ).fetchone()
                if row is not None and row[0]:
                    self.seen.append(Looked(time.monotonic(), time.time() - row[0] / 1e6))
