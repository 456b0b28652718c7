"""What the analyst's screen asks of the store and does in it. One connection, used by one thread at a time.

The screen calls it from its workers; nothing here knows of Textual.
"""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from engine.app.config import Config
from engine.app.verbs.conflicts.reaching import policy_for, versions_for
from engine.app.wiring import now
from engine.flow import choosing
from engine.flow.choosing import Settled
from engine.flow.explaining import Story, tell
from engine.store import conflict_queries
from engine.store.conflict_queries import Line, Sort, Wanted

if TYPE_CHECKING:
    from engine.store.unit import Connection


class Casework:
    """The conflicts of a store, as one person works them."""

    def __init__(self, connect: "Callable[[], Connection]", config: Config, actor: str) -> None:
        self._connection = connect()
        self._config = config
        self._lock = threading.Lock()
        self.actor = actor

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()

    def count(self, wanted: Wanted) -> int:
        """How many there are."""
        with self._lock, self._connection.cursor() as cursor:
            return conflict_queries.count(cursor, wanted)

    def page(self, wanted: Wanted, sort: Sort, offset: int, limit: int, total: int) -> list[Line]:
        """So many from a place on. The far half of a long list is counted from its end, so that it costs no more."""
        behind = max(0, total - offset - limit)
        with self._lock, self._connection.cursor() as cursor:
            if offset <= behind:
                return conflict_queries.lines(cursor, wanted, sort=sort, limit=limit, offset=offset)
            most = min(limit, total - offset)
            found = conflict_queries.lines(cursor, wanted, sort=sort, backwards=True, limit=most, offset=behind)
            return found[::-1]

    def story(self, line: Line) -> Story:
        """Everything about one. Raises UnknownConflictError."""
        with self._lock, self._connection.cursor() as cursor:
            return tell(cursor, line.system, line.id, policy_for(self._config, line.system), now())

    def choose(self, line: Line, choice: str, reason: str, shown: str) -> Settled:
        """Choose what is done, for as long as all is still as it was shown. Raises UnknownConflictError."""
        with self._lock:
            return choosing.choose(
                self._connection, line.system, line.id, choice, actor=self.actor, reason=reason, shown=shown,
                policy=policy_for(self._config, line.system), clock=now,
                versions=versions_for(self._config, line.system),
            )  # fmt: skip

    def undo(self, line: Line) -> Settled:
        """Take a choice back in time. Raises UnknownConflictError."""
        with self._lock:
            return choosing.undo(
                self._connection, line.system, line.id, actor=self.actor, reason="taken back at the screen",
                policy=policy_for(self._config, line.system), clock=now,
                versions=versions_for(self._config, line.system),
            )  # fmt: skip

    def take(self, line: Line) -> str | None:
        """Take it on, or give it back when it is one's own; gives who works on it now."""
        whom = None if line.assignee == self.actor else self.actor
        with self._lock:
            choosing.assign(self._connection, line.system, line.id, whom, actor=self.actor, clock=now)
        return whom

    def note(self, line: Line, text: str) -> None:
        """Keep a sentence about it."""
        with self._lock:
            choosing.comment(self._connection, line.system, line.id, text, actor=self.actor, clock=now)
