"""Exports go on from where the archive ends, whatever became of the store or of the export before."""

import datetime as dt
import re
from pathlib import Path

import psycopg
import pytest

from engine.app.wiring import enter_system
from engine.flow.replay.proving import prove
from engine.store import checkpoints
from engine.store.archive import Archive, ArchiveError
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
