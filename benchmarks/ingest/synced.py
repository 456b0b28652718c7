"""arsync's side: `arsync run` on the topic as it comes, in a process of its own, watched in its store.

The snapshot is read once, before anything is measured, into a database that each run begins with a copy of.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from benchmarks.ingest.topic import Filled
from engine.store import schema
from engine.store.embedded import Cluster

SYSTEM = "tryton"
BASE = "base"
LOOK_SECONDS = 0.01
PATIENCE = 60.0

_CONFIG = """
[store]
dsn = "{dsn}"

[daemon]
port = 0
{daemon}

[systems.{system}]
connector = "tryton"

[systems.{system}.source]
type = "kafka"
bootstrap = "{bootstrap}"
topic = "{topic}"
"""


class SyncFailed(RuntimeError):
    """arsync did not arrive, or arrived elsewhere; the text says where it stands, with the end of its log."""


class Synced:
    """Runs arsync on databases of one cluster."""

    def __init__(self, folder: Path, cluster: Cluster, bootstrap: str, topic: str, *, daemon: str = "") -> None:
        """`daemon` are further lines of the section `[daemon]`."""
        self._folder, self._cluster, self._daemon = folder, cluster, daemon
        self._bootstrap, self._topic = bootstrap, topic
        cluster.ensure_database(BASE)
        schema.migrate(cluster.dsn(BASE), None)

    def read_snapshot(self, end: int) -> None:
        """Read the topic's first part into the database that all runs begin with."""
        process = self._start(BASE)
        try:
            self._await(process, BASE, lambda at: at >= end)
        finally:
            _stop(process)

    def run(self, filled: Filled) -> float:
        """Seconds an event costs from the first commit of the measured part to the last. SyncFailed when the store
        ends elsewhere than the workload did."""
        name = f"run{time.monotonic_ns()}"
        copy_database(self._cluster, BASE, name)
        seconds = self.go_on(name, filled)
        drop_database(self._cluster, name)
        return seconds

    def go_on(self, database: str, filled: Filled, below: int | None = None) -> float:
        """The same in a database as it stands, which has read everything before the measured part. Invoices from
        the number `below` on are none of the workload's."""
        process = self._start(database)
        try:
            first = self._await(process, database, lambda at: at > filled.begin)
            began, from_ = time.monotonic(), first
            self._await(process, database, lambda at: at >= filled.end)
            seconds = time.monotonic() - began
        finally:
            _stop(process)
        difference = filled.expected.difference(self._cluster.dsn(database), SYSTEM, below)
        if difference is not None:
            raise SyncFailed(difference)
        return seconds / (filled.end - from_)

    @contextmanager
    def running(self, database: str) -> Iterator[tuple[int, Callable[[int], object]]]:
        """arsync on a database for the time of the block: its process id, and what waits for an offset."""
        process = self._start(database)
        try:
            yield process.pid, lambda end: self._await(process, database, lambda at: at >= end)
        finally:
            _stop(process)

    def _start(self, database: str) -> "subprocess.Popen[bytes]":
        config = self._folder / f"{database}.toml"
        config.write_text(
            _CONFIG.format(dsn=self._cluster.dsn(database), system=SYSTEM, bootstrap=self._bootstrap,
                           topic=self._topic, daemon=self._daemon),
            encoding="utf-8",
        )  # fmt: skip
        config.chmod(0o600)
        with (self._folder / "arsync.log").open("ab") as log:
            command = [str(Path(sys.executable).with_name("arsync")), "--config", str(config), "run"]
            return subprocess.Popen(command, stdout=log, stderr=log)

    def _await(self, process: "subprocess.Popen[bytes]", database: str, enough: Callable[[int], bool]) -> int:
        """The committed offset, once it is enough."""
        with psycopg.connect(self._cluster.dsn(database), autocommit=True) as store:
            moved, at = time.monotonic(), -1
            while True:
                row = store.execute("SELECT (resume ->> 'offset')::bigint FROM source_position").fetchone()
                now = int(row[0]) if row and row[0] is not None else -1
                if enough(now):
                    return now
                if now != at:
                    at, moved = now, time.monotonic()
                if process.poll() is not None or time.monotonic() - moved > PATIENCE:
                    raise SyncFailed(f"arsync stands at offset {now}; the end of its log:\n{self._log_tail()}")
                time.sleep(LOOK_SECONDS)

    def _log_tail(self) -> str:
        return "\n".join((self._folder / "arsync.log").read_text(encoding="utf-8").splitlines()[-15:])


def copy_database(cluster: Cluster, source: str, name: str) -> None:
    """Make a database that is a copy of another, to which nobody is connected."""
    with psycopg.connect(cluster.dsn("postgres"), autocommit=True) as owner:
        owner.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(source)))
        owner.execute("CHECKPOINT")


def drop_database(cluster: Cluster, name: str) -> None:
    """Take a database away."""
    with psycopg.connect(cluster.dsn("postgres"), autocommit=True) as owner:
        owner.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
