"""Whatever is changed in a journal is found and named, also by an attacker who writes all hashes anew.

`make prove` plays ten thousand cases, `make test` some hundreds.
"""

import datetime as dt
import random
from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec
import pytest

from engine.flow.replay.verifying import Verified, verify
from engine.store.checkpoints import Checkpoint
from engine.store.journal import GENESIS, Row, entry_hash
from tests.flow.memory_journal import SYSTEM, MemoryJournal, checkpoint_at, made

ENTRIES = 45
COVERED = 30


@cache
def sound() -> tuple[MemoryJournal, Checkpoint]:
    held = made(ENTRIES)
    return held, checkpoint_at(held, COVERED)


def copied() -> MemoryJournal:
    held = sound()[0]
    return MemoryJournal(list(held.entries), dict(held.ends))


def flip(text: str, rng: random.Random) -> str:
    """The same text with one byte changed."""
    place = rng.randrange(len(text))
    other = rng.choice([c for c in '0123456789abcdefXYZ,.:"{}' if c != text[place]])
    return text[:place] + other + text[place + 1 :]


def change(held: MemoryJournal, rng: random.Random) -> int:
    """Change one field of one entry; returns its place."""
    place = rng.randrange(len(held.entries))
    row: list[Any] = list(held.entries[place])
    field = rng.choice([0, 1, 2, 3, 4, 5, 6, 7, 7, 7, 7, 8, 9])
    if isinstance(row[field], str):
        row[field] = flip(row[field], rng)
    elif isinstance(row[field], dt.datetime):
        row[field] += dt.timedelta(microseconds=rng.choice([-1, 1]))
    else:
        row[field] += rng.choice([-1, 1])
    held.entries[place] = msgspec.convert(row, Row)
    return place


def remove(held: MemoryJournal, rng: random.Random) -> int:
    place = rng.randrange(len(held.entries))
    del held.entries[place]
    return place


def swap(held: MemoryJournal, rng: random.Random) -> int:
    one, other = sorted(rng.sample(range(len(held.entries)), 2))
    held.entries[one], held.entries[other] = held.entries[other], held.entries[one]
    return one


def duplicate(held: MemoryJournal, rng: random.Random) -> int:
    place = rng.randrange(len(held.entries))
    held.entries.insert(rng.randrange(place, len(held.entries)) + 1, held.entries[place])
    return place


def cut(held: MemoryJournal, rng: random.Random) -> int:
    place = rng.randrange(len(held.entries))
    del held.entries[place:]
    return place


def lower_head(held: MemoryJournal, rng: random.Random) -> int:
    stream = rng.choice(sorted(held.ends))
    seq, own = held.ends[stream]
    held.ends[stream] = (seq + rng.choice([-1, 1]), own) if rng.random() < 0.5 else (seq, flip(own, rng))
    return len(held.entries)


TAMPERINGS: list[Callable[[MemoryJournal, random.Random], int]] = [change, remove, swap, duplicate, cut, lower_head]


def rehashed(held: MemoryJournal) -> MemoryJournal:
    """What an attacker leaves who can write everything: sequences, hashes and heads made anew."""
    ends: dict[str, tuple[int, str]] = {}
    rows: list[Row] = []
    for batch, row in enumerate(held.entries, 1):
        stream, _, system, _, _, at, kind, body, _, _ = row
        seq, previous = ends.get(stream, (0, GENESIS))
        own = entry_hash(previous, stream, seq + 1, system, batch, 0, at, kind, body)
        rows.append((stream, seq + 1, system, batch, 0, at, kind, body, previous, own))
        ends[stream] = (seq + 1, own)
    return MemoryJournal(rows, ends)


def named(found: Verified) -> bool:
    return bool(found.faults) and all(fault.entry and fault.sentence for fault in found.faults)


def test_what_nobody_touched_is_sound() -> None:
    held, point = sound()
    found = verify(held, SYSTEM, outside=[point])
    assert (found.faults, found.decided, found.covered) == ([], ENTRIES, COVERED)
    kinds = {row[6] for row in held.entries}
    assert kinds >= {"change", "intent", "timer", "outcome", "config"}


def play(seed: int) -> None:
    rng = random.Random(seed)
    held = copied()
    tampering = TAMPERINGS[seed % len(TAMPERINGS)]
    tampering(held, rng)
    if held.entries == sound()[0].entries and held.ends == sound()[0].ends:
        return  # two alike were swapped
    assert named(verify(held, SYSTEM, decide=False)), (seed, tampering.__name__)


def play_attacker(seed: int) -> None:
    """An attacker changes an entry and writes all hashes and heads anew: found at or below the newest checkpoint that
    was kept outside; above it the entry is told as uncovered."""
    rng = random.Random(seed)
    before, point = sound()
    held = copied()
    place = rng.randrange(1, ENTRIES)
    row = held.entries[place]
    body = row[7].replace('"effects":[', f'"effects":[{{"type":"echoed","command":"X{seed}"}},', 1)
    if rng.random() < 0.5:
        body = flip(row[7], rng)
    held.entries[place] = (*row[:7], body, *row[8:])
    forged = rehashed(held)
    found = verify(forged, SYSTEM, outside=[point], decide=False)
    if place < COVERED:
        assert named(found), (seed, place)
        assert found.covered == 0
    else:
        assert found.faults == []
        assert (found.covered, found.uncovered) == (COVERED, ENTRIES - COVERED)
    assert before.entries != forged.entries


@pytest.mark.parametrize("part", range(4))
def test_random_tampering_is_found_and_named(part: int) -> None:
    for seed in range(part, 240, 4):
        play(seed)
        play_attacker(seed)


@pytest.mark.prove
@pytest.mark.parametrize("part", range(10))
def test_ten_thousand_tamperings_are_found_and_named(part: int) -> None:
    for seed in range(1000 + part, 6_000, 10):
        play(seed)
        play_attacker(seed)


def test_a_forged_decision_is_named_by_entry_and_field_with_both_values() -> None:
    held = copied()
    place = next(i for i, row in enumerate(held.entries) if row[6] == "intent")
    row = held.entries[place]
    held.entries[place] = (*row[:7], row[7].replace('"state":"matched"', '"state":"cleared"', 1), *row[8:])
    found = verify(rehashed(held), SYSTEM)
    fault = next(one for one in found.faults if one.field is not None)
    assert (fault.entry, fault.recorded, fault.again) == (f"{row[0]}#{row[1]}", '"cleared"', '"matched"')
    assert (fault.field or "").startswith("after.invoice/")


def test_a_checkpoint_outside_shows_a_tail_that_was_cut_with_its_head() -> None:
    held, point = sound()
    shorter = rehashed(MemoryJournal(list(held.entries[: COVERED - 5]), {}))
    found = verify(shorter, SYSTEM, outside=[point], decide=False)
    assert any("has seen" in fault.sentence for fault in found.faults)
    assert verify(shorter, SYSTEM, decide=False).faults == []


def test_a_checkpoint_s_line_counts_in_every_byte() -> None:
    from engine.store.checkpoints import CheckpointError, read_checkpoint

    line, rng = sound()[1].line, random.Random(7)
    for _ in range(200):
        other = flip(line, rng)
        try:
            changed = read_checkpoint(other)
        except CheckpointError:
            continue
        assert changed != sound()[1]
        assert (
            named(verify(sound()[0], changed.system, outside=[changed]))
            or changed.system != SYSTEM
            or (msgspec.structs.replace(changed, at=sound()[1].at, key=None) == sound()[1])
        )
