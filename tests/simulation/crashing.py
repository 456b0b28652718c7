"""The end of the process, at any point that matters: an exception that nothing catches, before or after a commit."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg


class Crash(BaseException):
    """The process is gone. No `except Exception` of the engine may see it."""


class CrashPoints:
    """Counts the points that are passed; the armed one kills."""

    def __init__(self) -> None:
        self._left: int | None = None
        self.passed = 0

    def arm(self, after: int) -> None:
        """Die at the point that comes after so many others."""
        if self._left is None:
            self._left = after

    def disarm(self) -> None:
        self._left = None

    def __call__(self, name: str) -> None:
        self.passed += 1
        if self._left is None:
            return
        self._left -= 1
        if self._left < 0:
            self._left = None
            raise Crash(name)


class FragileConnection(psycopg.Connection[tuple[Any, ...]]):
    """A real connection; around each commit stands a point at which the process may die."""

    point: Callable[[str], None] = staticmethod(lambda _name: None)

    @contextmanager
    def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> Iterator[psycopg.Transaction]:
        with super().transaction(savepoint_name, force_rollback) as opened:
            yield opened
            self.point("before a commit")
        self.point("after a commit")
