"""How a long-running verb is stopped: by SIGTERM or Ctrl-C."""

import signal
import threading


class Stop:
    """The first signal asks for an orderly end, the second ends at once."""

    def __init__(self) -> None:
        self.event = threading.Event()
        self.at_once = False

    def listen(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._heard)

    def _heard(self, signum: int, _frame: object) -> None:
        if self.event.is_set():
            self.at_once = True
            raise SystemExit(128 + signum)
        self.event.set()
