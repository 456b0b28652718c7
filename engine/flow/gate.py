"""Whether a payment may leave now: observe mode, the pace, and a circuit that opens while an ERP is down.

One gate for each system, shared by its dispatchers. The brake, which counts over an hour and survives restarts,
stands in the store (`engine.store.brake`).
"""

import datetime as dt
import threading
from decimal import Decimal

import msgspec
import structlog

from engine.model.commands import OutcomeKind

log = structlog.get_logger()

_FAILURES_TO_OPEN = 5
_FIRST_PAUSE = dt.timedelta(seconds=2)
_LONGEST_PAUSE = dt.timedelta(minutes=2)


class Limits(msgspec.Struct, frozen=True):
    """What bounds writing back. None is no bound.

    `per_second` is the pace of sends. More than `commands_per_hour`, or more money than `money_per_hour` allows in
    its currency, brakes: the system is paused until a person resumes it.
    """

    per_second: float | None = None
    commands_per_hour: int | None = None
    money_per_hour: dict[str, Decimal] = {}


class Gate:
    """Safe to use from several threads."""

    def __init__(self, system: str, limits: Limits, *, observe: bool = False) -> None:
        self.limits = limits
        self.observe = observe
        self._system = system
        self._lock = threading.Lock()
        self._next_at: dt.datetime | None = None
        self._failures = 0
        self._open_until: dt.datetime | None = None
        self._trial = False

    def lets_through(self, now: dt.datetime) -> bool:
        """Whether a send may be claimed now. Look-ups of what has left already are never held back."""
        with self._lock:
            if self.observe or (self._next_at is not None and now < self._next_at):
                return False
            if self._open_until is None:
                return True
            return now >= self._open_until and not self._trial

    def seconds_to_wait(self, now: dt.datetime) -> float:
        """How long the pace alone holds the next send back; a second when it does not."""
        with self._lock:
            return max(0.001, (self._next_at - now).total_seconds()) if self._next_at and self._next_at > now else 1.0

    def passed(self, now: dt.datetime) -> None:
        """A send was claimed: the next one keeps its distance; while the circuit is open it is the one trial."""
        with self._lock:
            if self.limits.per_second:
                self._next_at = now + dt.timedelta(seconds=1 / self.limits.per_second)
            self._trial = self._open_until is not None

    def answered(self, kind: OutcomeKind, now: dt.datetime) -> None:
        """What the ERP said to a send. Any answer of its own closes the circuit."""
        with self._lock:
            self._trial = False
            if kind not in (OutcomeKind.THROTTLED, OutcomeKind.UNKNOWN):
                if self._open_until is not None:
                    log.info("the ERP answers again; sending goes on", system=self._system)
                self._failures, self._open_until = 0, None
                return
            self._failures += 1
            if self._failures >= _FAILURES_TO_OPEN:
                times = min(self._failures - _FAILURES_TO_OPEN, 10)
                pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**times)
                self._open_until = now + pause
                log.warning("the ERP does not do what it is sent; sending waits", system=self._system,
                            failures=self._failures, seconds=pause.total_seconds())  # fmt: skip

    @property
    def state(self) -> str:
        """`observing`, `open` or `closed`, as the health page names it."""
        with self._lock:
            if self.observe:
                return "observing: nothing is written"
            return "waiting: the ERP does not answer" if self._open_until else "sending"
