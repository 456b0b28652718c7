"""Proves a journal: the chain of every stream, its recorded end, the checkpoints, and every decision taken again.

`arsync replay verify` calls it. What is found is named by entry and field. Entries behind the newest checkpoint that
was kept outside are told as uncovered: whoever can write the whole database could have written them.
"""

import datetime as dt
import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager

import msgspec

from engine.flow.replay.chaining import Chains
from engine.flow.replay.deciding import Again
from engine.flow.replay.reading import DECODER, Journal
from engine.flow.replay.spilling import Spill, SpillingMap
from engine.flow.replay.state import RECENT, FoldError, State
from engine.model.canonical import canonical_bytes
from engine.store.checkpoints import Checkpoint, Hashes, record_hash, records_digest
from engine.store.journal import Row

Progress = Callable[[int], None]
MOST = 100
"""Faults that are told; further ones are counted."""


class Fault(msgspec.Struct, frozen=True):
    """What is not as it must be. `entry` is `stream#sequence`, or what else it is about; `field` within the entry."""

    entry: str
    sentence: str
    field: str | None = None
    recorded: str | None = None
    again: str | None = None


class Verified(msgspec.Struct):
    """What a verification came to. `covered` are entries at or below the newest outside checkpoint that fits.

    `began` is the batch of the checkpoint at which it started, 0 where it started with the first entry.
    `chained_only` are entries of a form that holds too little to be decided on again.
    """

    system: str
    entries: int = 0
    decided: int = 0
    chained_only: int = 0
    covered: int = 0
    began: int = 0
    batch: int = 0
    digest: str = ""
    records: int = 0
    checkpoints: int = 0
    ends: dict[str, tuple[int, str]] = {}
    faults: list[Fault] = []
    more_faults: int = 0

    @property
    def uncovered(self) -> int:
        """Entries that no outside checkpoint proves yet."""
        return self.entries - self.covered

    def say(
        self,
        entry: str,
        sentence: str,
        field: str | None = None,
        recorded: str | None = None,
        again: str | None = None,
    ) -> None:
        """Add a fault."""
        if len(self.faults) < MOST:
            self.faults.append(Fault(entry, sentence, field, recorded, again))
        else:
            self.more_faults += 1


class Share(msgspec.Struct, frozen=True):
    """The part of a journal that one of two processes verifies.

    Up to batch `fold_to` entries are only gone over: the other process proves them. Behind batch `stop_at` it ends.
    """

    fold_to: int = 0
    stop_at: int | None = None


def verify(
    journal: Journal,
    system: str,
    *,
    outside: Sequence[Checkpoint] = (),
    progress: Progress = lambda _done: None,
    current: Callable[[], Iterator[tuple[str, str]]] | None = None,
    decide: bool = True,
    share: Share | None = None,
    at_split: Callable[[str, dict[str, tuple[int, str]]], None] | None = None,
    recent: int = RECENT,
) -> Verified:
    """Verify one system's journal, or one's share of it.

    `outside` are checkpoints that were kept outside of it; `current` gives the store's own records, which the last
    entry must have led to. Without `decide` only chains, heads and checkpoints are held together. `at_split` hears
    digest and ends where the entries end that are only gone over. `recent` records of each kind stay in memory.
    """
    verifier = _Verifier(journal, system, outside, share or Share(), decide=decide, recent=recent)
    with _no_cycles_looked_for(), closing(verifier):
        return verifier.run(progress, current, at_split)


@contextmanager
def _no_cycles_looked_for() -> Iterator[None]:
    """What an entry leaves behind is freed by reference counts; every record stays, and would be gone over again and
    again."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


class _Verifier:
    def __init__(
        self,
        journal: Journal,
        system: str,
        outside: Sequence[Checkpoint],
        share: Share,
        *,
        decide: bool,
        recent: int,
    ) -> None:
        self._journal = journal
        self._system = system
        self._decide = decide
        self._share = share
        self.result = Verified(system)
        self._start = journal.pruned_to(system)
        self._inside = journal.checkpoints(system)
        self._points = self._to_pass([one for one in outside if one.system == system])
        self._recent = recent
        self._again = Again(system, State(recent))
        self._able = True
        """Whether the state is known: it is not behind entries of an older form, up to the next checkpoint."""
        self._chains = Chains(system, self.result.say)

    def run(
        self,
        progress: Progress,
        current: Callable[[], Iterator[tuple[str, str]]] | None,
        at_split: Callable[[str, dict[str, tuple[int, str]]], None] | None,
    ) -> Verified:
        result = self.result
        if self._start:
            self._begin()
        for row in self._rows(progress):
            if row[3] > self._share.fold_to:
                if at_split is not None:
                    at_split(self._digest()[0] if self._able else "", dict(self._chains.ends))
                    at_split = None
                self._row(row)
            else:
                self._go_over(row)
        if self._share.stop_at is None:
            self._pass_points(None)
            self._chains.hold_against_heads(self._journal.heads(self._system))
        result.ends = self._chains.ends
        if self._able and self._decide:
            result.digest, result.records = self._digest()
            if current is not None:
                self._hold_against(current())
        return result

    def close(self) -> None:
        """Nothing is left on disk, nor in memory where cycles would be looked for in it."""
        self._again.state.close()
        del self._again

    def _to_pass(self, outside: Sequence[Checkpoint]) -> list[tuple[Checkpoint, bool]]:
        """Every checkpoint with whether it was kept outside, in the order in which they are passed."""
        inside = {one.batch: one for one in self._inside}
        for one in outside:
            kept = inside.get(one.batch)
            if kept is not None and _unsigned(kept) != _unsigned(one):
                sentence = f"the checkpoint of batch {one.batch} in the journal is not the one kept outside"
                self.result.say(f"checkpoint {one.batch}", sentence)
        every = [*((one, False) for one in self._inside), *((one, True) for one in outside)]
        there = (pair for pair in every if pair[0].batch >= self._start)
        return sorted(there, key=lambda pair: (pair[0].batch, pair[1]))

    def _begin(self) -> None:
        """Entries were pruned: start from the records of the checkpoint that stands for them."""
        self.result.began = self.result.batch = self._start
        point = next((one for one in self._inside if one.batch == self._start), None)
        if point is None:
            sentence = f"entries up to batch {self._start} are pruned, and the checkpoint in their place is gone"
            self.result.say(f"checkpoint {self._start}", sentence)
            self._able = False
            return
        self._chains.start_at(point)
        self._able = self._load(point)

    def _load(self, point: Checkpoint) -> bool:
        name = f"checkpoint {point.batch}"
        self.close()
        self._again = Again(self._system, State(self._recent))
        hashes = Hashes()
        records = _hashed(self._journal.records(self._system, point.batch), hashes.add)
        unread = None
        try:
            self._again.state.load(records)
        except (msgspec.DecodeError, KeyError) as error:
            unread = f"its records cannot be read: {error}"
            for _ in records:
                pass
        if hashes.digest != (point.digest, point.records):
            self.result.say(name, f"the records of the checkpoint of batch {point.batch} are not its own")
        if unread is not None:
            self.result.say(name, unread)
        return unread is None

    def _rows(self, progress: Progress) -> Iterator[Row]:
        """Those of one's share."""
        for part in self._journal.rows(self._system, self._start):
            for row in part:
                if self._share.stop_at is not None and row[3] > self._share.stop_at:
                    return
                yield row
            progress(self.result.entries)

    def _go_over(self, row: Row) -> None:
        """An entry that the other process proves: only where it leads is of interest here."""
        self._chains.trust(row)
        self.result.batch = row[3]
        if row[4] is not None and self._able and self._decide:
            try:
                self._again.state.apply(row[6], row[5], DECODER.decode(row[7]))
            except (FoldError, msgspec.DecodeError) as error:
                self.result.say(f"{row[0]}#{row[1]}", f"entry {row[0]}#{row[1]} cannot be read: {error}")
                self._able = False
        elif row[4] is None:
            self._able = False
        while self._points and self._points[0][0].batch < self._share.fold_to:
            self._points.pop(0)

    def _row(self, row: Row) -> None:
        stream, seq, _, batch, place, at, kind, body, _, _ = row
        if batch > self.result.batch:
            self._pass_points(batch)
            self.result.batch = batch
        self.result.entries += 1
        self._chains.follow(row)
        if place is None:
            self.result.chained_only += 1
            self._able = False
        elif self._decide and self._able:
            self._decided(f"{stream}#{seq}", kind, at, body)

    def _decided(self, name: str, kind: str, at: dt.datetime, body: str) -> None:
        try:
            found = self._again.entry(kind, at, body)
        except FoldError as error:
            self.result.say(name, f"entry {name} cannot be decided on again: {error}")
            return
        self.result.decided += 1
        for one in found:
            sentence = f"entry {name}: deciding again gives another {one.field}"
            self.result.say(name, sentence, one.field, one.recorded, one.again)

    def _pass_points(self, upto: int | None) -> None:
        """Hold everything against each checkpoint behind which the next batch (None: the end) lies."""
        while self._points and (upto is None or self._points[0][0].batch < upto):
            point, kept_outside = self._points.pop(0)
            sound = self._chains.hold_against(point)
            if self._decide and self._able:
                digest, count = self._digest()
                if (digest, count) != (point.digest, point.records):
                    sound = False
                    sentence = f"the entries up to batch {point.batch} lead to other records than its checkpoint has"
                    self.result.say(f"checkpoint {point.batch}", sentence, "digest", point.digest, digest)
            elif self._decide and point in self._inside:
                self._able = self._load(point)
            self.result.checkpoints += 1
            if kept_outside and sound:
                self.result.covered = self.result.entries

    def _digest(self) -> tuple[str, int]:
        return records_digest(record_hash(*one) for one in self._again.state.records())

    def _hold_against(self, kept: Iterator[tuple[str, str]]) -> None:
        """Name what the last entry led to and the store does not hold, and the other way round."""
        state, spill = self._again.state, Spill()
        with closing(spill):
            seen = SpillingMap(spill, "seen", self._recent, canonical_bytes, msgspec.json.decode)
            for name, record in kept:
                own = state.text(name) if name not in seen else None
                seen[name] = True
                if own is None:
                    self.result.say(name, f"the store holds {name}, and no entry tells of it")
                elif own != record:
                    sentence = f"{name} in the store is not what its entries lead to"
                    self.result.say(name, sentence, "record", record, own)
            for name, _ in state.records():
                if name not in seen:
                    self.result.say(name, f"entries lead to {name}, and the store does not hold it")


def _hashed(records: Iterable[tuple[str, str]], told: Callable[[bytes], None]) -> Iterator[tuple[str, str]]:
    """The same records; `told` hears the hash of each."""
    for one in records:
        told(record_hash(*one))
        yield one


def _unsigned(point: Checkpoint) -> Checkpoint:
    return msgspec.structs.replace(point, key=None, signature=None)
