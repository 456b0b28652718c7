"""The way to the ERP's API and back, with all that can happen on it: the dispatcher's target.

`calls` is what the ERP's own log would say of each call; the oracle reads it.
"""

import dataclasses
import datetime as dt
from collections.abc import Callable, Sequence
from random import Random

from engine.model.commands import Found, Outcome, OutcomeKind, Write
from engine.model.documents import DocumentKind
from engine.ports.errors import Unavailable
from engine.ports.finding import Finding
from engine.ports.target import Guard, Reading
from tests.simulation.books import Books
from tests.simulation.clock import Clock
from tests.simulation.requests import Clerk, Request
from tests.simulation.settings import CAN_SEND, IN_DOUBT, Stage

SPARE = 0.5
"""Seconds that a send keeps of its deadline."""


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of arsync's, as the ERP logs it. `compared` is the log position of the ERP when tokens were compared,
    `done` whether anything was written."""

    at: dt.datetime
    key: str
    verb: str
    said: str
    reason: str | None = None
    compared: int | None = None
    fault: str = ""


class Halted(Exception):
    """Nobody is there to take the next step."""


def _halt(step: str) -> None:
    raise Halted(step)


def _nothing(step: str) -> None:
    """The next step follows at once."""


class Api:
    """`point` may kill the process, `meanwhile` lets others work, `pass_time` lets time go by."""

    def __init__(
        self, books: Books, stage: Stage, dice: Random, clock: Clock, *,
        point: Callable[[str], None], meanwhile: Callable[[str], None], pass_time: Callable[[float], None],
    ) -> None:  # fmt: skip
        self.books = books
        self.stage = stage
        self.capabilities = stage.capabilities
        self.calm = False
        self.ignores_guard = False
        self.finds_nothing = False
        self.calls: list[Call] = []
        self.queue: list[Request] = []
        self._dice = dice
        self._clock = clock
        self._point = point
        self._meanwhile = meanwhile
        self._pass_time = pass_time
        self._failed: set[str] = set()
        self._until: list[dt.datetime] = []
        self._clerk = Clerk(books, stage.temper, self._between)
        # What the ERP does by itself has no connector that takes the next step, unless a queue of its own does.
        self._alone = Clerk(books, stage.temper, _nothing if stage.temper.queues else _halt)

    # The target.

    def send(self, key: str, write: Write, guard: Guard) -> Outcome:
        """See `Target.send`."""
        self._until.append(self._clock() + CAN_SEND)
        try:
            return self._send(key, write, {} if self.ignores_guard else dict(guard))
        finally:
            self._until.pop()

    def _send(self, key: str, write: Write, guard: dict[str, str]) -> Outcome:
        self._point("before the first byte")
        self._take(0.3)
        fault = self._fault()
        if fault == "throttled":
            return self._log(key, "send", Outcome(OutcomeKind.THROTTLED, "too many requests"), fault)
        if fault == "rejected":
            return self._log(key, "send", Outcome(OutcomeKind.REJECTED, "a rule of the house forbids it"), fault)
        if fault == "lost_before":
            return self._lost(key, fault)
        compared = self.books.db.lsn
        if not self.stage.temper.compares:
            if guard and not self.books.holds(guard):
                return self._log(key, "send", Outcome(OutcomeKind.STALE, "compared before the write"), fault)
            guard = {}
            self._meanwhile("between compare and write")
        request = Request(key, write, guard, self._clock())
        if fault == "late":
            return self._leave(request, IN_DOUBT.total_seconds(), fault, compared)
        if self.stage.temper.queues:
            outcome = Outcome(OutcomeKind.ACCEPTED, "queued", "Q")
            self.queue.append(dataclasses.replace(request, due=self._later(40)))
        else:
            outcome = self._clerk.perform(request)
        self._log(key, "send", outcome, fault, compared)
        self._point("done and not answered")
        if fault == "lost_after":
            return self._lost(key, fault)
        if fault == "lies" and outcome.kind is OutcomeKind.ACCEPTED:
            return self._log(key, "answer", Outcome(OutcomeKind.REJECTED, "error 500 after the commit"), fault)
        if fault == "defect" and key not in self._failed:
            self._failed.add(key)  # one that fails again would be parked until a person looks
            raise ZeroDivisionError
        self._take(0.2)
        return outcome

    def find(self, key: str, write: Write) -> Found | None:
        """See `Target.find`."""
        if self.finds_nothing:
            return None
        if not self.calm and self._dice.random() < self.stage.faults * 0.2:
            self.calls.append(Call(self._clock(), key, "find", "unavailable"))
            raise Unavailable("the ERP does not answer")
        found = self._clerk.find(key, write)
        if found is None and self.stage.temper.queues and any(one.key == key for one in self.queue):
            found = Found("Q")
        self.calls.append(Call(self._clock(), key, "find", "found" if found else "nothing"))
        return found

    def resume(self, key: str, write: Write, found: Found) -> Outcome:  # noqa: ARG002 - the port's signature
        """See `Target.resume`."""
        self._point("before the next step")
        outcome = self._clerk.resume(key, write)
        self._point("next step done and not answered")
        fault = self._fault()
        if fault in ("lost_after", "lost_before"):
            return self._lost(key, fault)
        return self._log(key, "resume", outcome, fault)

    def read(
        self,
        kind: DocumentKind,  # noqa: ARG002 - the port's signature
        *,
        after: str | None = None,  # noqa: ARG002
        keys: Sequence[str] | None = None,  # noqa: ARG002
    ) -> list[Reading]:
        """See `Target.read`; nothing in the simulation reconciles."""
        return []

    def check(self) -> list[Finding]:
        """See `Target.check`."""
        return []

    def close(self) -> None:
        """See `Target.close`."""

    # What the ERP still has to do.

    def next_due(self) -> dt.datetime | None:
        """When the next request that waits in the ERP is carried out."""
        return min((one.due for one in self.queue), default=None)

    def run_due(self) -> None:
        """Carry out what waits in the ERP and is due."""
        now = self._clock.now
        for request in [one for one in self.queue if one.due <= now]:
            self.queue.remove(request)
            try:
                outcome = self._alone.perform(request)
            except Halted:
                outcome = Outcome(OutcomeKind.ACCEPTED, "the first step of several")
            self._log(request.key, "later", outcome, "")

    # The network.

    def _fault(self) -> str:
        dice, stage = self._dice, self.stage
        if self.calm or dice.random() >= stage.faults:
            return ""
        late = stage.temper.late
        names = ("throttled", "lost_before", "lost_after", "late", "rejected", "lies", "defect")
        return dice.choices(names, (3, 3, 3, 8 * late, 0.5, 0.3, 0.5))[0]

    def _leave(self, request: Request, seconds: float, fault: str, compared: int) -> Outcome:
        """The request is in the ERP, and nobody waits for it any longer."""
        self.calls.append(Call(self._clock(), request.key, "send", "late", None, compared, fault))
        self._take(1.0)
        self.queue.append(dataclasses.replace(request, due=self._later(seconds)))
        return Outcome(OutcomeKind.UNKNOWN, "no answer in time")

    def _later(self, seconds: float) -> dt.datetime:
        return self._clock() + dt.timedelta(seconds=self._dice.uniform(0, seconds - 0.001))

    def _lost(self, key: str, fault: str) -> Outcome:
        self._take(1.0)
        return self._log(key, "lost", Outcome(OutcomeKind.UNKNOWN, "no answer in time"), fault)

    def _take(self, share: float) -> None:
        """Time goes by, at most what is left of every call under way; others work meanwhile."""
        left = min(((until - self._clock.now).total_seconds() for until in self._until), default=2.0) - SPARE
        if left > 0 and not self.calm:
            self._pass_time(self._dice.uniform(0, left * share))
        self._meanwhile("during a call")

    def _between(self, step: str) -> None:
        self._point(step)
        self._meanwhile(step)

    def _log(self, key: str, verb: str, outcome: Outcome, fault: str, compared: int | None = None) -> Outcome:
        self.calls.append(Call(self._clock(), key, verb, str(outcome.kind), outcome.reason, compared, fault))
        return outcome
