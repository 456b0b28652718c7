"""What happens to a process at any point that matters: it ends, by an exception that nothing catches, before or after
a commit; or the store goes away there, so that nobody knows whether the commit was done."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

COMMITS = ("before a commit", "after a commit")


class Crash(BaseException):
    """The process is gone. No `except Exception` of the engine may see it."""


class CrashPoints:
    """Counts the points that are passed; the armed one kills, or lets the store go away."""

    def __init__(self) -> None:
        self._left: int | None = None
        self._store_only = False
        self.passed = 0
        self.outages = 0

    def arm(self, after: int, *, store_only: bool = False) -> None:
        """Die at the point that comes after so many others; with `store_only` the store goes away there, and the
        process lives on."""
        if self._left is None:
            self._left, self._store_only = after, store_only

    def disarm(self) -> None:
        self._left = None

    def __call__(self, name: str) -> None:
        self.passed += 1
        if self._left is None or (self._store_only and name not in COMMITS):
            return
        self._left -= 1
        if self._left >= 0:
            return
        self._left = None
        if not self._store_only:
            raise Crash(name)
        self.outages += 1
        raise psycopg.OperationalError(f"the store went away {name}")


class FragileConnection(psycopg.Connection[tuple[Any, ...]]):
    """A real connection; around each commit stands a point at which the process may die, or the store go away."""

    point: Callable[[str], None] = staticmethod(lambda _name: None)

    @contextmanager
    def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> Iterator[psycopg.Transaction]:
        with super().transaction(savepoint_name, force_rollback) as opened:
            yield opened
            self.point(COMMITS[0])
        self.point(COMMITS[1])
