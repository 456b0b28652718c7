"""Time in the simulation: it passes when the world says so, and no two readings are the same.

They lie so far apart that the intents of one hand-over, which follow each other by a microsecond, lie in between.
"""

import datetime as dt

START = dt.datetime(2026, 11, 23, 6, tzinfo=dt.UTC)
TICK = dt.timedelta(microseconds=100)


class Clock:
    """The one clock of a world."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> dt.datetime:
        self.now += TICK
        return self.now

    def pass_(self, seconds: float) -> None:
        """Let time go by."""
        self.now += dt.timedelta(microseconds=round(seconds * 1_000_000))
