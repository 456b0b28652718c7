"""One entry of the journal as replay reads it, and what every place offers that entries are read from.

The store (`engine.store.journal_reading`) and an archive (`engine.store.archive`) both are such a place. Whoever
replays is given one and need not know which.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import msgspec

from engine.store.checkpoints import Checkpoint
from engine.store.journal import Row


class Body(msgspec.Struct, frozen=True):
    """What an entry says. `versions` is the digest of its settings; older entries hold a mapping there."""

    input: Any
    basis: dict[str, str] = {}
    effects: list[dict[str, Any]] = []
    after: dict[str, dict[str, Any]] = {}
    versions: Any = None


class Journal(Protocol):
    """A place that holds a journal."""

    @property
    def name(self) -> str:
        """What it is, for people."""

    def systems(self) -> list[str]: ...

    def heads(self, system: str) -> dict[str, tuple[int, str]]:
        """The recorded end of each stream: its last sequence and hash."""

    def count(self, system: str, after: int = 0) -> int:
        """How many entries it holds behind batch `after`."""

    def rows(self, system: str, after: int = 0) -> Iterator[Sequence[Row]]:
        """Entries behind batch `after` in the system's order (batch, place), in parts that fit into memory."""

    def checkpoints(self, system: str) -> list[Checkpoint]:
        """All that are kept here, oldest first."""

    def records(self, system: str, batch: int) -> Iterator[tuple[str, str]]:
        """(name, record) of a checkpoint; nothing where its records are not kept here."""

    def pruned_to(self, system: str) -> int:
        """The batch up to which entries are gone; 0 where none are."""


DECODER = msgspec.json.Decoder(Body)
