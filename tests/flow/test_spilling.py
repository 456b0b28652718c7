"""What a verification keeps on disk counts as what it keeps in memory: the same faults, digests and records."""

import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from engine.flow.replay.reading import DECODER
from engine.flow.replay.spilling import Spill, SpillingMap
from engine.flow.replay.state import State
from engine.flow.replay.verifying import verify
from engine.model.canonical import canonical_bytes
from tests.flow.memory_journal import SYSTEM, MemoryJournal, checkpoint_at, made
from tests.flow.test_older_entries import FIXTURES, read
from tests.flow.test_tampering import COVERED, copied, rehashed, sound

ENTRIES = 400
FEW = [1, 3, 20]


@pytest.fixture
def spill() -> Iterator[Spill]:
    made = Spill()
    yield made
    made.close()


def mapping(spill: Spill, bound: int) -> SpillingMap[tuple[str, ...]]:
    return SpillingMap(spill, "held", bound, canonical_bytes, msgspec.json.Decoder(tuple[str, ...]).decode)


@pytest.mark.parametrize("bound", FEW)
def test_a_mapping_that_spills_is_the_mapping_that_does_not(spill: Spill, bound: int) -> None:
    rng, held, plain = random.Random(bound), mapping(spill, bound), dict[str, tuple[str, ...]]()
    assert (bool(held), len(held)) == (False, 0)
    for step in range(3000):
        key = str(rng.randrange(150))
        if rng.random() < 0.4:
            held[key] = plain[key] = (key, str(step))
        elif rng.random() < 0.1:
            held.update({key: ("updated",)})
            plain.update({key: ("updated",)})
        assert held.get(key) == plain.get(key)
        assert (key in held) == (key in plain)
        assert held.get(f"not {key}", ()) == ()
    assert (len(held), bool(held), sorted(held.items())) == (len(plain), True, sorted(plain.items()))
    assert sorted(held.keys()) == sorted(plain)
    assert dict(held.texts()) == {key: canonical_bytes(value) for key, value in plain.items()}
    assert {key: held[key] for key in plain} == plain
    assert held.setdefault("0", ("another",)) == plain["0"]
    with pytest.raises(KeyError):
        held["never"]
    assert dict.__len__(held) <= bound


def test_nothing_touches_the_disk_before_the_bound_and_no_file_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    spill = Spill()
    held = mapping(spill, 10)
    before = files_of(tmp_path)
    for key in range(20):
        held[str(key)] = ("x" * 1000,)
    assert files_of(tmp_path) == before == []
    for key in range(2000):
        held[str(key)] = ("x" * 1000,)
    assert len(files_of(tmp_path)) == 1
    assert list(tmp_path.iterdir()) == []
    spill.close()
    assert files_of(tmp_path) == []


def files_of(folder: Path) -> list[str]:
    """What this process has open below a folder."""
    opened = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [to for to in opened if to.startswith(str(folder))]


@pytest.mark.parametrize("recent", FEW)
def test_a_journal_verifies_the_same_whatever_stays_in_memory(recent: int) -> None:
    held = made(ENTRIES)
    held.points.append(checkpoint_at(held, ENTRIES // 2))
    whole = verify(held, SYSTEM)
    assert (whole.faults, whole.decided, whole.checkpoints) == ([], ENTRIES, 1)
    assert verify(held, SYSTEM, recent=recent) == whole


@pytest.mark.parametrize("file", FIXTURES, ids=lambda file: file.stem)
def test_journals_of_every_version_verify_with_hardly_anything_in_memory(file: Path) -> None:
    held = read(file)
    assert verify(held, SYSTEM, recent=1) == verify(held, SYSTEM)


def test_tampering_is_found_among_what_was_spilled() -> None:
    for seed in range(60):
        rng, held = random.Random(seed), copied()
        place = rng.randrange(1, len(held.entries))
        row = held.entries[place]
        spots = [at for at in range(len(row[7])) if row[7].startswith(('":"', '":['), at)]
        at = rng.choice(spots) + 3
        body = row[7][:at] + rng.choice("0123456789abc") + row[7][at + 1 :]
        held.entries[place] = (*row[:7], body, *row[8:])
        forged = rehashed(held)
        found = verify(forged, SYSTEM, outside=[sound()[1]], recent=1)
        assert found == verify(forged, SYSTEM, outside=[sound()[1]])
        assert found.faults or place >= COVERED or body == row[7], seed


def state_of(held: MemoryJournal, recent: int) -> State:
    state = State(recent)
    for row in held.entries:
        state.apply(row[6], row[5], DECODER.decode(row[7]))
    return state


def test_the_store_s_own_records_are_held_against_what_was_spilled() -> None:
    held = made(ENTRIES)
    kept = dict(state_of(held, 10_000).records())
    assert len(kept) > 100
    assert verify(held, SYSTEM, current=lambda: iter(kept.items()), recent=2).faults == []
    gone, changed = random.Random(3).sample(sorted(name for name in kept if name.startswith("invoice/")), 2)
    other = {**kept, changed: kept[changed].replace('"EUR"', '"USD"', 1), "invoice/nobody's": "{}"}
    del other[gone]
    for recent in (2, 10_000):
        found = verify(held, SYSTEM, current=lambda: iter([*other.items(), (changed, "{}")]), recent=recent)
        assert {(one.entry, one.sentence.partition(changed)[2] or one.sentence) for one in found.faults} == {
            (changed, " in the store is not what its entries lead to"),
            (changed, ", and no entry tells of it"),
            (gone, f"entries lead to {gone}, and the store does not hold it"),
            ("invoice/nobody's", "the store holds invoice/nobody's, and no entry tells of it"),
        }


def test_a_checkpoint_s_records_are_loaded_onto_the_disk() -> None:
    held = made(ENTRIES)
    whole = state_of(held, 10_000)
    small = State(1)
    small.load(whole.records())
    assert sorted(small.records()) == sorted(whole.records())
    assert {name: small.text(name) for name, _ in whole.records()} == dict(whole.records())
    assert (small.text("invoice/nobody's"), small.text("word/x"), small.text("settings/x")) == (None, None, None)
    small.close()
