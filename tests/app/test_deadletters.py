"""`arsync deadletters` as a person calls it: listed, mended, tried again, dropped, one and many."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from connectors.tryton.mapping import TrytonMapping
from engine.app.cli import cli
from engine.app.wiring import enter_system
from engine.flow.pipeline import Pipeline
from engine.model.change import Record, TransactionBegin, TransactionEnd, Unreadable
from engine.ports.source import SourceBatch
from engine.rules.policy import Policy
from engine.store.letters import PARKING_DEFECTS, LetterKind, keep
from engine.store.unit import Connection, unit_of_work
from tests.flow.test_letters import message

NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)


@pytest.fixture
def system(tmp_path: Path, store_dsn: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A configured system, named after the test, on the session's store."""
    monkeypatch.setenv("ARSYNC_DSN", store_dsn)
    name = str(request.node.name)[5:45]
    file = tmp_path / "arsync.toml"
    file.write_text(f'[store]\ndsn_env = "ARSYNC_DSN"\n[systems.{name}]\nconnector = "tryton"\n')
    monkeypatch.setenv("ARSYNC_CONFIG", str(file))
    return name


def call(*words: str, stdin: str = "") -> Result:
    return CliRunner().invoke(cli, ("deadletters", *words), input=stdin)


def listed(system: str, *words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(call("list", "--system", system, "--json", *words).stdout)
    return found


def bad_changes(connection: Connection, system: str, number: int) -> None:
    """Let the system read a transaction of messages that were cut off."""
    enter_system(connection, system, "tryton")
    pipeline = Pipeline(connection, system, TrytonMapping(), Policy(), lambda: NOW, epoch="log@1")
    bad: list[Record] = [
        Unreadable("t.public.party_party", "it was cut off", message(n, f"Party {n}", 200 + n)[:-1], f'{{"id": {n}}}')
        for n in range(1, number + 1)
    ]
    pipeline.take(SourceBatch([TransactionBegin("9"), *bad, TransactionEnd("9", 300, number, 1)], {}))


def test_an_intent_is_kept_mended_and_taken(system: str, connection: Connection) -> None:
    line = json.dumps({"kind": "withdraw", "id": "w-1", "system": system, "customer": "7", "intend": "p-1"})
    for _ in range(2):
        refused = CliRunner().invoke(cli, ("intents", "submit", "-"), input=line + "\n")
        assert refused.exit_code == 1
    (letter,) = listed(system)
    assert (letter["kind"], letter["times"]) == ("intent", 2)
    assert f"kept as dead letter {letter['id']}" in refused.stderr
    id_ = str(letter["id"])
    still = call("retry", id_, "--json")
    assert (still.exit_code, json.loads(still.stdout)[0]["done"]) == (1, False)
    mended = line.replace("intend", "intent")
    assert call("edit", id_, "--payload", "-", "--why", "typo", stdin=mended).exit_code == 0
    shown = json.loads(call("show", id_, "--json").stdout)
    assert (shown["payload"], shown["version"]) == (mended, 2)
    assert [(one["payload"], one["why"]) for one in shown["replaced"]] == [(line, "typo")]
    done = call("retry", id_, "--json")
    assert done.exit_code == 0, done.output
    assert listed(system) == []
    assert [one["state"] for one in listed(system, "--all")] == ["retried"]


def test_changes_are_retried_without_a_daemon(system: str, connection: Connection) -> None:
    bad_changes(connection, system, 2)
    first, second = listed(system)
    whole = message(1, "Party 1", 201)
    assert call("edit", str(first["id"]), "--payload", "-", "--why", "w", stdin=whole).exit_code == 0
    tried = call("retry", str(first["id"]), str(second["id"]), "--json")
    assert tried.exit_code == 1, "one of them still cannot be read"
    assert [(one["id"], one["done"]) for one in json.loads(tried.stdout)] == [
        (first["id"], True), (second["id"], False),
    ]  # fmt: skip
    rows = connection.execute("SELECT key FROM customer WHERE system = %s", (system,)).fetchall()
    assert rows == [("1",)]


def test_a_command_that_was_parked_is_left_to_the_dispatcher_again(system: str, connection: Connection) -> None:
    enter_system(connection, system, "tryton")
    for _ in range(PARKING_DEFECTS):
        with unit_of_work(connection, system, NOW) as work:
            keep(work.cursor, system, NOW, LetterKind.COMMAND, origin="target", reason="the target failed",
                 payload="{}", document="command/KEY")  # fmt: skip
    (letter,) = listed(system)
    assert (letter["kind"], letter["times"], letter["document"]) == ("command", PARKING_DEFECTS, "command/KEY")
    done = call("retry", str(letter["id"]), "--json")
    assert (done.exit_code, json.loads(done.stdout)[0]["told"]) == (0, "the dispatcher tries it again")
    assert [one["state"] for one in listed(system, "--all")] == ["retried"], "an open one parks it; this does not"


def test_many_are_shown_before_they_are_dropped(system: str, connection: Connection) -> None:
    bad_changes(connection, system, 25)
    choice = ("drop", "--system", system, "--reason", "CUT OFF", "--why", "known")
    asked = call(*choice, stdin="n\n")
    assert asked.exit_code == 1
    assert "... and 5 more" in asked.stdout
    assert "drop 25 letters?" in asked.stdout
    assert len(listed(system)) == 25
    assert "25 dropped" in call(*choice, stdin="y\n").stdout
    assert listed(system) == []
    again = call(*choice)
    assert (again.exit_code, "no open dead letter" in again.stderr) == (1, True)


def test_what_is_called_wrongly_is_said(system: str, connection: Connection) -> None:
    assert call("retry").exit_code == 2
    assert call("drop", "--why", "x").exit_code == 2
    assert call("drop", "1").exit_code == 2, "a reason is asked for"
    assert "there is no dead letter 999999" in call("show", "999999").stderr


def test_a_document_s_rows_are_not_edited(system: str, connection: Connection) -> None:
    enter_system(connection, system, "tryton")
    connection.execute(
        """INSERT INTO dead_letter (system, kind, document, origin, reason, payload, at)
           VALUES (%s, 'document', 'invoice/1', 'mapping', 'r', '{}', now())""",
        (system,),
    )
    (letter,) = listed(system)
    refused = call("edit", str(letter["id"]), "--payload", "-", "--why", "w", stdin="{}\n\n1")
    assert refused.exit_code == 1
    assert "the ERP's word" in refused.stderr


def test_personal_data_is_erased_from_letters(system: str, connection: Connection) -> None:
    bad_changes(connection, system, 2)
    erase = ("privacy", "erase", "2", "--system", system)
    done = CliRunner().invoke(cli, erase)
    assert (done.exit_code, done.stdout) == (0, f"personal data of customer 2 is erased in {system}\n")
    first, second = (json.loads(call("show", str(one["id"]), "--json").stdout) for one in listed(system))
    assert ("Party 1" in first["payload"], second["payload"]) == (True, "")
    again = CliRunner().invoke(cli, erase)
    assert (again.exit_code, "no personal data" in again.output) == (1, True)
