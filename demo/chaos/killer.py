"""Kills arsync's and Tryton's programs at random moments, and starts them again, until it has killed enough.

`demo.chaos.run` runs it in a thread of its own. Most of its blows fall while a write is on its way: the proxy tells
it of each. What it kills, it kills with SIGKILL, and it starts again what has nobody else to start it: the daemon and
Tryton's server. The capture child and arsync's PostgreSQL are the daemon's own to bring back.
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

WAIT_FOR_WRITE = 1.5
LONGEST_DOWN = 0.8
WRITES = ("execute", "create", "write", "post", "confirm", "payment_block", "validate_statement", "delete")
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
    _write: threading.Event = field(default_factory=threading.Event)
    _stop: threading.Event = field(default_factory=threading.Event)

    def heard(self, call: Call) -> None:
        """A request of arsync passes the proxy."""
        if call.method.rpartition(".")[2] in WRITES:
            self._write.set()

    def run(self) -> None:
        """Kill until it is enough. Whatever happens, everything is running at the end."""
        try:
            while self.done.total() < self.most and not self._stop.is_set():
                self._await_moment()
                self._kill(self.chance.choices(list(SHARES), list(SHARES.values()))[0])
        except BaseException as error:
            self.failed = error
            raise
        finally:
            self.over.set()

    def stop(self) -> None:
        """No more kills after the one that is under way."""
        self._stop.set()

    def _await_moment(self) -> None:
        if self.chance.random() < 0.7:
            self._write.clear()
            self._write.wait(WAIT_FOR_WRITE)
            time.sleep(self.chance.random() * 0.25)
        else:
            time.sleep(self.chance.random())

    def _kill(self, what: str) -> None:
        down = self.chance.random() * LONGEST_DOWN
        killed = True
        match what:
            case "daemon":
                self.engine.kill()
                time.sleep(down)
                self.engine.start()
            case "capture":
                killed = self.engine.kill_capture()
            case "store":
                killed = self.engine.kill_store()
            case "tryton":
                self.erp.kill_server()
                time.sleep(down)
                self.erp.start_server()
        if killed:
            self.done[what] += 1
            self.progress(f"kill {self.done.total()} of {self.most}: {what}")
