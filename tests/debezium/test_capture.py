"""The capture file as a source: batches, resuming, growing, cut and packed files; and the real capture."""

import gzip
import json
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from connectors.debezium.capture import open_capture
from engine.model.change import Op, Record, RowChange, SnapshotMark, TransactionBegin, TransactionEnd, Unreadable
from engine.ports.errors import ConfigError, SourceRefused
from engine.ports.source import Resume, Source, SourceSetup

SHARED = Path(__file__).resolve().parents[3] / "shared" / "tryton"


def message(number: int) -> dict[str, Any]:
    source = {"name": "erp", "db": "books", "table": "invoice", "schema": "public", "lsn": number, "txId": number}
    value = {"op": "c", "after": {"id": number}, "source": {**source, "ts_us": number}, "transaction": None}
    return {"seq": number, "destination": "erp.public.invoice", "key": {"id": number}, "value": value}


def tombstone(number: int) -> dict[str, Any]:
    return {"seq": number, "destination": "erp.public.invoice", "key": {"id": number}, "value": None}


def lines(*held: dict[str, Any]) -> str:
    return "".join(json.dumps(one) + "\n" for one in held)


def open_file(path: Path, resume: Resume | None = None, max_batch: int = 2000) -> Source:
    setup = SourceSetup("erp", {"path": str(path)}, ["public.invoice"], [], resume, path.parent, max_batch)
    return open_capture(setup)


def drain(source: Source, max_batch: int = 2000) -> tuple[list[Record], Resume | None]:
    """All records, closing the source; each batch but the last must be full."""
    records: list[Record] = []
    resume = None
    with closing(source):
        while not source.exhausted:
            batch = source.poll(0)
            assert batch is not None
            assert len(batch.records) == max_batch or source.exhausted
            records += batch.records
            resume = json.loads(json.dumps(batch.resume))
            source.acknowledge()
        assert source.poll(0) is None
    return records, resume


def keys(records: list[Record]) -> list[str]:
    return [record.key for record in records if isinstance(record, RowChange)]


@pytest.mark.parametrize("max_batch", [1, 7, 1000])
def test_batches_are_full_and_resume_anywhere(tmp_path: Path, max_batch: int) -> None:
    file = tmp_path / "capture.jsonl"
    file.write_text(lines(*(one for n in range(1, 24) for one in (message(n), tombstone(n)))), encoding="utf-8")
    records, _ = drain(open_file(file, max_batch=max_batch), max_batch)
    expected = [str(n) for n in range(1, 24)]
    assert keys(records) == expected
    first = open_file(file, max_batch=max_batch)
    with closing(first):
        batch = first.poll(0)
    assert batch is not None
    rest = drain(open_file(file, batch.resume, max_batch), max_batch)[0] if len(batch.records) < 23 else []
    assert keys(list(batch.records)) + keys(rest) == expected


def test_a_grown_file_resumes_and_another_starts_over(tmp_path: Path) -> None:
    file = tmp_path / "capture.jsonl"
    file.write_text(lines(message(1), message(2)), encoding="utf-8")
    _, resume = drain(open_file(file))
    again = open_file(file, resume)
    with closing(again):
        assert again.exhausted
        assert again.poll(0) is None
        with file.open("a", encoding="utf-8") as end:
            end.write(lines(message(3)))
        batch = again.poll(0)
        assert batch is not None
        assert keys(list(batch.records)) == ["3"]
    other = tmp_path / "other.jsonl"
    other.write_text(lines(message(8), message(9)), encoding="utf-8")
    assert keys(drain(open_file(other, resume))[0]) == ["8", "9"]


def test_a_line_that_is_not_finished_waits(tmp_path: Path) -> None:
    file = tmp_path / "capture.jsonl"
    whole = lines(message(1), message(2))
    file.write_text(whole[:-9], encoding="utf-8")
    source = open_file(file)
    with closing(source):
        batch = source.poll(0)
        assert batch is not None
        assert keys(list(batch.records)) == ["1"]
        assert source.exhausted
        file.write_text(whole, encoding="utf-8")
        batch = source.poll(0)
        assert batch is not None
        assert keys(list(batch.records)) == ["2"]


def test_a_last_line_without_its_end_is_taken_when_it_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "capture.jsonl"
    file.write_text(lines(message(1), message(2)).rstrip("\n"), encoding="utf-8")
    records, resume = drain(open_file(file))
    assert keys(records) == ["1", "2"]
    with file.open("a", encoding="utf-8") as end:
        end.write("\n" + lines(message(3)))
    assert keys(drain(open_file(file, resume))[0]) == ["3"]


def test_an_empty_file_that_fills_later_can_be_resumed(tmp_path: Path) -> None:
    file = tmp_path / "capture.jsonl"
    file.touch()
    source = open_file(file)
    with closing(source):
        assert source.exhausted
        file.write_text(lines(message(1)), encoding="utf-8")
        batch = source.poll(0)
    assert batch is not None
    assert open_and_count(file, batch.resume) == 0


def open_and_count(file: Path, resume: Resume) -> int:
    return len(drain(open_file(file, resume))[0])


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "capture.jsonl"
    file.write_text(lines(message(1), message(2)), encoding="utf-8")
    _, resume = drain(open_file(file))
    file.write_text(lines(message(1)), encoding="utf-8")
    with pytest.raises(SourceRefused, match=r"shorter than .* --new-epoch"):
        open_file(file, resume)


def test_a_packed_file_reads_the_same(tmp_path: Path) -> None:
    plain, packed = tmp_path / "capture.jsonl", tmp_path / "packed"
    text = lines(*(message(n) for n in range(1, 30)))
    plain.write_text(text, encoding="utf-8")
    packed.write_bytes(gzip.compress(text.encode()))
    assert drain(open_file(packed)) == drain(open_file(plain))
    source = open_file(packed, max_batch=5)
    with closing(source):
        batch = source.poll(0)
    assert batch is not None
    assert keys(drain(open_file(packed, batch.resume))[0]) == [str(n) for n in range(6, 30)]
    whole = packed.read_bytes()
    packed.write_bytes(whole[:-20])
    drain(open_file(packed))


def test_key_and_value_may_be_strings_of_json(tmp_path: Path) -> None:
    file = tmp_path / "capture.jsonl"
    one = message(1)
    file.write_text(
        lines({**one, "key": json.dumps(one["key"]), "value": json.dumps(one["value"])}), encoding="utf-8"
    )
    source = open_file(file)
    assert source.epoch == "capture:erp/books"
    assert keys(drain(source)[0]) == ["1"]


@pytest.mark.parametrize("bad", ["{", "[]", '{"destination": 3, "value": {}}', '{"value": {}}', "\x00"])
def test_a_bad_line_is_kept_and_the_rest_is_read(tmp_path: Path, bad: str) -> None:
    file = tmp_path / "capture.jsonl"
    file.write_text(lines(message(1)) + bad + "\n\n" + lines(message(2)), encoding="utf-8")
    records, _ = drain(open_file(file))
    assert keys(records) == ["1", "2"]
    assert isinstance(records[1], Unreadable)
    assert "capture.jsonl:2" in records[1].reason


def test_a_path_is_needed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="path"):
        open_capture(SourceSetup("erp", {}, [], [], None, tmp_path))
    with pytest.raises(SourceRefused, match="nowhere"):
        open_file(tmp_path / "nowhere")


@pytest.mark.skipif(not (SHARED / "events.jsonl").exists(), reason="the real capture is not beside the project")
@pytest.mark.parametrize("max_batch", [1, 7, 1000])
def test_the_real_capture_is_read_whole(max_batch: int) -> None:
    source = open_file(SHARED / "events.jsonl", max_batch=max_batch)
    assert source.epoch == "capture:tryton/tryton"
    records, resume = drain(source, max_batch)
    ops = Counter(record.op for record in records if isinstance(record, RowChange))
    assert ops == {Op.READ: 281, Op.CREATE: 286, Op.UPDATE: 605, Op.DELETE: 6}
    kinds = Counter(type(record) for record in records)
    assert (kinds[TransactionBegin], kinds[TransactionEnd], kinds[Unreadable]) == (131, 131, 0)
    marks = Counter(record.snapshot for record in records if isinstance(record, RowChange))
    assert marks == {SnapshotMark.ROW: 280, SnapshotMark.LAST: 1, SnapshotMark.NONE: 897}
    counts = Counter(record.tx for record in records if isinstance(record, RowChange) and record.bordered)
    assert counts == {record.tx: record.count for record in records if isinstance(record, TransactionEnd)}
    assert resume is not None
    assert resume["offset"] == (SHARED / "events.jsonl").stat().st_size


@pytest.mark.skipif(not SHARED.exists(), reason="the real capture is not beside the project")
@pytest.mark.parametrize("name", ["events_resume.jsonl", "default_ri.jsonl"])
def test_the_other_captures_are_read_whole(name: str) -> None:
    records, _ = drain(open_file(SHARED / name))
    assert records
    assert not [record for record in records if isinstance(record, Unreadable)]
