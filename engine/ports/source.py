"""What a source of changes offers to the pipeline. Connectors implement it; `engine.flow` drives it.

The one promise that counts: nothing is acknowledged upstream before `acknowledge` was called, and the engine calls
it only after the batch's effects and `resume` were committed together.
"""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import msgspec

from engine.model.change import Record, Unreadable
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


class Sharing(Protocol):
    """This process's membership among the workers that share systems; used by one thread."""

    def owned(self, timeout: float) -> frozenset[str] | None:
        """The systems that this process is to read now; waits up to about `timeout` seconds for a change. None while
        nobody can say: what is being read goes on, and nothing is begun.

        Raises `SourceError` when nobody can say; then nothing is owned until somebody can.
        """

    def close(self) -> None:
        """Give everything up, so that others take over at once."""


@runtime_checkable
class Shared(Protocol):
    """A kind of source whose systems several workers share, each read by one of them at a time."""

    def share(self, setups: Sequence[SourceSetup]) -> Sharing:
        """Join the others. Raises ConfigError when these systems cannot be shared by one worker, or SourceError."""


@runtime_checkable
class Remote(Protocol):
    """A kind of source whose capture runs apart from the engine, and is set up from the system's settings."""

    def capture_config(self, setup: SourceSetup) -> tuple[str, Mapping[str, str]]:
        """The capture's name and settings, without secrets. Raises ConfigError."""

    def apply_capture(self, setup: SourceSetup, url: str | None) -> str:
        """Create or update the capture at this address; returns a sentence. Raises errors of the ports."""

    def snapshot(self, setup: SourceSetup, tables: Sequence[str], *, whole: bool) -> str:
        """Ask the capture for a snapshot of these tables; returns the request's id. `whole` stops the stream for it
        and begins anew; otherwise the rows come in chunks while the stream goes on. Raises errors of the ports."""


@runtime_checkable
class RereadingKind(Protocol):
    """A source kind that can decode once more what it could not; asked of a `SourceKind` that may be one."""

    def read_again(self, unreadable: Unreadable) -> Record | None:
        """The record of a message that was kept, perhaps edited since; an `Unreadable` when it still is one.

        None when there is nothing to do.
        """
