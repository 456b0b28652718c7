"""The verbs as a person calls them: what they print, what they refuse, and with which words."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from engine.app.cli import cli
from engine.app.config import Config, load_config
from engine.ports.errors import ConfigError

INTENT = {
    "kind": "apply_payment", "id": "p-1", "system": "erp-1", "customer": "7", "currency": "EUR", "amount": "30.00",
    "date": "2026-11-23", "allocations": [{"invoice": "INV-1", "amount": "30.00", "basis": "AAAA"}],
}  # fmt: skip


@pytest.fixture
def config(tmp_path: Path, store_dsn: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """A configuration with one system, named after the test, on the session's store."""
    monkeypatch.setenv("ARSYNC_DSN", store_dsn)
    file = tmp_path / "arsync.toml"
    file.write_text(f'[store]\ndsn_env = "ARSYNC_DSN"\n[systems.{request.node.name}]\nconnector = "tryton"\n')
    monkeypatch.setenv("ARSYNC_CONFIG", str(file))
    return file


def call(*words: str, stdin: str = "") -> Result:
    return CliRunner().invoke(cli, words, input=stdin)


def line(request: pytest.FixtureRequest, **changes: Any) -> str:
    return json.dumps({**INTENT, "system": request.node.name, **changes}) + "\n"


def test_an_intent_is_taken_once(config: Path, request: pytest.FixtureRequest) -> None:
    first = call("intents", "submit", "-", "--json", stdin=line(request))
    assert first.exit_code == 0
    assert json.loads(first.stdout) == [
        {
            "id": "p-1",
            "state": "waiting",
            "reason": "waiting for INV-1",
            "known": False,
            "trouble": None,
            "system": request.node.name,
        }
    ]
    again = call("intents", "submit", "-", "--json", stdin=line(request))
    assert (again.exit_code, json.loads(again.stdout)[0]["known"]) == (0, True)
    (listed,) = json.loads(call("intents", "list", "--system", request.node.name, "--json").stdout)
    assert (listed["id"], listed["state"], listed["amount"]) == ("p-1", "waiting", "30.00")
    (part,) = listed["allocations"]
    assert part == {"invoice": "INV-1", "amount": "30.00", "basis": "AAAA", "write_off": None}
    assert json.loads(call("intents", "show", "p-1", "--system", request.node.name, "--json").stdout) == listed


def test_an_id_with_other_content_is_refused_by_name(config: Path, request: pytest.FixtureRequest) -> None:
    assert call("intents", "submit", "-", stdin=line(request)).exit_code == 0
    other = call("intents", "submit", "-", stdin=line(request, reference="another"))
    assert other.exit_code == 1
    assert "line 1: intent p-1 was submitted before with other content" in other.stderr


def test_a_bad_line_is_named_and_the_others_are_taken(config: Path, request: pytest.FixtureRequest) -> None:
    lines = [
        line(request, id="good-1"),
        "no json\n",
        line(request, id="sum", amount="31.00"),
        line(request, id="elsewhere", system="nowhere"),
        line(request, id="typo", custommer="7"),
        line(request, id="negative", amount="-30.00"),
        line(request, id="good-2"),
    ]
    result = call("intents", "submit", "-", stdin="".join(lines))
    assert result.exit_code == 1
    said = result.stderr.splitlines()
    assert [text.split(":")[1].strip() for text in said] == ["line 2", "line 3", "line 4", "line 5", "line 6"]
    assert "allocations add up to 30.00" in said[1]
    assert "names system nowhere; configured are" in said[2]
    assert "custommer" in said[3]
    assert "greater than zero" in said[4]
    listed = json.loads(call("intents", "list", "--system", request.node.name, "--json").stdout)
    assert sorted(one["id"] for one in listed) == ["good-1", "good-2"]


def test_the_schema_accepts_what_submit_accepts() -> None:
    schema = json.loads(call("intents", "schema").stdout)
    form = schema["$defs"]["ApplyPayment"]
    assert set(form["required"]) <= set(INTENT)
    assert set(INTENT) <= set(form["properties"])


def test_status_counts_what_is_there(config: Path, request: pytest.FixtureRequest) -> None:
    call("intents", "submit", "-", stdin=line(request))
    (one,) = json.loads(call("status", "--system", request.node.name, "--json").stdout)["systems"]
    assert (one["intents"], one["daemon"], one["snapshot_complete"]) == ({"waiting": 1}, False, False)
    assert "1 waiting" in call("status", "--system", request.node.name).stdout
    assert "not in the store" in call("status", "--system", "no-such").stderr


def test_pausing_is_seen_in_the_status(config: Path, request: pytest.FixtureRequest) -> None:
    name = request.node.name
    call("intents", "submit", "-", stdin=line(request))
    assert call("pause", name, "--why", "month end").exit_code == 0
    assert "month end" in call("pause", name).stdout, "the first reason stays"
    (one,) = json.loads(call("status", "--system", name, "--json").stdout)["systems"]
    assert one["paused"]["why"] == "month end"
    assert "PAUSED" in call("status", "--system", name).stdout
    assert "goes on" in call("resume", name).stdout
    assert "was not paused" in call("resume", name).stdout
    assert "not in the store" in str(call("pause", "no-such-system").exception)
    assert json.loads(call("commands", "list", "--would", "--system", name, "--json").stdout) == []


def test_what_is_not_there_is_said(config: Path) -> None:
    for words, text in ((("intents", "show", "x"), "no intent x"), (("conflicts", "show", "x"), "no conflict x"),
                        (("invoices", "show", "x"), "no invoice x")):  # fmt: skip
        result = call(*words)
        assert result.exit_code == 1
        assert text in result.stderr


def test_init_writes_every_setting_and_overwrites_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("init", "--system", "tryton-eu").exit_code == 0
    file = tmp_path / "arsync.toml"
    written = file.read_text()
    again = call("init")
    assert (again.exit_code, file.read_text()) == (1, written)
    assert "exists" in again.stderr
    assert call("init", "--print", "--system", "tryton-eu").stdout == written
    # With every commented setting switched on it is still a configuration that is understood.
    uncommented = "\n".join(
        text[2:] if text.startswith("# ") and " = " in text.split("#")[1] else text for text in written.splitlines()
    )
    raw = tomllib.loads(uncommented)
    for name in ("ARSYNC_DSN", "ARSYNC_OWNER_DSN"):
        monkeypatch.setenv(name, "postgresql://u@h/d")
    for name in ("ARSYNC_HTTP_TOKEN", "ARSYNC_KAFKA_PASSWORD"):
        monkeypatch.setenv(name, "a secret of some length")
    (tmp_path / "dashboard.token").write_text("another secret of some length")
    for section in raw["systems"]["tryton-eu"].values():
        for name, value in section.items() if isinstance(section, dict) else ():
            if name.endswith("_env"):
                monkeypatch.setenv(value, "secret")
            if name.endswith("_file"):
                (tmp_path / value).write_text("secret")
    file.write_text(uncommented)
    config, _ = load_config(str(file))
    assert config.systems["tryton-eu"].connector == "tryton"
    assert config.store.dsn == "postgresql://u@h/d"
    assert config.http.tokens["dashboard"].may == "read"
    assert config.tells_ar
    assert not load_config_of(written, tmp_path).tells_ar, "as it is written nothing is told"


def load_config_of(text: str, folder: Path) -> Config:
    file = folder / "other.toml"
    file.write_text(text)
    for section in tomllib.loads(text)["systems"].values():
        for one in section.values():
            for name, value in one.items() if isinstance(one, dict) else ():
                if name.endswith("_file"):
                    (folder / value).write_text("secret")
    return load_config(str(file))[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[store\n", "is not valid TOML"),
        ("[stor]\n", "stor"),
        ('[systems.x]\nconnector = "tryton"\n[systems.x.source]\npassword = "p"\n', "does not belong in the file"),
        ('[systems.x]\nconnector = "tryton"\n[systems.x.source]\npassword_env = "NOT_SET_AT_ALL"\n', "is not set"),
        ('[systems.x]\nconnector = "tryton"\n[systems.x.policy.choices]\ndrift = "erp_loses"\n', "erp_loses"),
        ('[http.tokens]\na = { token = "0123456789abcdef" }\n', "does not belong in the file"),
        ('[http.tokens]\na = { token_env = "NOT_SET_AT_ALL" }\n', "is not set"),
        ("[outbound]\nkeep_hours = 0\n", "keep_hours"),
        ('[systems."a b"]\nconnector = "tryton"\n', "letters, digits"),
    ],
)
def test_a_mistake_in_the_configuration_is_named(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "arsync.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_config(str(file))


def test_secrets_come_from_files_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("hidden\n")
    file = tmp_path / "arsync.toml"
    file.write_text('[systems.x]\nconnector = "tryton"\n[systems.x.source]\npassword_file = "pw"\n')
    config, _ = load_config(str(file))
    assert config.systems["x"].source == {"password": "hidden"}


def test_check_names_an_unknown_setting_and_what_is_missing(config: Path, request: pytest.FixtureRequest) -> None:
    found = call("check", "--json")
    assert [(one["subject"], one["grade"]) for one in json.loads(found.stdout)] == [
        ("store", "ok"), ("AR side", "ok"), ("source", "warning"), ("target", "ok"),
    ]  # fmt: skip
    assert found.exit_code == 0
    assert f"[systems.{request.node.name}.source]" in call("check").stdout
    config.write_text(config.read_text() + 'modee = "observe"\n')
    refused = call("check")
    assert isinstance(refused.exception, ConfigError)
    assert "`modee` - at `$.systems" in str(refused.exception)
    assert "arsync init --print" in refused.exception.fix
