"""Holds every document of the mirror against what the ERP's own API says of it, and proves the match.

`arsync reconcile` calls it, and the daemon by its clock. Each page is read between two positions of the ERP's log:
what ended below the first is surely in it, what ended above the second surely not. Once the mirror has passed the
second, a document is judged only when nothing that ended at the first or later has changed it; the others are read
again. So what is only under way is no difference, and what differs is looked at twice before it is said.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import msgspec

from engine.flow.comparing import Difference, differences
from engine.model.documents import Customer, DocumentKind, Invoice
from engine.ports.target import Reading, Target

ROUNDS = 8
"""How often documents that are under way, or differ, are read again."""
_PART = 200
_LOOK_SECONDS = 0.05


class MirrorBehindError(RuntimeError):
    """The mirror did not get to where the ERP's log was when it was read."""


class Log(Protocol):
    """Where the ERP's log ends, and whether the mirror has come there."""

    def position(self) -> int | None:
        """The end of the log now; None when the source cannot tell."""

    def passed(self, position: int) -> bool:
        """Whether everything that ended below it is in the mirror."""


class Mirror(Protocol):
    """The store, as far as reconciling goes."""

    def head(self) -> int:
        """The last thing that the ERP has told."""

    def look(
        self, kind: DocumentKind, keys: Sequence[str] | None, *, after: int, since: int | None
    ) -> tuple[dict[str, Invoice | Customer], set[str]]:
        """Documents (these, or all), and which of the kind were changed by what ended at `since` or later, or,
        without a position, by anything told behind the head `after`."""


class Compared(msgspec.Struct, frozen=True):
    """How many documents were held against the ERP's word, and what differs. `position`: through which the rest is
    the same."""

    invoices: int
    customers: int
    differences: tuple[Difference, ...]
    unsettled: tuple[str, ...] = ()
    position: int | None = None


class _Bracket(msgspec.Struct, frozen=True):
    """What was read of some documents, and between which positions."""

    since: int | None
    until: int | None
    head: int
    readings: list[Reading]


class Reconciler:
    """One comparison of everything. `patience` (seconds) bounds each wait for the mirror; `told` hears progress."""

    def __init__(
        self,
        target: Target,
        mirror: Mirror,
        log: Log,
        *,
        patience: float,
        told: Callable[[str], None],
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._target = target
        self._mirror = mirror
        self._log = log
        self._patience = patience
        self._told = told
        self._sleep = sleep
        self._clock = clock
        self._first: int | None = None

    def compare(self) -> Compared:
        """Compare every invoice and customer.

        Raises:
            Unavailable: the ERP cannot be read now.
            SourceError: the end of its log cannot be asked for now.
            MirrorBehindError: the mirror does not get there; nothing can be said.
        """
        counts: dict[DocumentKind, int] = {}
        found: list[Difference] = []
        unsettled: list[str] = []
        for kind in (DocumentKind.INVOICE, DocumentKind.CUSTOMER):
            counts[kind], doubtful = self._first_look(kind)
            differing, moving = self._look_again(kind, doubtful)
            found += differing
            unsettled += [f"{kind}/{key}" for key in moving]
        return Compared(
            counts[DocumentKind.INVOICE], counts[DocumentKind.CUSTOMER], tuple(found), tuple(unsettled), self._first
        )

    def compare_again(self, documents: Sequence[str]) -> tuple[list[Difference], list[str]]:
        """Compare only these (`invoice/7`): what still differs, and what kept changing. Raises like `compare`."""
        found: list[Difference] = []
        unsettled: list[str] = []
        for kind in (DocumentKind.INVOICE, DocumentKind.CUSTOMER):
            keys = {key for of, _, key in (name.partition("/") for name in documents) if of == kind}
            differing, moving = self._look_again(kind, keys)
            found += differing
            unsettled += [f"{kind}/{key}" for key in moving]
        return found, unsettled

    def _first_look(self, kind: DocumentKind) -> tuple[int, set[str]]:
        """Page by page through the ERP, then what only the mirror has. How many, and which must be read again."""
        seen: set[str] = set()
        doubtful: set[str] = set()
        after: str | None = None
        while (bracket := self._read(kind, after=after)).readings:
            keys = [reading.key for reading in bracket.readings]
            _, moving, differing = self._judge(kind, keys, bracket)
            doubtful |= moving | {one.document.partition("/")[2] for one in differing}
            seen.update(keys)
            after = keys[-1]
            self._told(f"{len(seen)} {kind}s compared")
        ours, _ = self._mirror.look(kind, None, after=self._mirror.head(), since=None)
        return len(seen | set(ours)), doubtful | (set(ours) - seen)

    def _look_again(self, kind: DocumentKind, doubtful: set[str]) -> tuple[list[Difference], list[str]]:
        """Read these again, round by round, until each was judged with nothing under way; twice when it differs."""
        differing: dict[str, list[Difference]] = {}
        left, pause = set(doubtful), 0.0
        for number in range(ROUNDS):
            if not left:
                break
            self._told(f"{len(left)} {kind}s are looked at again")
            self._sleep(pause)
            pause = min(max(pause * 2, 0.25), 8.0)
            still: set[str] = set()
            for keys in _parts(sorted(left)):
                bracket = self._read(kind, keys=keys)
                settled, moving, found = self._judge(kind, keys, bracket)
                still |= moving
                for key in settled:
                    was = differing.pop(key, None)
                    now = [one for one in found if one.document == f"{kind}/{key}"]
                    if now:
                        differing[key] = now
                        # The same twice is a difference, where positions say that nothing is under way.
                        sure = bracket.since is not None and _said(was) == _said(now)
                        if not sure and number < ROUNDS - 1:
                            still.add(key)
            left = still
        found_at_last = [one for key in sorted(differing) for one in differing[key]]
        return found_at_last, sorted(left - set(differing))

    def _read(self, kind: DocumentKind, *, after: str | None = None, keys: Sequence[str] | None = None) -> _Bracket:
        head = self._mirror.head()
        since = self._log.position()
        if self._first is None:
            self._first = since
        readings = self._target.read(kind, after=after, keys=keys)
        return _Bracket(since, self._log.position() if readings or keys else since, head, readings)

    def _judge(
        self, kind: DocumentKind, keys: Sequence[str], bracket: _Bracket
    ) -> tuple[set[str], set[str], list[Difference]]:
        """Which keys could be judged, which are under way, and what differs among the first."""
        self._await(bracket.until)
        documents, changed = self._mirror.look(kind, keys, after=bracket.head, since=bracket.since)
        readings = {reading.key: reading for reading in bracket.readings}
        moving = changed & set(keys)
        settled = set(keys) - moving
        found = [
            one
            for key in keys
            if key in settled
            for one in differences(kind, key, readings.get(key), documents.get(key))
        ]
        return settled, moving, found

    def _await(self, position: int | None) -> None:
        if position is None:
            return
        until = self._clock() + self._patience
        while not self._log.passed(position):
            if self._clock() > until:
                raise MirrorBehindError(
                    f"the mirror has not come to position {position} of the ERP's log within {self._patience:.0f} s, "
                    "so nothing can be said; see with `arsync status` whether `arsync run` is working"
                )
            self._sleep(_LOOK_SECONDS)


def _said(found: list[Difference] | None) -> list[tuple[str, str | None, str | None]] | None:
    return None if found is None else sorted((one.field, one.erp, one.arsync) for one in found)


def _parts(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), _PART):
        yield keys[start : start + _PART]
