"""However an archive is cut into parts and months, every moment looks the same."""

import datetime as dt
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from engine.flow.replay.folding import Until
from engine.flow.replay.looking import as_of, records
from engine.flow.replay.proving import prove
from engine.flow.replay.reading import DECODER
from engine.flow.replay.state import State
from engine.store.archive import Archive, file_digest, open_duckdb, write_manifest
from engine.store.journal import Row
from engine.store.steps import COLUMNS, lasts_sql
from tests.flow.archived import archived_rows
from tests.flow.memory_journal import SYSTEM, made

ENTRIES = 240
MONTHS: dict[str, Callable[[int], int]] = {
    "one month": lambda _n: 0,
    "months one behind the other": lambda n: n // 60,
    # Who reads an entry later may commit it sooner.
    "months whose ends are interleaved": lambda n: n // 60 + (1 if n % 60 > 50 and n % 3 == 0 else 0),
    "months in no order": lambda n: n * 7 % 4,
}


def moved(row: Row, number: int, months: str) -> Row:
    """The entry, told in another month. Its hash is no longer its own, which folding does not ask for."""
    at = dt.datetime(2026, 1 + MONTHS[months](number), 10, tzinfo=dt.UTC) + dt.timedelta(seconds=number)
    return (*row[:5], at, *row[6:])


@pytest.fixture(params=MONTHS)
def rows(request: pytest.FixtureRequest) -> list[Row]:
    return [moved(row, number, request.param) for number, row in enumerate(made(ENTRIES).entries)]


def documents(archive: Archive, until: Until, *, by_steps: bool = False) -> dict[str, str]:
    parts = archive.parts(SYSTEM)
    if by_steps:
        parts = [msgspec.structs.replace(part, lasts=None) for part in parts]
    return dict(records(as_of(parts, until, moves=archive.files(SYSTEM, "moves"))))


def folded(rows: list[Row]) -> Iterator[tuple[int, dict[str, str]]]:
    """After every 13th batch: every document by a fold entry by entry."""
    state = State()
    for row in rows:
        state.apply(row[6], row[5], DECODER.decode(row[7]))
        if row[3] % 13 == 0 or row is rows[-1]:
            yield row[3], {n: r for n, r in state.records() if n.startswith(("invoice/", "customer/"))}


@pytest.mark.parametrize("most", [17, 60, ENTRIES])
def test_after_a_batch_the_documents_are_those_of_the_entries_up_to_there(
    rows: list[Row], most: int, tmp_path: Path
) -> None:
    archive = archived_rows(tmp_path, rows, most)
    for batch, expected in folded(rows):
        assert documents(archive, Until(batch=batch)) == expected, batch
    assert documents(archive, Until()) == expected
    assert documents(archive, Until(), by_steps=True) == expected, "as of an archive without last values"


def test_at_a_time_the_documents_are_those_up_to_the_last_batch_of_then(rows: list[Row], tmp_path: Path) -> None:
    archive = archived_rows(tmp_path, rows, 17)
    times = sorted(row[5] for row in rows)
    for at in (*times[10::29], times[-1]):
        batch = max(row[3] for row in rows if row[5] <= at)
        assert documents(archive, Until(at=at)) == documents(archive, Until(batch=batch)), at
    assert documents(archive, Until(at=times[0] - dt.timedelta(days=1))) == {}


def test_a_last_value_that_its_steps_do_not_give_is_found_though_the_archive_was_sealed_again(tmp_path: Path) -> None:
    archive = archived_rows(tmp_path, made(40).entries)
    manifest = archive.manifest(SYSTEM)
    (known,) = [one for one in manifest.files if one.kind == "lasts"]
    file = archive.place(SYSTEM) / known.path
    forged = file.with_name("forged")
    with open_duckdb() as duck:
        duck.execute(f"CREATE TABLE lasts AS SELECT * FROM read_parquet('{file}', hive_partitioning = false)")
        duck.execute(
            "UPDATE lasts SET doc_open_amount = '\"0.07\"' WHERE name = (SELECT min(name) FROM lasts "
            "WHERE starts_with(name, 'invoice/'))"
        )
        duck.execute(f"COPY lasts TO '{forged}' (FORMAT parquet)")
    forged.replace(file)
    files = tuple(
        msgspec.structs.replace(one, sha256=file_digest(file)) if one is known else one for one in manifest.files
    )
    write_manifest(tmp_path, msgspec.structs.replace(manifest, files=files))
    assert [fault.sentence for fault in prove(Archive(tmp_path), SYSTEM).faults] == [
        f"file {known.path} of the archive is not what its entries give: 2 rows differ"
    ]


def test_a_token_that_is_gone_stays_gone() -> None:
    told = [(1, '{"a": "1", "b": "2"}'), (2, '{"a": null}'), (3, None), (4, '{"c": "3"}')]
    with open_duckdb() as duck:
        columns = ", ".join(f"NULL::VARCHAR AS {name}" for name in COLUMNS)
        duck.execute("CREATE TABLE told (batch BIGINT, guard VARCHAR)")
        duck.executemany("INSERT INTO told VALUES (?, ?)", told)
        duck.execute(
            f"""CREATE TABLE steps AS SELECT batch, 0 AS place, TIMESTAMP '2026-01-01' AS "at", 'invoice/1' AS name,
                0::UTINYINT AS bucket, guard, {columns} FROM told"""
        )
        (found,) = duck.execute(f"SELECT guard FROM ({lasts_sql('steps')})").fetchall()
    assert json.loads(found[0]) == {"a": None, "b": "2", "c": "3"}


@pytest.mark.parametrize("kinds", [("steps",), ("lasts",), ("steps", "lasts")])
def test_what_a_version_wrote_that_did_not_know_a_field_yet_is_read(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    """In its files the field has no column, and in its entries nothing tells of it."""
    rows = made(ENTRIES).entries
    archive = archived_rows(tmp_path / "archive", rows, 60)
    assert not any('"credited"' in row[7] for row in rows)
    whole = documents(archive, Until())
    cut = documents(archive, Until(batch=rows[100][3]))
    manifest = archive.manifest(SYSTEM)
    files = []
    for place, one in enumerate(manifest.files):
        if one.kind in kinds and place < 4 * len(manifest.files) // 5:
            file = archive.place(SYSTEM) / one.path
            with open_duckdb() as duck:
                duck.execute(f"CREATE TABLE t AS SELECT * EXCLUDE (rec_credited) FROM read_parquet('{file}')")
                duck.execute(f"COPY t TO '{file}' (FORMAT parquet)")
            files.append(msgspec.structs.replace(one, sha256=file_digest(file)))
        else:
            files.append(one)
    write_manifest(archive.folder, msgspec.structs.replace(manifest, files=tuple(files)))
    older = Archive(archive.folder)
    assert (older.damaged(SYSTEM), older.steps_apart(SYSTEM)) == ([], [])
    for by_steps in (False, True):
        assert documents(older, Until(), by_steps=by_steps) == whole
        assert documents(older, Until(batch=rows[100][3]), by_steps=by_steps) == cut
