"""The AR side as processes: beside the daemon and alone, one at a time, taken over from, encrypted, refused."""

import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.app.certificates import certificate
from tests.app.test_daemon import captured

ARSYNC = Path(sys.executable).with_name("arsync")
PATIENCE = 180.0
"""Seconds that a process may take to start or to end on a busy machine."""
TOKEN = "the-token-of-cash-application-32"
LOGIN = {"Authorization": f"Bearer {TOKEN}"}


class Processes:
    """Processes of one configuration, in a folder of their own, on the session's store."""

    def __init__(self, folder: Path, dsn: str, system: str) -> None:
        self.folder = folder
        self.system = system
        self._env = {**os.environ, "CASH_APP_TOKEN": TOKEN, "ARSYNC_DSN": dsn}
        self.running: list[subprocess.Popen[str]] = []
        (folder / "capture.jsonl").write_text(captured(1, "first") + "\n" + captured(2, "last") + "\n")
        self.configure()

    def configure(self, http: str = "") -> None:
        (self.folder / "arsync.toml").write_text(
            '[log]\nformat = "json"\n[daemon]\nport = 0\n'
            f'[http]\nport = 0\n{http}\n[http.tokens]\ncash-app = {{ token_env = "CASH_APP_TOKEN" }}\n'
            '[store]\ndsn_env = "ARSYNC_DSN"\n'
            f'[systems.{self.system}]\nconnector = "tryton"\n'
            f'[systems.{self.system}.source]\ntype = "capture"\npath = "capture.jsonl"\n'
        )

    def start(self, verb: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
        file = self.folder / f"ready-{len(self.running)}.json"
        process = subprocess.Popen(
            [ARSYNC, verb, "--ready-file", str(file)], cwd=self.folder, stderr=subprocess.PIPE, text=True,
            env=self._env,
        )  # fmt: skip
        self.running.append(process)
        until = time.monotonic() + PATIENCE
        while not file.exists():
            if process.poll() is not None or time.monotonic() > until:
                process.kill()
                pytest.fail(f"not ready: {process.communicate()[1]}")
            time.sleep(0.05)
        told: dict[str, Any] = json.loads(file.read_text())
        return process, told

    def call(self, *words: str, **changes: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ARSYNC, *words], cwd=self.folder, capture_output=True, text=True, check=False,
            timeout=PATIENCE, env={**self._env, **changes},
        )  # fmt: skip

    def stop(self) -> None:
        for process in self.running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.running:
            process.communicate(timeout=PATIENCE)


@pytest.fixture
def processes(tmp_path: Path, store_dsn: str, request: pytest.FixtureRequest) -> Iterator[Processes]:
    made = Processes(tmp_path, store_dsn, f"s{abs(hash(request.node.name)) % 10**8}")
    yield made
    made.stop()


def served(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=30).status_code == 200
    except httpx.TransportError:
        return False


def test_it_is_served_beside_the_daemon(processes: Processes) -> None:
    process, told = processes.start("run")
    url = f"http://127.0.0.1:{told['http']}"
    assert httpx.get(f"{url}/v1/systems").status_code == 401
    (system,) = httpx.get(f"{url}/v1/systems", headers=LOGIN).json()["systems"]
    assert (system["system"], system["connector"]) == (processes.system, "tryton")
    withdraw = {"kind": "withdraw", "id": "w-1", "system": processes.system, "customer": "7", "intent": "none"}
    taken = httpx.post(f"{url}/v1/intents", headers=LOGIN, json=withdraw)
    assert (taken.status_code, taken.json()["state"]) == (201, "refused")
    events = httpx.get(f"{url}/v1/systems/{processes.system}/events", headers=LOGIN).json()["events"]
    assert [event["kind"] for event in events] == ["intent.moved"]
    parts = httpx.get(f"http://127.0.0.1:{told['port']}/health", timeout=30).json()["parts"]
    assert parts["http"] == {"well": True, "detail": f"127.0.0.1:{told['http']}"}
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 0
    assert TOKEN not in said


def test_one_process_serves_and_another_takes_over(processes: Processes) -> None:
    first, told = processes.start("serve")
    _, second = processes.start("run")
    assert served(told["http"])
    assert second["http"] is None, "it stands by"
    first.kill()
    first.wait()
    until = time.monotonic() + PATIENCE
    detail = ""
    while "127.0.0.1:" not in detail:
        assert time.monotonic() < until, detail
        detail = httpx.get(f"http://127.0.0.1:{second['port']}/health", timeout=30).json()["parts"]["http"]["detail"]
        time.sleep(0.2)
    assert served(int(detail.rpartition(":")[2]))


def test_serve_refuses_what_cannot_be_served(processes: Processes, tmp_path: Path) -> None:
    processes.configure('[http.tls]\ncertificate = "missing.crt"')
    refused = processes.call("serve")
    assert (refused.returncode, "missing.crt cannot be used" in refused.stderr) == (1, True)
    assert "Traceback" not in refused.stderr
    processes.configure()
    short = processes.call("serve", CASH_APP_TOKEN="short")
    assert (short.returncode, "length >= 16" in short.stderr) == (1, True)
    (tmp_path / "arsync.toml").write_text('[store]\ndsn_env = "ARSYNC_DSN"\n')
    nothing = processes.call("serve")
    assert (nothing.returncode, "name a token in [http.tokens]" in nothing.stderr) == (1, True)


def test_a_taken_port_is_named(processes: Processes) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        file = processes.folder / "arsync.toml"
        file.write_text(file.read_text().replace("[http]\nport = 0", f"[http]\nport = {port}"))
        refused = processes.call("serve")
    assert refused.returncode == 1
    assert f"http.port {port} on 127.0.0.1 cannot be used" in refused.stderr


def test_check_looks_at_tokens_and_addresses(processes: Processes) -> None:
    def found() -> list[tuple[str, str]]:
        rows = json.loads(processes.call("check", "--json").stdout)
        return [(one["grade"], one["detail"]) for one in rows if one["of"] == "ar"]

    ((grade, detail),) = found()
    assert (grade, "tokens: cash-app" in detail) == ("ok", True)
    processes.configure('host = "0.0.0.0"')
    ((grade, detail),) = found()
    assert (grade, "unencrypted" in detail) == ("warning", True)
    processes.configure('[http.tls]\nprivate_key = "x"')
    ((grade, detail),) = found()
    assert (grade, "no certificate" in detail) == ("error", True)


def test_it_is_encrypted_and_clients_show_a_certificate(processes: Processes, tmp_path: Path) -> None:
    authority = certificate("authority", tmp_path)
    certificate("server", tmp_path, authority)
    certificate("client", tmp_path, authority)
    certificate("stranger", tmp_path)
    processes.configure('[http.tls]\ncertificate = "server.crt"\nprivate_key = "server.key"\n'
                        'client_ca = "authority.crt"')  # fmt: skip
    _, told = processes.start("serve")
    url = f"https://127.0.0.1:{told['http']}/v1/systems"

    def ask(name: str | None) -> httpx.Response:
        context = ssl.create_default_context(cafile=str(tmp_path / "authority.crt"))
        if name is not None:
            context.load_cert_chain(tmp_path / f"{name}.crt", tmp_path / f"{name}.key")
        with httpx.Client(verify=context) as client:
            return client.get(url, headers=LOGIN)

    assert ask("client").status_code == 200
    for nobody in (None, "stranger"):
        with pytest.raises(httpx.TransportError):
            ask(nobody)
    with pytest.raises(httpx.TransportError):
        httpx.get(url.replace("https", "http"), headers=LOGIN)
