"""Workers of `arsync run` with one store and one configuration, for tests to start, kill and look through."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg

from tests.kafka_stack.program import end_with_parent

SESSION = 6
"""Seconds after which a worker that died is missed."""
_HEAD = """\
[store]
dsn_env = "CREW_DSN"

[daemon]
port = 0
"""


class Crew:
    """So many workers as the test starts; each has a log file of its own."""

    def __init__(self, folder: Path, dsn: str, systems: str) -> None:
        """`systems` is the part of the configuration that names them."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.dsn = folder, dsn
        self.configure(systems)
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self._made = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in list(self.workers):
            self.stop(name, seconds=30)

    def configure(self, systems: str) -> None:
        """Whoever starts from now on works on these."""
        (self.folder / "arsync.toml").write_text(_HEAD + systems, encoding="utf-8")

    def start(self) -> str:
        """Start one more; returns its name at once."""
        self._made += 1
        name = f"worker-{self._made}"
        with (self.folder / f"{name}.log").open("wb") as log:
            self.workers[name] = subprocess.Popen(
                self._command("run", "--ready-file", f"{name}.ready"), cwd=self.folder, env=self._environment(),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=end_with_parent,  # noqa: PLW1509 - one call into the kernel
            )  # fmt: skip
        return name

    def await_ready(self, *names: str, seconds: float = 180) -> None:
        """Wait until these are members, and what they own has been read."""
        for name in names:
            self.until(lambda name=name: (self.folder / f"{name}.ready").exists(), seconds)  # type: ignore[misc]

    def await_begun(self) -> None:
        """Wait until all have found the store: one that does not find it when it is started says so and ends."""
        for name in list(self.workers):
            self.until(lambda name=name: b"started" in (self.folder / f"{name}.log").read_bytes())  # type: ignore[misc]

    def kill(self, name: str) -> None:
        """kill -9."""
        process = self.workers.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait(30)

    def stop(self, name: str, seconds: float = 60) -> int:
        """An orderly end; its exit code."""
        return self.ended(self.ask_to_end(name), seconds)

    def ask_to_end(self, name: str) -> subprocess.Popen[bytes]:
        """Begin an orderly end, and return at once; from now on it is none of ours."""
        process = self.workers.pop(name)
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
        return process

    def ended(self, process: subprocess.Popen[bytes], seconds: float = 60) -> int:
        """The exit code of one that was asked to end."""
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(30)
            return -9

    def health(self, name: str) -> dict[str, Any]:
        """What its page says."""
        import httpx

        ready = json.loads((self.folder / f"{name}.ready").read_text())
        return dict(httpx.get(f"http://127.0.0.1:{ready['port']}/health", timeout=30).json())

    def owners(self) -> dict[str, str]:
        """Which worker has which system, as their pages say it."""
        found: dict[str, str] = {}
        for name in list(self.workers):
            if (self.folder / f"{name}.ready").exists():
                said = str(self.health(name)["parts"].get("group", {}).get("detail", ""))
                if said.startswith("owns ") and said != "owns nothing":
                    found |= dict.fromkeys(said.removeprefix("owns ").split(", "), name)
        return found

    def arsync(self, *words: str, code: int = 0, text: str = "") -> str:
        """Run another verb, with this standard input; its standard output."""
        done = subprocess.run(
            self._command(*words), cwd=self.folder, env=self._environment(), capture_output=True, text=True,
            check=False, input=text,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def check(self) -> None:
        """No worker may have ended by itself."""
        for name, process in list(self.workers.items()):
            assert process.poll() is None, f"{name} has ended:\n{self.log(name)}"

    def until(self, look: Callable[[], Any], seconds: float = 120) -> Any:
        """Wait for something true; no worker may have ended meanwhile."""
        until = time.monotonic() + seconds
        while not (found := look()):
            self.check()
            assert time.monotonic() < until, "\n".join(f"{name}:\n{self.log(name)}" for name in self.workers)
            time.sleep(0.2)
        return found

    def log(self, name: str) -> str:
        return "\n".join((self.folder / f"{name}.log").read_text(errors="replace").splitlines()[-25:])

    def _command(self, *words: str) -> list[str]:
        return [str(Path(sys.executable).with_name("arsync")), *words]

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "CREW_DSN": self.dsn, "ERP_PASSWORD": "Secret-Pass-4711"}


def kafka_system(name: str, bootstrap: str, more: Mapping[str, object] | None = None, group: str = "arsync") -> str:
    """A system's section with its source."""
    settings: dict[str, object] = {
        "type": "kafka",
        "bootstrap": bootstrap,
        "group": group,
        "session_seconds": SESSION,
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in (settings | dict(more or {})).items()]
    return f'\n[systems.{name}]\nconnector = "tryton"\n[systems.{name}.source]\n' + "\n".join(lines) + "\n"


def positions(dsn: str, systems: Sequence[str]) -> dict[str, int]:
    """The offset up to which each system was read and committed."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        rows = connection.execute("SELECT system, (resume->>'offset')::bigint FROM source_position").fetchall()
    held = {str(system): int(offset or 0) for system, offset in rows}
    return {system: held.get(system, 0) for system in systems}
