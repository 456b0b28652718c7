"""A program of ours that runs beside a benchmark, is told lines and answers with lines; the player is one."""

import subprocess
import sys
from types import TracebackType
from typing import Self

from tests.kafka_stack.program import end_with_parent


class ProgramFailed(RuntimeError):
    """The program has ended unasked."""


class Program:
    """`python -m MODULE ARGUMENT...`, for the time of a block."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._module = module
        self._command = [sys.executable, "-m", module, *arguments]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            preexec_fn=end_with_parent,  # noqa: PLW1509 - one call into the kernel
        )  # fmt: skip
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    def tell(self, line: bytes) -> None:
        """One line to its standard input."""
        process = self._process
        if process is None or process.stdin is None:
            raise ProgramFailed(f"{self._module} was not started")
        try:
            process.stdin.write(line + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            raise ProgramFailed(f"{self._module} has ended with {process.wait()}; see standard error") from None

    def answer(self) -> bytes:
        """The next line of its standard output; waits for it."""
        process = self._process
        if process is None or process.stdout is None:
            raise ProgramFailed(f"{self._module} was not started")
        said = process.stdout.readline()
        if not said:
            raise ProgramFailed(f"{self._module} has ended with {process.wait()}; see standard error")
        return said


def say(line: bytes) -> None:
    """Such a program's answer."""
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()
