"""What a source of changes offers to the pipeline. Connectors implement it; `engine.flow` drives it.

The one promise that counts: nothing is acknowledged upstream before `acknowledge` was called, and the engine calls
it only after the batch's effects and `resume` were committed together.
"""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from engine.model.change import Record
from engine.ports.finding import Finding

Resume = dict[str, Any]
"""Where to go on, as the source itself writes it; JSON values only. The engine stores it with the effects."""


class SourceBatch(msgspec.Struct, frozen=True):
    """Records in arrival order, and where to go on once they are committed."""

    records: Sequence[Record]
    resume: Resume


class SourceSetup(msgspec.Struct, frozen=True):
    """All that a source is opened with.

    `options` is the system's `source` section of the configuration, secrets already read; `tables` the captured
    tables with their schema (`public.account_invoice`), `excluded` columns as `schema.table.column`.
    `resume` is None on the first start. `folder` is a folder of the source's own for caches and logs; losing it
    loses nothing. `max_batch` bounds the records of one poll.
    """

    system: str
    options: Mapping[str, Any]
    tables: Sequence[str]
    excluded: Sequence[str]
    resume: Resume | None
    folder: Path
    max_batch: int = 2000


class Source(Protocol):
    """A stream of changes in commit order."""

    @property
    def epoch(self) -> str:
        """The generation of the log that positions of this source belong to; stable across restarts."""

    @property
    def exhausted(self) -> bool:
        """True once a bounded source (a capture file) has given its last record."""

    def poll(self, timeout: float) -> SourceBatch | None:
        """The next batch, or None when nothing came within `timeout` seconds.

        Must not be called again before `acknowledge`, when a batch was returned.
        Raises `SourceError` when the stream broke; the caller closes it and opens a new one.
        """

    def acknowledge(self) -> None:
        """The last batch is committed: the source may forget it."""

    def close(self) -> None:
        """Stop reading and free everything; a second call does nothing."""


class SourceKind(Protocol):
    """An entry point of the group `arsync.sources`."""

    def open(self, setup: SourceSetup) -> Source:
        """Begin to read where `setup.resume` says.

        Raises ConfigError, SourceRefused when going on would lose data, or SourceError when it may work later.
        """

    def check(self, setup: SourceSetup, clock: Callable[[], dt.datetime], *, in_use: bool) -> list[Finding]:
        """Look at everything that `open` would refuse, and at what will need somebody's care; changes nothing.

        `clock` is the engine's; `in_use` says that a daemon of ours is reading at this moment. Never raises.
        """
