"""Entries of earlier versions verify under the rules that they were written with.

The fixture is never written anew. When it no longer verifies, the rules have changed what they decide: keep the
former ones as a frozen module, name them in `engine.rules.versions`, raise `RULES_VERSION`, and add a fixture of
the new ones.
"""

import datetime as dt
import json
from pathlib import Path

import msgspec
import pytest

from engine.flow.replay.verifying import verify
from engine.rules import versions
from engine.rules.decide import RULES_VERSION, decide
from engine.rules.desk import Decision
from engine.store.journal import GENESIS, Row, entry_hash
from tests.flow.memory_journal import SYSTEM, MemoryJournal, made
from tests.flow.test_tampering import rehashed

FIXTURES = sorted((Path(__file__).parent / "fixtures").glob("journal_of_rules_*.jsonl"))


def read(file: Path) -> MemoryJournal:
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    rows = [msgspec.convert(line, Row) for line in lines]
    return MemoryJournal(rows, {row[0]: (row[1], row[9]) for row in rows})


@pytest.mark.parametrize("file", FIXTURES, ids=lambda file: file.stem)
def test_a_journal_of_every_version_verifies(file: Path) -> None:
    held = read(file)
    found = verify(held, SYSTEM)
    assert (found.faults, found.decided) == ([], len(held.entries))
    assert found.decided >= (60 if file.stem.rpartition("_")[2].isdecimal() else 9)


def test_what_is_decided_otherwise_now_verifies_only_under_the_rules_of_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deleted invoice named by its number: version 1 waited for it, version 2 tells that it is gone."""
    held = read(Path(__file__).parent / "fixtures" / "journal_of_rules_1_deleted.jsonl")
    assert verify(held, SYSTEM).faults == []
    monkeypatch.setitem(versions._FROZEN, 1, lambda: decide)
    fields = {fault.field for fault in verify(held, SYSTEM).faults}
    assert "after.intent/by-number.state" in fields


def test_there_is_a_journal_of_the_rules_as_they_are() -> None:
    assert f"journal_of_rules_{RULES_VERSION}" in {file.stem for file in FIXTURES}


def test_entries_are_decided_by_the_rules_that_their_settings_name(monkeypatch: pytest.MonkeyPatch) -> None:
    held, asked = made(20), list[str]()

    def former(*args: object) -> Decision:
        asked.append("former")
        return decide(*args)  # type: ignore[arg-type]

    older = [(*row[:7], row[7].replace(f'"rules":{RULES_VERSION}', '"rules":77'), *row[8:]) for row in held.entries]
    digest = json.loads(older[0][7])
    from engine.store.journal import Settings

    name = msgspec.convert(digest["input"]["settings"], Settings).digest
    text = [(*row[:7], row[7].replace(digest["versions"], name), *row[8:]) for row in older]
    forged = rehashed(MemoryJournal(text, {}))
    unknown = verify(forged, SYSTEM)
    assert "no rules of version 77" in unknown.faults[0].sentence
    monkeypatch.setitem(versions._FROZEN, 77, lambda: former)
    assert verify(forged, SYSTEM).faults == []
    assert len(asked) == 19


def test_entries_of_the_first_form_are_chained_and_told_not_to_be_decided_again() -> None:
    at, previous, rows = dt.datetime(2026, 1, 1, tzinfo=dt.UTC), GENESIS, list[Row]()
    for seq in (1, 2):
        body = '{"basis":{},"effects":[],"input":{"tx":"1"},"versions":{"rules":1}}'
        own = entry_hash(previous, "erp/changes", seq, SYSTEM, seq, None, at, "change", body)
        rows.append(("erp/changes", seq, SYSTEM, seq, None, at, "change", body, previous, own))
        previous = own
    found = verify(MemoryJournal(rows, {"erp/changes": (2, previous)}), SYSTEM)
    assert (found.faults, found.entries, found.chained_only, found.decided) == ([], 2, 2, 0)
