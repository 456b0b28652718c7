"""A journal in memory, for tests that tamper with it."""

# ruff: noqa: ARG002 - the port's signatures

from collections.abc import Iterator, Sequence

import msgspec

from benchmarks.replay.lives import Writer, journal
from engine.flow.replay.reading import DECODER
from engine.flow.replay.state import State
from engine.store.checkpoints import Checkpoint, record_hash, records_digest
from engine.store.journal import Row

SYSTEM = "erp"


class MemoryJournal(msgspec.Struct):
    """A place that a journal is read from."""

    entries: list[Row]
    ends: dict[str, tuple[int, str]]
    points: list[Checkpoint] = []
    name: str = "memory"

    def systems(self) -> list[str]:
        return [SYSTEM]

    def heads(self, system: str) -> dict[str, tuple[int, str]]:
        return dict(self.ends)

    def count(self, system: str, after: int = 0) -> int:
        return len(self.entries)

    def rows(self, system: str, after: int = 0) -> Iterator[Sequence[Row]]:
        yield [row for row in self.entries if row[3] > after]

    def checkpoints(self, system: str) -> list[Checkpoint]:
        return list(self.points)

    def records(self, system: str, batch: int) -> Iterator[tuple[str, str]]:
        return iter(())

    def pruned_to(self, system: str) -> int:
        return 0


def made(entries: int, seed: int = 1) -> MemoryJournal:
    """A sound journal of so many entries."""
    writer = Writer(SYSTEM)
    rows = [row for part in journal(writer, entries, seed, abreast=3) for row in part]
    return MemoryJournal(rows, dict(writer.heads))


def checkpoint_at(held: MemoryJournal, count: int) -> Checkpoint:
    """The checkpoint behind so many entries."""
    state, heads = State(), {}
    for row in held.entries[:count]:
        state.apply(row[6], row[5], DECODER.decode(row[7]))
        heads[row[0]] = (row[1], row[9])
    digest, records = records_digest(record_hash(*one) for one in state.records())
    last = held.entries[count - 1]
    return Checkpoint(SYSTEM, last[3], last[5], heads, digest, records)
