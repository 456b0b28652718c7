"""One Java program of the stack: started with a log file, stopped by its own pid, never left behind.

Broker and Connect worker are made of it. A program ends with the process that started it, also after kill -9 of that
one, by the kernel's word on Linux.
"""

import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_PORTS: Final = range(20_000, 32_000)
_PR_SET_PDEATHSIG: Final = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


class ProgramError(RuntimeError):
    """A program of the stack did not do what was asked; the text holds the end of its log."""


class Program:
    """A Java program in a folder of its own."""

    def __init__(self, name: str, folder: Path, jars: Path, *, heap: str, for_speed: bool) -> None:
        """`for_speed` lets Java optimise what runs long; a test is over before that pays."""
        self.name = name
        self.folder = folder
        self.log = folder / f"{name}.log"
        self._jars = jars
        temporary = folder / "tmp"
        # What it unpacks stays in its folder, also when it is killed.
        self._options = ["-Xms64m", f"-Xmx{heap}", "-XX:+UseSerialGC", "-XX:-UsePerfData",
                         f"-Djava.io.tmpdir={temporary}"]  # fmt: skip
        if not for_speed:
            self._options.append("-XX:TieredStopAtLevel=1")
        self._process: subprocess.Popen[bytes] | None = None
        temporary.mkdir(parents=True, exist_ok=True)

    @property
    def pid(self) -> int:
        """The running program's process id."""
        if self._process is None:
            raise ProgramError(f"{self.name} does not run")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, main: str, arguments: Sequence[str]) -> None:
        """Start it; returns at once."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command(main, arguments), cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, preexec_fn=end_with_parent,  # noqa: PLW1509 - one call into the kernel
            )  # fmt: skip

    def run(self, main: str, arguments: Sequence[str]) -> None:
        """Run it to its end."""
        with self.log.open("ab") as log:
            done = subprocess.run(
                self._command(main, arguments), cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                check=False,
            )  # fmt: skip
        if done.returncode != 0:
            raise ProgramError(f"{self.name}: {main} ended with {done.returncode}:\n{self.last_words()}")

    def await_ready(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until `ready` says so."""
        until = time.monotonic() + seconds
        while not ready():
            if not self.running:
                raise ProgramError(f"{self.name} has ended:\n{self.last_words()}")
            if time.monotonic() > until:
                raise ProgramError(f"{self.name} is not ready after {seconds} s:\n{self.last_words()}")
            time.sleep(0.1)

    def stop(self, seconds: float = 20.0) -> None:
        """Ask it to end, and end it when it does not."""
        self._end(signal.SIGTERM, seconds)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        self._end(signal.SIGKILL, 10.0)

    def last_words(self) -> str:
        """The end of its log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-25:])

    def _command(self, main: str, arguments: Sequence[str]) -> list[str]:
        return [
            "java", *self._options, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-cp", f"{self._jars}/*", main, *arguments,
        ]  # fmt: skip

    def _end(self, number: signal.Signals, seconds: float) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(number)
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10.0)


class Server:
    """A program that serves for the time of a block; whoever derives from it says how it starts."""

    def __init__(self, program: Program) -> None:
        self._program = program

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._program.pid

    @property
    def log(self) -> Path:
        return self._program.log

    def start(self) -> None:
        """Start it, and wait until it serves."""
        self.begin()
        self.await_serving()

    def begin(self) -> None:
        """Start it, and return at once. The thread that does must live on: the program ends with it."""
        raise NotImplementedError

    def await_serving(self) -> None:
        """Wait until it serves."""
        raise NotImplementedError

    def stop(self) -> None:
        """An orderly end."""
        self._program.stop()

    def kill(self) -> None:
        """kill -9."""
        self._program.kill()


def end_with_parent() -> None:
    """Ask the kernel to end this process with the one that started it."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def free_ports(count: int) -> list[int]:
    """So many ports of 127.0.0.1 on which nobody listens.

    A server that is started again must find its own free. So they lie below those that the kernel gives to outgoing
    connections: a client that knocks while the server is away may be given the very port that it knocks at.
    """
    found: list[int] = []
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise ProgramError(f"there are no {count} free ports between {_PORTS.start} and {_PORTS.stop}")


def answers(port: int) -> bool:
    """Whether somebody listens on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def in_ci() -> bool:
    """Whether this run may skip nothing."""
    return bool(os.environ.get("CI"))
