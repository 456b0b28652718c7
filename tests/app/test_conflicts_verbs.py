"""`arsync conflicts` as a person calls it: lists, explains, chooses, undoes, exports; and what it refuses."""

import csv
import datetime as dt
import json
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from engine.app.cli import cli
from engine.app.verbs.conflicts import conflicts as group
from engine.model.records import ConflictKind, ConflictRecord
from engine.store import records
from engine.store.unit import Connection
from tests.flow.test_dispatcher import House, house  # noqa: F401 - a fixture


def call(*words: str, stdin: str = "", env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(cli, ("conflicts", *words), input=stdin, env=env)


def told(*words: str) -> Any:
    result = call(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def desk(house: House, store_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:  # noqa: F811
    """A store with three held conflicts of one system: 100.00, 60.00 and 20.00, refused by the ERP."""
    monkeypatch.setenv("ARSYNC_DSN", store_dsn)
    file = tmp_path / "arsync.toml"
    file.write_text(f'[store]\ndsn_env = "ARSYNC_DSN"\n[systems.{house.system}]\nconnector = "tryton"\n')
    monkeypatch.setenv("ARSYNC_CONFIG", str(file))
    for number, amount in ((1, "100.00"), (2, "60.00"), (3, "20.00")):
        house.invoice(str(number), customer=str(6 + number))
        house.pay(f"p{number}", **{f"i{number}": amount})
        house.erp.faults = ["rejected"]
        house.steps()
    return house


def of(house: House, intent: str) -> ConflictRecord:  # noqa: F811
    with house.connection.cursor() as cursor:
        (found,) = records.load_conflicts(cursor, house.system, [intent]).values()
    return found


def test_the_list_is_selected_sorted_counted_and_paged(desk: House) -> None:
    name = desk.system
    rows = told("list", "--system", name)
    assert [(row["intent"], row["state"], row["amount"], row["assignee"]) for row in rows] == [
        ("p1", "held", "100.00", None), ("p2", "held", "60.00", None), ("p3", "held", "20.00", None),
    ]  # fmt: skip
    assert rows[0]["system"] == name
    assert [row["intent"] for row in told("list", "--system", name, "--sort", "amount", "--reverse")] == [
        "p3",
        "p2",
        "p1",
    ]
    assert [row["intent"] for row in told("list", "--system", name, "--limit", "2", "--page", "2")] == ["p3"]
    assert [row["intent"] for row in told("list", "--system", name, "--least", "50", "--most", "99.99")] == ["p2"]
    assert [row["intent"] for row in told("list", "--system", name, "--customer", "9")] == ["p3"]
    assert told("list", "--system", name, "--kind", "drift") == []
    assert told("list", "--system", name, "--state", "applied") == []
    assert told("list", "--system", name, "--older", "1m") != [], "the clock of the house stands in the past"
    assert told("list", "--system", name, "--count") == {"count": 3}
    (kind,) = told("list", "--system", name, "--group", "kind")
    assert (kind["kind"], kind["count"], kind["money"]) == ("erp_rejected", 3, {"EUR": "180.00"})


def test_the_list_fits_eighty_columns_and_has_no_colours_off_a_terminal(desk: House) -> None:
    shown = call("list", "--system", desk.system).stdout
    assert shown.endswith("\n3 conflicts\n")
    assert "The ERP refused 100.00 EUR" in shown
    assert max(len(line) for line in shown.splitlines()) <= 80
    assert "\x1b" not in shown
    assert "2 conflicts; more with --page 2" in call("list", "--system", desk.system, "--limit", "2").stdout
    assert call("list", "--system", desk.system, "--limit", "2", "--page", "2").stdout.endswith("\n1 conflict\n")


def test_show_tells_the_story_in_eighty_columns(desk: House) -> None:
    found = of(desk, "p1")
    shown = call("show", found.id[:8].lower()).stdout
    assert max(len(line) for line in shown.splitlines()) <= 80
    for text in (found.sentence, "seen by AR", "AR asks for", "ERP says", "What happened (UTC)",
                 "What was said to the ERP", "answered rejected: as told", "What each choice would do now",
                 "intent p1 was submitted", "intent p1: held -> refused", "rebase",
                 "hold unless somebody chooses"):  # fmt: skip
        assert text in " ".join(shown.split()), text
    story = told("show", found.id)
    assert story["explained"]["conflict"]["id"] == found.id
    assert {one["choice"] for one in story["explained"]["prospects"]} == {"accept_erp", "rebase", "retry", "hold"}
    assert call("show", "ZZZZZZZZ").exit_code == 1


def test_a_choice_names_what_was_shown_waits_and_can_be_undone(desk: House) -> None:
    found = of(desk, "p1")
    version = told("show", found.id)["explained"]["version"]
    words = ("resolve", found.id, "--choice", "accept_erp", "--reason", "as booked")
    stale = call(*words, "--as-shown", "AAAAAAAAAAAAAAAA")
    assert (stale.exit_code, of(desk, "p1").state) == (3, "held")
    assert "declined: What was shown as AAAAAAAAAAAAAAAA" in stale.stderr
    chosen = call(*words, "--as-shown", version, "--actor", "ann")
    assert (chosen.exit_code, "can be undone until" in chosen.stdout) == (0, True)
    assert (of(desk, "p1").state, of(desk, "p1").chosen_by, desk.intent("p1")) == ("chosen", "ann", "held")
    assert call("undo", found.id).exit_code == 0
    assert call("undo", found.id).exit_code == 3
    assert of(desk, "p1").state == "held"
    done = told(*words, "--now")
    assert (done["state"], desk.intent("p1")) == ("applied", "refused")
    assert call("resolve", found.id, "--choice", "overwrite", "--reason", "x").exit_code == 2


def test_bulk_shows_first_asks_and_then_chooses(desk: House) -> None:
    words = ("bulk", "--system", desk.system, "--choice", "accept_erp", "--reason", "month end", "--now")
    dry = call(*words, "--dry-run").stdout
    assert "accept_erp: 3 conflicts (3 erp_rejected), 180.00 EUR at stake" in dry
    refused = call(*words, stdin="n\n")
    assert (refused.exit_code, desk.intent("p1")) == (1, "held")
    done = call(*words, "--least", "50", stdin="y\n")
    assert (done.exit_code, "2 chosen, 0 declined" in done.stdout) == (0, True)
    assert [desk.intent(name) for name in ("p1", "p2", "p3")] == ["refused", "refused", "held"]
    desk.erp.pay("3", Decimal("90.00"), "by hand")
    desk.erp.tell(desk.connection, desk.clock, "3")
    retry = call("bulk", of(desk, "p3").id, "--choice", "retry", "--reason", "x", "--yes")
    assert "not possible: " + of(desk, "p3").id in retry.stdout


def test_assigned_and_commented_conflicts_are_found_again(desk: House) -> None:
    found = of(desk, "p2")
    assert call("assign", found.id, "ben", "--actor", "ann").exit_code == 0
    assert call("comment", found.id, "asked the bank", "--actor", "ben").exit_code == 0
    assert call("comment", found.id, " ").exit_code == 2
    assert [row["intent"] for row in told("list", "--system", desk.system, "--assignee", "ben")] == ["p2"]
    assert len(told("list", "--system", desk.system, "--assignee", "-")) == 2
    shown = call("show", found.id).stdout
    assert "works on it  ben" in shown
    assert "ben     asked the bank" in shown
    assert call("assign", found.id, "-").exit_code == 0
    assert told("list", "--system", desk.system, "--assignee", "ben") == []


def test_stats_count_money_ages_and_times(desk: House) -> None:
    desk.clock.pass_(120)
    call("resolve", of(desk, "p3").id, "--choice", "accept_erp", "--reason", "x", "--now")
    found = told("stats", "--system", desk.system)
    assert (found["open"], found["states"]) == (2, {"applied": 1, "held": 2})
    assert found["money_at_stake"] == {"EUR": "160.00"}
    assert sum(found["ages"].values()) == 2
    assert found["resolved_by_people_seconds"]["erp_rejected"]["count"] == 1
    shown = call("stats", "--system", desk.system).stdout
    assert "2 open" in shown
    assert max(len(line) for line in shown.splitlines()) <= 80


def test_exports_hold_every_conflict_with_exact_amounts(desk: House, tmp_path: Path) -> None:
    import duckdb

    for ending in ("csv", "jsonl", "parquet"):
        result = call("export", str(tmp_path / f"c.{ending}"), "--system", desk.system)
        assert (result.exit_code, "3 conflicts written" in result.stdout) == (0, True)
    with (tmp_path / "c.csv").open() as file:
        assert [row["amount"] for row in csv.DictReader(file)] == ["100.00", "60.00", "20.00"]
    lines = [json.loads(line) for line in (tmp_path / "c.jsonl").read_text().splitlines()]
    assert [line["intent"] for line in lines] == ["p1", "p2", "p3"]
    with duckdb.connect() as database:
        rows = database.execute(
            "SELECT intent, amount FROM read_parquet(?) ORDER BY intent", [str(tmp_path / "c.parquet")]
        ).fetchall()
    assert rows == [("p1", Decimal("100.000000")), ("p2", Decimal("60.000000")), ("p3", Decimal("20.000000"))]
    assert sorted(file.name for file in tmp_path.iterdir() if "arsync" not in file.name) == [
        "c.csv",
        "c.jsonl",
        "c.parquet",
    ]
    assert call("export", str(tmp_path / "c.xlsx")).exit_code == 2


def test_watch_tells_what_is_there_and_stops_in_time(desk: House) -> None:
    result = call("watch", "--system", desk.system, "--for", "0", "--json")
    assert [json.loads(line)["intent"] for line in result.stdout.splitlines()] == ["p1", "p2", "p3"]


def test_a_policy_is_held_against_the_conflicts_on_record_before_it_is_used(desk: House, tmp_path: Path) -> None:
    file = tmp_path / "other.toml"
    file.write_text(
        f'[systems.{desk.system}]\nconnector = "tryton"\n'
        '[systems.{0}.policy.choices]\nerp_rejected = "accept_erp"\n'
        '[[systems.{0}.policy.exemptions]]\nkinds = ["erp_rejected"]\ncurrency = "EUR"\nover = "50"\n'
        'choice = "hold"\n'.format(desk.system)
    )
    found = told("policy", "test", str(file), "--system", desk.system)
    assert found["conflicts"] == 3
    (changed,) = found["changed"]
    assert (changed["id"], changed["was"], changed["would_be"]) == (of(desk, "p3").id, "hold", "accept_erp")
    shown = call("policy", "test", str(file), "--system", desk.system).stdout
    assert "3 conflicts, 1 would be treated otherwise" in shown
    assert desk.intent("p3") == "held"


def test_wrong_calls_name_what_is_right(desk: House) -> None:
    for words, text in (
        (("list", "--kind", "nonsense"), "voided_target"),
        (("list", "--older", "soon"), "write 30m"),
        (("list", "--least", "much"), "write 1200"),
        (("resolve", "X", "--choice", "hold"), "--reason"),
    ):
        result = call(*words)
        assert result.exit_code == 2, words
        assert text in result.stderr, words


def test_the_shell_completes_verbs_kinds_and_choices() -> None:
    def completed(words: str) -> str:
        env = {"_ARSYNC_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()))}
        return CliRunner().invoke(cli, env=env, prog_name="arsync").output

    assert "plain,resolve" in completed("arsync conflicts ")
    assert "plain,erp_rejected" in completed("arsync conflicts list --kind ")
    assert "plain,accept_erp" in completed("arsync conflicts resolve X --choice ")


def test_every_verb_has_help_and_every_printing_verb_json() -> None:
    context = group.make_context("conflicts", ["list"])
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None, name
        assert command.help, name
    for name in ("list", "show", "resolve", "undo", "bulk", "watch", "stats"):
        command = group.get_command(context, name)
        assert command is not None
        assert any("--json" in parameter.opts for parameter in command.params), name


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys, importlib; import engine.app.cli; importlib.import_module('engine.app.verbs.conflicts.listing');"
        "import engine.store.conflict_queries;"
        "print([m for m in ('duckdb', 'sqlalchemy', 'sqlmodel', 'alembic', 'textual', 'numpy') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_the_columns_agree_with_the_record(connection: Connection, desk: House) -> None:
    found = of(desk, "p1")
    row = connection.execute(
        "SELECT kind, amount, ended_at FROM conflict WHERE system = %s AND id = %s", (desk.system, found.id)
    ).fetchone()
    assert row == (str(ConflictKind.ERP_REJECTED), found.amount, None)
    assert isinstance(found.detected_at, dt.datetime)
