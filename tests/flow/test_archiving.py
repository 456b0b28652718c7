"""Exports go on from where the archive ends, whatever became of the store or of the export before."""

import datetime as dt
import re
from pathlib import Path
from typing import Any

import psycopg
import pytest

from engine.app.wiring import enter_system
from engine.flow.replay.proving import prove
from engine.store import archive as arch
from engine.store import checkpoints, exporting
from engine.store.archive import Archive, ArchiveError, unfinished
from engine.store.exporting import export, prune
from engine.store.journal import Entry
from engine.store.unit import Connection, unit_of_work

NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)


@pytest.fixture
def system(connection: Connection, request: pytest.FixtureRequest) -> str:
    name = re.sub(r"\W", "_", request.node.name)[-40:]
    enter_system(connection, name, "tryton")
    return name


def note(connection: Connection, system: str, *texts: str) -> None:
    """One entry for each text, each in a batch of its own."""
    for text in texts:
        with unit_of_work(connection, system, NOW) as work:
            work.note(Entry(f"{system}/operators", "choice", NOW, {"comment": "x", "text": text, "by": "me"}))


def faults(folder: Path, system: str) -> list[str]:
    return [fault.sentence for fault in prove(Archive(folder), system).faults]


def put_back(owner_dsn: str, system: str, heads: list[tuple[str, int, str]], batch: int) -> None:
    """As the store is after it was restored from a backup of then."""
    with psycopg.connect(owner_dsn, autocommit=True) as owner:
        owner.execute("DELETE FROM journal WHERE system = %s AND batch > %s", (system, batch))
        owner.execute("UPDATE system SET batch = %s, restored_at = now() WHERE name = %s", (batch, system))
        for stream, seq, own in heads:
            owner.execute("UPDATE stream_head SET seq = %s, hash = %s WHERE stream = %s", (seq, own, stream))


@pytest.mark.parametrize("since", [0, 1, 4])
def test_a_store_that_was_restored_is_not_exported_into_its_old_archive(
    connection: Connection, owner_dsn: str, system: str, tmp_path: Path, since: int
) -> None:
    note(connection, system, "1", "2")
    heads = connection.execute(
        "SELECT stream, seq, hash FROM stream_head WHERE starts_with(stream, %s)", (f"{system}/",)
    ).fetchall()
    (batch,) = connection.execute("SELECT batch FROM system WHERE name = %s", (system,)).fetchone() or (0,)
    note(connection, system, "3", "4")
    export(connection, system, tmp_path / "old")
    before = (tmp_path / "old" / f"system={system}" / "manifest.json").read_bytes()
    put_back(owner_dsn, system, heads, batch)
    note(connection, system, *(f"other {number}" for number in range(since)))
    with pytest.raises(ArchiveError, match="restored since, or another store is exported; export into a new folder"):
        export(connection, system, tmp_path / "old")
    assert (tmp_path / "old" / f"system={system}" / "manifest.json").read_bytes() == before
    assert faults(tmp_path / "old", system) == []
    assert export(connection, system, tmp_path / "new").entries == 2 + since
    assert faults(tmp_path / "new", system) == []


def test_an_archive_goes_on_behind_what_was_pruned(
    connection: Connection, owner_dsn: str, system: str, tmp_path: Path
) -> None:
    note(connection, system, "1", "2")
    checkpoints.take(connection, system, NOW)
    export(connection, system, tmp_path)
    with psycopg.connect(owner_dsn, autocommit=True) as owner:
        assert prune(owner, system, tmp_path, NOW)[0] == 2
    assert export(connection, system, tmp_path).entries == 0
    note(connection, system, "3")
    assert export(connection, system, tmp_path).entries == 1
    assert faults(tmp_path, system) == []


def broken_off(monkeypatch: pytest.MonkeyPatch, connection: Connection, system: str, folder: Path) -> None:
    """An export that the disk breaks off between two files."""
    write = exporting._write

    def until_full(duck: Any, query: str, place: Path, path: str, kind: str) -> Any:
        if kind == "steps":
            raise OSError("no space left on device")
        return write(duck, query, place, path, kind)

    with monkeypatch.context() as patch:
        patch.setattr(exporting, "_write", until_full)
        with pytest.raises(OSError, match="no space"):
            export(connection, system, folder)


def test_what_a_broken_off_export_left_accuses_nobody_and_the_next_one_removes_it(
    connection: Connection, owner_dsn: str, system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note(connection, system, "1")
    export(connection, system, tmp_path)
    place = Archive(tmp_path).place(system)
    note(connection, system, "2")
    broken_off(monkeypatch, connection, system, tmp_path)
    (place / ".export-killed").mkdir()
    (place / ".export-killed" / "part.csv").touch()
    (place / "manifest.part").touch()
    assert len(unfinished(place, Archive(tmp_path).manifest(system))) == 3
    assert faults(tmp_path, system) == []
    note(connection, system, "3")
    checkpoints.take(connection, system, NOW)
    assert export(connection, system, tmp_path).entries == 2
    known = {one.path for one in Archive(tmp_path).manifest(system).files}
    assert {str(file.relative_to(place)) for file in place.rglob("*") if file.is_file()} == known | {"manifest.json"}
    assert list(place.glob(".export-*")) == []
    assert faults(tmp_path, system) == []
    with psycopg.connect(owner_dsn, autocommit=True) as owner:
        assert prune(owner, system, tmp_path, NOW)[0] == 3


def test_the_first_export_was_broken_off(
    connection: Connection, system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note(connection, system, "1")
    broken_off(monkeypatch, connection, system, tmp_path)
    note(connection, system, "2")
    assert export(connection, system, tmp_path).entries == 2
    assert faults(tmp_path, system) == []


@pytest.mark.parametrize(
    "name", ["{month}/entries-000000000001-000000000001.parquet", "{month}/other-000000000099-000000000099.parquet",
             "records-000000000001.parquet", "entries.parquet", "{month}/.export-1", "notes.txt"],
)  # fmt: skip
def test_a_file_that_no_export_under_way_writes_accuses_the_archive(
    connection: Connection, system: str, tmp_path: Path, name: str
) -> None:
    note(connection, system, "1")
    note(connection, system, "2")
    export(connection, system, tmp_path)
    place = Archive(tmp_path).place(system)
    name = name.format(month=next(place.glob("month=*")).name)
    (place / name).touch()
    note(connection, system, "3")
    export(connection, system, tmp_path)
    said = f"file {name} stands in the archive, and its manifest does not know it"
    assert faults(tmp_path, system) == [said]


def test_an_export_beside_another_is_refused_and_an_archive_verifies_meanwhile(
    connection: Connection, system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note(connection, system, "1")
    export(connection, system, tmp_path)
    note(connection, system, "2")
    write = arch.write_manifest
    seen: list[str] = []

    def meanwhile(folder: Path, manifest: arch.Manifest) -> None:
        seen.extend(faults(tmp_path, system))
        with pytest.raises(ArchiveError, match=r"another export of .* is under way"):
            export(connection, system, tmp_path)
        write(folder, manifest)

    with monkeypatch.context() as patch:
        patch.setattr(arch, "write_manifest", meanwhile)
        assert export(connection, system, tmp_path).entries == 1
    assert seen == []
    note(connection, system, "3")
    assert export(connection, system, tmp_path).entries == 1
    assert faults(tmp_path, system) == []


def test_a_checkpoint_beyond_the_archive_s_end_comes_into_it_with_its_entries(
    connection: Connection, system: str, tmp_path: Path
) -> None:
    note(connection, system, "1")
    first = checkpoints.take(connection, system, NOW)

    def beside(_done: int) -> None:
        note(connection, system, "2")
        checkpoints.take(connection, system, NOW)

    with pytest.MonkeyPatch.context() as patch:
        # The last part was read, the checkpoints were not yet.
        ends = iter([exporting._next_end(connection, system, 0), None])
        patch.setattr(exporting, "_next_end", lambda *_: next(ends))
        assert export(connection, system, tmp_path, told=beside).entries == 1
    assert Archive(tmp_path).checkpoints(system) == [first]
    assert faults(tmp_path, system) == []
    assert export(connection, system, tmp_path).entries == 1
    with unit_of_work(connection, system, NOW):
        pass  # a batch without an entry
    last = checkpoints.take(connection, system, NOW)
    export(connection, system, tmp_path)
    assert Archive(tmp_path).checkpoints(system)[-1] == last
    assert (len(Archive(tmp_path).checkpoints(system)), faults(tmp_path, system)) == (3, [])


def test_an_entry_of_any_length_is_exported(connection: Connection, system: str, tmp_path: Path) -> None:
    """Among many that are short; umlauts have more bytes than characters."""
    note(connection, system, *map(str, range(20)), "ü" * 10_000_000, *map(str, range(20)))
    assert export(connection, system, tmp_path).entries == 41
    assert faults(tmp_path, system) == []
