"""What a source may offer beside its stream: where its log ends now, and rows as they stand at a known position.

Reconciling and repairing in `engine.flow` ask for it. It needs a way to the ERP's own database; a source that has
none (a recorded capture) is not a `SurveyKind`.
"""

from collections.abc import Collection
from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from engine.model.change import Row
from engine.ports.source import Resume, SourceSetup

Wanted = tuple[str, str, str]
"""(table, column, value as text); the column may be `engine.ports.rows.KEY`."""


class Snapshot(Protocol):
    """All rows of the ERP as they stand at one moment."""

    @property
    def since(self) -> int:
        """Every transaction whose end lies strictly below this position is in what is read."""

    def fetch(self, wanted: Collection[Wanted]) -> list[tuple[str, str, Row]]:
        """(table, key, row) of all rows whose value is wanted, as the source would tell them."""

    def until(self) -> int:
        """No transaction whose end lies at or above this position is in what was read."""


class Surveyor(Protocol):
    """Looks at one ERP's database. Not shared between threads. Raises `SourceError` when it cannot now."""

    def position(self) -> int:
        """Where the log ends: every transaction that ended strictly below it is seen by whoever reads from now on,
        and nothing that they could have seen until now ended at or above it.

        The source's stream soon passes it, also when nobody changes anything.
        """

    def passed(self, resume: Resume | None, position: int) -> bool:
        """Whether the stream, committed up to `resume`, has told every transaction that ended below `position`."""

    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """Look at all rows as of one moment, for the time of the block."""

    def close(self) -> None:
        """Free everything; a second call does nothing."""


@runtime_checkable
class SurveyKind(Protocol):
    """A source kind that offers it; asked of a `SourceKind` that may be one."""

    def survey(self, setup: SourceSetup) -> Surveyor:
        """Makes no connection yet. Raises ConfigError."""
