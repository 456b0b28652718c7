"""Tryton's own server and set-up program as child processes, from the same installation as this one.

Called by `demo.erp` alone. It promises that no password stands in an argument list, that a server left behind by
a killed demo is ended before a new one starts, and that nothing is running after `stop`.
"""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]

from engine.store.embedded_programs import write_private

ANSWER_SECONDS = 60.0
STOP_SECONDS = 10.0
INSTALL_SECONDS = 600.0
CONFIG = """\
[database]
uri = {uri}
path = {folder}/filestore
list = False
[web]
listen = 127.0.0.1:{port}
[session]
authentications = password
# A post needs a session that was used this many seconds ago; a demo may stand still for an afternoon.
timeout = 86400
[request]
timeout = 60
[queue]
worker = False
"""


class ErpFailed(RuntimeError):
    """A Tryton program ended, or did not answer; the text has the last lines of what it said."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _program(name: str) -> str:
    path = Path(sys.executable).parent / name
    if not path.exists():
        raise ErpFailed(f"{path.name} is not installed beside this Python; install the `demo` extra of arsync")
    return str(path)


class TrytonServer:
    """One trytond over one database; `uri` is PostgreSQL's address up to the slash, with its password."""

    def __init__(self, folder: Path, database: str, uri: str) -> None:
        self._folder, self._database = folder, database
        self._log = folder / "trytond.log"
        self._config = folder / "trytond.conf"
        self._pid_file = folder / "trytond.pid"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self._end_left_behind()
        (folder / "filestore").mkdir(mode=0o700, exist_ok=True)
        write_private(self._config, CONFIG.format(uri=uri, folder=folder, port=self.port))

    @property
    def url(self) -> str:
        """Where it answers; the same after a restart."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process id of the running server."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def install(self, modules: tuple[str, ...], password: str, waiting: Callable[[float], None]) -> None:
        """Fill an empty database with these modules and what they depend on; `waiting` hears the seconds."""
        secret = self._folder / "admin.secret"
        write_private(secret, password)
        command = [_program("trytond-admin"), "-c", str(self._config), "-d", self._database]
        command += ["--email", "admin@lindenhof.example", "--activate-dependencies", "-u", *modules]
        began = time.monotonic()
        process = self._spawn(command, {"TRYTONPASSFILE": str(secret)})
        try:
            while process.poll() is None:
                passed = time.monotonic() - began
                if passed > INSTALL_SECONDS:
                    raise self._failed(f"trytond-admin is not done after {passed:.0f} s")
                waiting(passed)
                time.sleep(0.2)
        finally:
            _end(process, signal.SIGKILL)
            secret.unlink()
        if process.returncode != 0:
            raise self._failed(f"trytond-admin ended with {process.returncode}")

    def start(self) -> None:
        """Start it and return when it answers."""
        if self.pid is not None:
            return
        command = [_program("trytond"), "-c", str(self._config), "-d", self._database]
        self._process = self._spawn(command, {})
        began = psutil.Process(self._process.pid).create_time()
        write_private(self._pid_file, f"{self._process.pid} {began}")
        deadline = time.monotonic() + ANSWER_SECONDS
        while not self._answers():
            if self._process.poll() is not None:
                raise self._failed(f"trytond ended with {self._process.returncode}")
            if time.monotonic() > deadline:
                self.stop()
                raise self._failed(f"trytond does not answer after {ANSWER_SECONDS:.0f} s")
            time.sleep(0.05)

    def kill(self) -> None:
        """End it in the middle of whatever it does, as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in good order."""
        self._end(signal.SIGTERM)

    def _answers(self) -> bool:
        body = {"id": 1, "method": "common.server.version", "params": []}
        try:
            return httpx.post(f"{self.url}/rpc/", json=body, timeout=2.0, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            _end(self._process, number)
            self._process = None
        self._pid_file.unlink(missing_ok=True)

    def _end_left_behind(self) -> None:
        """End the server of a demo that could not stop it: the same process id, started at the same time."""
        with suppress(FileNotFoundError, ValueError, psutil.NoSuchProcess):
            number, began = self._pid_file.read_text(encoding="utf-8").split()
            process = psutil.Process(int(number))
            if abs(process.create_time() - float(began)) < 0.5:
                process.kill()
                process.wait(STOP_SECONDS)
        self._pid_file.unlink(missing_ok=True)

    def _spawn(self, command: list[str], extra: Mapping[str, str]) -> subprocess.Popen[bytes]:
        # Only these: a configuration of another Tryton in the environment would rule over ours.
        around = {"PATH": str(Path(sys.executable).parent), "TZ": "UTC", "PYTHONUNBUFFERED": "1", **extra}
        with self._log.open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self._folder,
                env=around,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # An interrupt typed at the demo is the demo's: it ends its servers in order.
                start_new_session=True,
            )

    def _failed(self, what: str) -> ErpFailed:
        tail = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
        return ErpFailed("\n".join([f"{what}; its log {self._log.name} ends with:", *tail]))


def _end(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    if process.poll() is None:
        process.send_signal(number)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait(STOP_SECONDS)
