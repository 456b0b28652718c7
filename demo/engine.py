"""arsync as the day uses it: the installed program in processes of its own, driven by its command line alone.

Called by `demo.verb` and the day. It promises that no password stands in an argument list or in the configuration
file, and that after `stop` no process of arsync is left.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import psutil  # type: ignore[import-untyped]
from psycopg.conninfo import conninfo_to_dict

from engine.store.embedded import Cluster
from engine.store.embedded_programs import write_private

SYSTEM = "tryton"
READY_SECONDS = 90.0
CALL_SECONDS = 60.0
STOP_SECONDS = 20.0
LOG_LINES = 25

CONFIG = """\
[log]
format = "json"

[daemon]
port = 0

[systems.{system}]
connector = "tryton"

[systems.{system}.policy]
settle_seconds = {settle}
retry_seconds = 0.05
most_stales = 500
unknown_document_seconds = 30

[systems.{system}.source]
type = "debezium"
host = "{host}"
port = {port}
database = "{dbname}"
user = "{user}"
password_file = "source.secret"
"""
TARGET = """
[systems.{system}.target]
url = "{url}"
database = "{database}"
user = "{user}"
password_file = "target.secret"
"""


HURRIED = """\
timeout = 6.0
deadline_seconds = 8.0
in_doubt_seconds = 6.0
"""


class EngineFailed(RuntimeError):
    """A program of arsync ended, refused or did not answer; the text says which and has its last lines."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where arsync writes: Tryton's address as arsync sees it, and its own login there."""

    url: str
    database: str
    user: str
    password: str


class Arsync(Protocol):
    """What a day needs of an arsync, however many processes it is made of."""

    def start(self) -> None: ...

    def await_ready(self) -> None: ...

    def check(self) -> None: ...

    def ask(self, *arguments: str) -> list[dict[str, Any]]: ...

    def submit(self, intents: Sequence[str]) -> list[dict[str, Any]]: ...


class Engine:
    """One arsync over one Tryton, in `folder`; without a `target` it writes nothing back.

    `hurried` is for a Tryton that is known to answer within seconds or never: a lost answer is in doubt for no
    longer. `without` names a safeguard that the daemon runs without (`demo.chaos.sabotage`).
    """

    def __init__(
        self,
        folder: Path,
        source_dsn: str,
        target: Target | None,
        *,
        hurried: bool = False,
        without: str | None = None,
    ) -> None:
        self._folder = folder
        self._config = folder / "arsync.toml"
        self._log = folder / "arsync.log"
        self._ready = folder / "ready.json"
        self._process: subprocess.Popen[bytes] | None = None
        self._without = without
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        source = conninfo_to_dict(source_dsn)
        write_private(folder / "source.secret", str(source["password"]))
        text = CONFIG.format(system=SYSTEM, settle=120 if hurried else 30, **source)
        if target is not None:
            write_private(folder / "target.secret", target.password)
            text += TARGET.format(system=SYSTEM, url=target.url, database=target.database, user=target.user)
            text += HURRIED if hurried else ""
        write_private(self._config, text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, *arguments: str) -> None:
        """Start the daemon, with further arguments of `run`; returns at once."""
        command = [*self._program(), "run", "--ready-file", str(self._ready), *arguments]
        if self._without is not None:
            command = [sys.executable, "-m", "demo.chaos.sabotage", self._without, *command[1:]]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self._folder,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # An interrupt typed at the demo is the demo's: it ends arsync in order.
                start_new_session=True,
            )

    def await_ready(self) -> None:
        """Return when the first snapshot is applied and changes are streaming."""
        deadline = time.monotonic() + READY_SECONDS
        while not self._ready.exists():
            self.check()
            if time.monotonic() > deadline:
                raise EngineFailed(f"arsync is not ready after {READY_SECONDS:.0f} s")
            time.sleep(0.05)

    def check(self) -> None:
        """Raise `EngineFailed` when the daemon has ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            raise EngineFailed(f"`arsync run` ended with {self._process.returncode}")

    def stop(self) -> int | None:
        """End the daemon in good order, by force if it does not; gives its exit code, None if it never ran."""
        process, self._process = self._process, None
        if process is None:
            return None
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                # Its session is its own, so its children are all that this reaches beside itself.
                os.killpg(process.pid, signal.SIGKILL)
        code = process.wait(STOP_SECONDS)
        self._end_left_database()
        return code

    def kill(self) -> None:
        """Kill the daemon where it stands. Its PostgreSQL goes on, and the next start finds it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_SECONDS)

    def kill_capture(self) -> bool:
        """Kill the daemon's child that runs Debezium; False when there is none at this moment."""
        with suppress(psutil.NoSuchProcess):
            for child in self._captures():
                child.kill()
                return True
        return False

    @contextmanager
    def capture_held(self) -> Iterator[bool]:
        """Let the daemon's child that runs Debezium stand still meanwhile; False when there is none."""
        held = []
        with suppress(psutil.NoSuchProcess):
            for child in self._captures():
                child.suspend()
                held.append(child)
        try:
            yield bool(held)
        finally:
            for child in held:
                with suppress(psutil.NoSuchProcess):
                    child.resume()

    def _captures(self) -> list[psutil.Process]:
        if self._process is None:
            return []
        return [
            child
            for child in psutil.Process(self._process.pid).children()
            if "connectors.debezium.child" in child.cmdline()
        ]

    def kill_store(self) -> bool:
        """Kill arsync's own PostgreSQL; False when it is down at this moment."""
        store = Cluster(self._store)
        there = store.running
        store.kill()
        return there

    def log_tail(self) -> list[str]:
        """The last lines that the daemon said."""
        with suppress(FileNotFoundError):
            return self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
        return []

    def ask(self, *arguments: str) -> list[dict[str, Any]]:
        """What a listing verb prints as JSON."""
        return list(self._call([*arguments, "--json"]))

    def submit(self, intents: Sequence[str]) -> list[dict[str, Any]]:
        """Submit intents, each one JSON text, in one call; gives id, state and reason of each."""
        return list(self._call(["intents", "submit", "-", "--json"], "\n".join(intents) + "\n"))

    def prove(self) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Verify the journal of the stopped daemon: in the store, and out of an archive by a process that has neither
        this one's configuration, place, time zone nor language; what each found, and the normal form."""
        archive = self._folder / "archive"
        self._call(["journal", "export", str(archive), "--json"])
        (here,) = self._call(["replay", "verify", "--json"], well=(0, 1))
        elsewhere = {
            "PATH": os.environ.get("PATH", ""),
            "TZ": "Pacific/Auckland",
            "LC_ALL": "C",
            "HOME": str(archive),
        }
        words = ["replay", "verify", "--archive", str(archive), "--json"]
        (there,) = self._call(words, well=(0, 1), place=archive, environment=elsewhere | {"PYTHONHASHSEED": "7"})
        (normal,) = self._call([*words[:1], "normal", *words[2:]], place=archive, environment=elsewhere)
        return here, there, normal

    def _call(
        self,
        arguments: Sequence[str],
        text: str = "",
        *,
        well: Sequence[int] = (0,),
        place: Path | None = None,
        environment: dict[str, str] | None = None,
    ) -> Any:
        program = self._program() if environment is None else self._program()[:1]
        try:
            done = subprocess.run(
                [*program, *arguments],
                cwd=place or self._folder,
                env=environment or _environment(),
                input=text,
                check=False,
                capture_output=True,
                text=True,
                timeout=CALL_SECONDS,
            )
        except subprocess.TimeoutExpired:
            self.check()
            raise EngineFailed(f"`arsync {' '.join(arguments)}` did not end in {CALL_SECONDS:.0f} s") from None
        if done.returncode not in well:
            self.check()
            tail = "\n".join(done.stderr.splitlines()[-LOG_LINES:])
            raise EngineFailed(f"`arsync {' '.join(arguments)}` ended with {done.returncode}:\n{tail}")
        return json.loads(done.stdout)

    def _program(self) -> list[str]:
        program = Path(sys.executable).parent / "arsync"
        if not program.exists():
            raise EngineFailed(f"{program.name} is not installed beside this Python")
        return [str(program), "--config", str(self._config)]

    def _end_left_database(self) -> None:
        """The daemon stops its own PostgreSQL; one that was killed could not."""
        if self._store.exists():
            Cluster(self._store).stop()

    @property
    def _store(self) -> Path:
        return self._folder / ".arsync" / "postgres"


def _environment() -> dict[str, str]:
    """The environment without what would lead arsync to another configuration.

    Java compiles in one step: what its optimiser gains in an hour costs more than a demo lasts.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith("ARSYNC_")}
    own.setdefault("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1")
    return own
