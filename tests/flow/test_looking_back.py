"""What was true at a time, out of an archive: equal to the store at its head, and to a fold entry by entry before."""

from pathlib import Path

import psycopg
import pytest

from engine.flow.replay.asking import ask, timeline, under_policy
from engine.flow.replay.closing import close
from engine.flow.replay.folding import Until, fold_states
from engine.flow.replay.looking import as_of, records
from engine.flow.replay.reading import DECODER
from engine.flow.replay.reporting import page
from engine.flow.replay.state import State
from engine.model.records import ConflictKind
from engine.rules.policy import Choice, Policy
from engine.store import checkpoints
from engine.store.archive import Archive
from engine.store.exporting import export
from tests.flow.test_dispatcher import House
from tests.flow.test_replay import busy

SYSTEM = "looking-back"


@pytest.fixture(scope="module")
def held(store_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Archive, dict[str, str]]:
    """An archive, and the documents that the store held when it was made."""
    folder = tmp_path_factory.mktemp("looking-back")
    opened: list[psycopg.Connection[tuple[object, ...]]] = []

    def connect() -> psycopg.Connection[tuple[object, ...]]:
        opened.append(psycopg.connect(store_dsn, autocommit=True))
        return opened[-1]

    with psycopg.connect(store_dsn, autocommit=True) as connection:
        busy(House(connection, connect, SYSTEM))
        export(connection, SYSTEM, folder)
        with connection.transaction():
            found = dict(checkpoints.state_of(connection, SYSTEM))
    for one in opened:
        one.close()
    return Archive(folder), {n: r for n, r in found.items() if n.startswith(("invoice/", "customer/"))}


def test_at_its_head_every_document_is_the_store_s(held: tuple[Archive, dict[str, str]]) -> None:
    archive, kept = held
    assert dict(records(as_of(archive.parts(SYSTEM), Until()))) == kept
    assert len(kept) == 3


@pytest.mark.parametrize("at_once", [1, 40, 10_000])
def test_however_many_buckets_are_folded_at_once_the_documents_are_the_same(
    held: tuple[Archive, dict[str, str]], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, kept = held
    monkeypatch.setattr("engine.flow.replay.folding.AT_ONCE", at_once)
    found = as_of(archive.parts(SYSTEM), Until(), moves=archive.files(SYSTEM, "moves"))
    assert sorted(records(found)) == sorted(kept.items())


def test_after_every_batch_it_is_what_the_entries_up_to_there_say(held: tuple[Archive, dict[str, str]]) -> None:
    archive, _ = held
    state, rows = State(), [row for part in archive.rows(SYSTEM) for row in part]
    assert len(rows) > 20
    for row, after in zip(rows, [*rows[1:], None], strict=True):
        state.apply(row[6], row[5], DECODER.decode(row[7]))
        if after is None or after[3] != row[3]:
            until = Until(batch=row[3])
            told = dict(records(as_of(archive.parts(SYSTEM), until, moves=archive.files(SYSTEM, "moves"))))
            assert told == {n: r for n, r in state.records() if n.startswith(("invoice/", "customer/"))}
            states = fold_states(archive.files(SYSTEM, "moves"), until)
            assert states == {key: record.state for key, record in state.view.invoices.items()}


def test_a_document_s_life_is_told_entry_by_entry(held: tuple[Archive, dict[str, str]]) -> None:
    moves = [step for row in timeline(held[0], SYSTEM, "invoice/2") for step in row["moves"]]
    assert moves[0] == "new -> open (erp_opened)"
    assert "open -> matched (match)" in moves


def test_a_month_is_closed_with_both_ledgers(held: tuple[Archive, dict[str, str]]) -> None:
    month = close(held[0], SYSTEM, "2026-11")
    assert {item["key"] for item in month.open_items} <= {"1", "2", "3"}
    assert [row["currency"] for row in month.balances] == ["EUR"]
    assert sum(row["subledger"] for row in month.balances) == sum(item["open_amount"] for item in month.open_items)
    assert close(held[0], SYSTEM, "2026-10").open_items == []
    assert month.conflicts_open or month.commands_under_way or month.posted


def test_the_report_needs_nothing_beside_it(held: tuple[Archive, dict[str, str]]) -> None:
    text = page(held[0], [SYSTEM], "2026-11")
    assert text.count("<svg") >= 2
    assert "http" not in text
    assert "src=" not in text


def test_questions_are_answered_and_change_nothing(held: tuple[Archive, dict[str, str]], tmp_path: Path) -> None:
    columns, rows = ask(held[0], [SYSTEM], "SELECT kind, count(*) AS n FROM entries GROUP BY kind ORDER BY kind")
    assert columns == ["kind", "n"]
    assert {kind for kind, _ in rows} >= {"change", "config", "intent", "outcome", "timer"}
    assert ask(held[0], [SYSTEM], "SELECT count(*) FROM conflicts")[1][0][0] > 0
    for forbidden in (f"COPY entries TO '{tmp_path}/x.csv'", "SELECT * FROM read_text('pyproject.toml')",
                      "SET enable_external_access = true"):  # fmt: skip
        with pytest.raises(Exception, match=r"(?i)permission|disabled|locked"):
            ask(held[0], [SYSTEM], forbidden)


def test_another_policy_is_told_where_it_would_have_led_elsewhere(held: tuple[Archive, dict[str, str]]) -> None:
    assert list(under_policy(held[0], SYSTEM, Policy())) == []
    held_instead = Policy(choices={ConflictKind.OVER_APPLICATION: Choice.HOLD})
    found = list(under_policy(held[0], SYSTEM, held_instead))
    assert found
    assert {field.again for one in found for field in one.differences} >= {'"held"'}
