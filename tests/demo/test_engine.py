"""arsync as a child of the demo: its configuration keeps secrets out, and its end leaves nothing behind."""

import stat
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from demo.engine import Engine, EngineFailed, Target
from demo.journal import prove
from engine.app.config import load_config

DSN = "postgresql://capture:source-secret@127.0.0.1:9/tryton"
TARGET = Target("http://127.0.0.1:9", "tryton", "ar_bot", "target-secret")


def test_the_configuration_names_both_sides_and_holds_no_secret(tmp_path: Path) -> None:
    Engine(tmp_path, DSN, TARGET)
    text = (tmp_path / "arsync.toml").read_text(encoding="utf-8")
    assert "source-secret" not in text
    assert "target-secret" not in text
    config, folder = load_config(str(tmp_path / "arsync.toml"))
    system = config.systems["tryton"]
    assert folder == tmp_path
    assert system.target == {"url": TARGET.url, "database": "tryton", "user": "ar_bot", "password": "target-secret"}
    assert system.source["password"] == "source-secret"
    assert (system.source["host"], system.source["port"]) == ("127.0.0.1", 9)
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}


def test_without_a_target_nothing_is_written_back(tmp_path: Path) -> None:
    Engine(tmp_path, DSN, None)
    config, _ = load_config(str(tmp_path / "arsync.toml"))
    assert config.systems["tryton"].target == {}
    assert not (tmp_path / "target.secret").exists()


def test_a_verb_that_fails_is_told_with_its_last_words(tmp_path: Path) -> None:
    engine = Engine(tmp_path, DSN, None)
    (tmp_path / "arsync.toml").write_text("nonsense = 1\n", encoding="utf-8")
    with pytest.raises(EngineFailed, match="nonsense"):
        engine.ask("invoices", "list")


def test_its_journal_is_proven_here_and_in_another_environment(tmp_path: Path, shared: Path) -> None:
    with Engine(tmp_path / "arsync", DSN, None) as engine:
        engine.start("--capture", str(shared / "events.jsonl"), "--until-end")
        process = _daemon(tmp_path)
        assert process.wait(120) == 0
        engine.stop()
        proof = prove(engine)
        assert proof.differences == []
        assert proof.decided == proof.entries > 100
        assert str(proof).startswith(f"The journal verifies: {proof.entries} entries, ")


def test_a_killed_daemon_is_noticed_and_its_database_ended(tmp_path: Path) -> None:
    with Engine(tmp_path, DSN, None) as engine:
        engine.start()
        servers = _await_servers(tmp_path)
        _daemon(tmp_path).kill()
        with pytest.raises(EngineFailed, match="ended with -9"):
            engine.await_ready()
    assert servers
    gone, alive = psutil.wait_procs(servers, 10.0)
    assert (len(gone), alive) == (len(servers), [])


def _daemon(folder: Path) -> psutil.Process:
    children = psutil.Process().children()
    return next(child for child in children if str(folder) in " ".join(child.cmdline()))


def _await_servers(folder: Path) -> list[psutil.Process]:
    """PostgreSQL's processes, once the daemon's own server listens."""
    deadline = time.monotonic() + 60
    lock = folder / ".arsync" / "postgres" / "data" / "postmaster.pid"
    while time.monotonic() < deadline:
        if lock.exists() and lock.read_text(encoding="utf-8").rstrip().endswith("ready"):
            postmaster = psutil.Process(int(lock.read_text(encoding="utf-8").splitlines()[0]))
            return [postmaster, *postmaster.children(recursive=True)]
        time.sleep(0.05)
    return []
