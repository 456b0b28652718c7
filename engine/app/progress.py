"""A bar on standard error for what takes longer than two seconds; nothing where nobody looks at a terminal."""

import sys
import time
from collections.abc import Callable

_PATIENCE = 2.0
_WIDTH = 30


class Bar:
    """Call `to` with what is done so far. `close` clears the line."""

    def __init__(self, title: str, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._title = title
        self._total = max(total, 1)
        self._clock = clock
        self._began = self._shown_at = clock()
        self._shown = False

    def to(self, done: int) -> None:
        """So much is done."""
        now = self._clock()
        if now - self._began < _PATIENCE or now - self._shown_at < 0.2 or not sys.stderr.isatty():
            return
        self._shown_at, self._shown = now, True
        full = min(_WIDTH, _WIDTH * done // self._total)
        left = (self._total - done) * (now - self._began) / max(done, 1)
        bar = "#" * full + "." * (_WIDTH - full)
        sys.stderr.write(f"\r{self._title} [{bar}] {done:,} of {self._total:,}, about {left:.0f} s left ")
        sys.stderr.flush()

    def close(self) -> None:
        """Leave no trace."""
        if self._shown:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
