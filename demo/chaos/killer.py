"""Kills arsync's and Tryton's programs at random moments, and starts them again, until it has killed enough.

`demo.chaos.run` runs it in a thread of its own. Most of its blows fall while a write is on its way: the proxy tells
it of each. What it kills, it kills with SIGKILL, and it starts again what has nobody else to start it: the daemon and
Tryton's server. The capture child and arsync's PostgreSQL are the daemon's own to bring back. Once in a chaos the
change stream stands still too, until an answer that was lost has been looked up.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from demo.engine import Engine
from demo.erp import DemoErp
from demo.proxy_rules import Call

WAIT_FOR_WRITE = 6.0
LONGEST_DOWN = 0.8
LONGEST_LATER = 0.25
HELD_FOR_BLOW = 0.5
WRITES = (
    "account.move.post",
    "account.invoice.post",
    "account.statement.post",
    "account.statement.validate_statement",
    "account.invoice.pay.execute",
    "account.move.reconcile_lines.execute",
    "party.party.write",
    "sale.sale.confirm",
)
"""The requests that change the books."""
UNGUARDED = "account.move.post"
"""A new entry: no invoice that has changed meanwhile refuses it when it is sent again."""
STANDSTILL = 30.0
"""Seconds for which the change stream stands still after one blow: longer than a lost answer stays in doubt, so that
no echo tells what became of the write before it is looked up."""
WAIT_FOR_ENTRY = 60.0
SHARES = {"daemon": 8, "capture": 3, "store": 4, "tryton": 4}


@dataclass(slots=True)
class Killer:
    """`most` kills in all; `progress` hears of each."""

    engine: Engine
    erp: DemoErp
    chance: random.Random
    most: int
    progress: Callable[[str], None]
    done: Counter[str] = field(default_factory=Counter)
    over: threading.Event = field(default_factory=threading.Event)
    failed: BaseException | None = None
    _wanted: tuple[bool, tuple[str, ...]] | None = None
    _method: str = ""
    _there: threading.Event = field(default_factory=threading.Event)
    _struck: threading.Event = field(default_factory=threading.Event)
    _stop: threading.Event = field(default_factory=threading.Event)

    def heard(self, call: Call, answered: bool) -> None:  # noqa: FBT001 - the proxy's own call
        """A request of arsync arrives at the proxy, or its answer is about to be passed on.

        An answer that was waited for is held back until the blow has fallen.
        """
        wanted = self._wanted
        if wanted is None or wanted[0] is not answered or not call.method.endswith(wanted[1]):
            return
        self._wanted, self._method = None, call.method
        self._there.set()
        if answered:
            self._struck.wait(HELD_FOR_BLOW)

    def run(self) -> None:
        """Kill until it is enough. Whatever happens, everything is running at the end."""
        try:
            still = self.chance.randrange(self.most // 2, self.most) if self.most else None
            while self.done.total() < self.most and not self._stop.is_set():
                if still is not None and self.done.total() >= still:
                    still = None
                    self._stand_still()
                    continue
                moment = self._await_moment()
                self._kill(self.chance.choices(list(SHARES), list(SHARES.values()))[0], moment)
        except BaseException as error:
            self.failed = error
            raise
        finally:
            self.over.set()

    def stop(self) -> None:
        """No more kills after the one that is under way."""
        self._stop.set()

    def _await_moment(self) -> str:
        """At any time; while a certain request is on its way; or when it is done and its answer is not."""
        moment = self.chance.random()
        if moment < 0.2:
            time.sleep(self.chance.random())
            return "at any time"
        answered = moment > 0.5
        if not self._await_write(WRITES, WAIT_FOR_WRITE, answered=answered):
            return "at any time"
        if answered:
            return f"{self._method} is done, its answer on its way"
        time.sleep(self.chance.random() * LONGEST_LATER)
        return f"{self._method} was asked for"

    def _await_write(self, methods: tuple[str, ...], seconds: float, *, answered: bool) -> bool:
        """Whether one of these requests came in time: as it comes in, or as its answer goes out."""
        self._there.clear()
        self._struck.clear()
        self._wanted = (answered, methods)
        came = self._there.wait(seconds)
        self._wanted = None
        return came

    def _stand_still(self) -> None:
        """An entry's answer is lost, and the change stream does not tell of it until it was looked up."""
        if not self._await_write((UNGUARDED,), WAIT_FOR_ENTRY, answered=True):
            return
        with self.engine.capture_held() as held:
            moment = f"{self._method} is done, its answer on its way{', and the change stream stands still' * held}"
            self._kill("tryton", moment)
            if held:
                self._stop.wait(STANDSTILL)

    def _kill(self, what: str, moment: str) -> None:
        down = self.chance.random() * LONGEST_DOWN
        if what not in ("daemon", "store"):
            self._struck.set()
        killed = True
        match what:
            case "daemon":
                self.engine.kill()
                self._struck.set()
                time.sleep(down)
                self.engine.start()
            case "capture":
                killed = self.engine.kill_capture()
            case "store":
                killed = self.engine.kill_store()
                self._struck.set()
            case "tryton":
                self.erp.kill_server()
                time.sleep(down)
                self.erp.start_server()
        if killed:
            self.done[what] += 1
            self.progress(f"kill {self.done.total()} of {self.most}: {what}, {moment}")
