"""The three ways in which Debezium reads the same backlog: each gives how many rows came, and when.

All slots are made before the backlog is played, so that the server keeps it for everyone; each side then has its turn
alone, from a start to its last row.
"""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec
from kafka import KafkaConsumer, TopicPartition

from benchmarks.live.erp import PASSWORD, ROLE, LiveErp
from connectors.debezium.embedded import open_embedded
from connectors.debezium.kafka.connector import connector
from connectors.debezium.kafka.settings import read_options
from connectors.tryton.mapping import TrytonMapping
from engine.flow.reader import source_setup
from engine.model.change import RowChange, SnapshotMark
from engine.ports.source import Source, SourceSetup
from tests.kafka_stack.connect import Connect
from tests.kafka_stack.stack import KafkaStack
from tests.on_kafka import topics

PATIENCE = 120.0
"""Seconds without a row after which a side is stuck."""


class SourceFailed(RuntimeError):
    """A side did not bring what was played."""


class Came(msgspec.Struct, frozen=True):
    """So many row changes came between two times, in seconds."""

    rows: int
    first: float
    last: float

    @property
    def rate(self) -> float:
        """Row changes a second."""
        return self.rows / (self.last - self.first) if self.last > self.first else 0.0


def _setup(system: str, options: Mapping[str, object], folder: Path) -> SourceSetup:
    return source_setup(system, dict(options), TrytonMapping(), None, folder, 5_000)


class ThroughConnect:
    """A connector that stands still until its turn. Its topics' records carry the broker's time."""

    def __init__(self, name: str, stack: KafkaStack, config: Mapping[str, str], watched: Iterable[str]) -> None:
        """`watched` are the topics that rows come into; they are made here."""
        self.name, self._connect, self._bootstrap = name, stack.connect, stack.bootstrap
        self._watched = list(watched)
        for topic in self._watched:
            topics.make(stack.bootstrap, topic, retention_ms="-1", message_timestamp_type="LogAppendTime")
        self._connect.apply(name, config)
        self._connect.await_running(name)

    def stand_still(self) -> None:
        """Wait until the snapshot is in the topic, then stop; the slot keeps what comes."""
        self._until_quiet()
        httpx.put(f"{self._connect.url}/connectors/{self.name}/stop", timeout=60).raise_for_status()
        _await_state(self._connect, self.name, ["STOPPED"])
        self._begins = self._ends()

    def turn(self, rows: int) -> Came:
        """Go on, until so many rows have come."""
        httpx.put(f"{self._connect.url}/connectors/{self.name}/resume", timeout=60).raise_for_status()
        came = _count(self._bootstrap, self._begins, rows)
        self._connect.delete(self.name)
        return came

    def _ends(self) -> dict[TopicPartition, int]:
        consumer = KafkaConsumer(bootstrap_servers=self._bootstrap)
        try:
            return dict(consumer.end_offsets([TopicPartition(topic, 0) for topic in self._watched]))
        finally:
            consumer.close()

    def _until_quiet(self) -> None:
        before, since = self._ends(), time.monotonic()
        while time.monotonic() - since < 3 or not any(before.values()):
            time.sleep(0.3)
            if (now := self._ends()) != before:
                before, since = now, time.monotonic()
            elif time.monotonic() - since > PATIENCE:
                raise SourceFailed(f"{self.name} brings no snapshot")


def _await_state(connect: Connect, name: str, states: list[str]) -> None:
    until = time.monotonic() + 60
    while connect.states(name) != states:
        if time.monotonic() > until:
            raise SourceFailed(f"the connector {name} is {connect.states(name)}, not {states}")
        time.sleep(0.2)


class _Seen(msgspec.Struct, gc=False):
    op: str | None = None
    payload: "_Seen | None" = None


def _count(bootstrap: str, begins: Mapping[TopicPartition, int], rows: int) -> Came:
    """Read what comes behind these offsets until so many row changes were seen; times are the broker's."""
    decode = msgspec.json.Decoder(_Seen).decode
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    consumer.assign(list(begins))
    for part, offset in begins.items():
        consumer.seek(part, offset)
    seen, first, last, moved = 0, float("inf"), 0.0, time.monotonic()
    while seen < rows:
        for records in consumer.poll(timeout_ms=500, max_records=5_000).values():
            moved = time.monotonic()
            for record in records:
                message = decode(record.value) if record.value else _Seen()
                if (message.payload or message).op in ("c", "u", "d"):
                    seen += 1
                    first, last = min(first, record.timestamp / 1e3), max(last, record.timestamp / 1e3)
        if time.monotonic() - moved > PATIENCE:
            raise SourceFailed(f"{seen} of {rows} row changes came")
    consumer.close()
    _exactly(rows, seen)
    return Came(seen, first, last)


def _exactly(rows: int, seen: int) -> None:
    if seen != rows:
        raise SourceFailed(f"{seen} row changes came where {rows} were played")


def as_printed(erp: LiveErp, stack: KafkaStack, name: str, folder: Path) -> ThroughConnect:
    """The connector that `arsync connect-config` prints: everything into one topic, borders too."""
    capture = {"host": erp.host, "port": erp.port, "database": erp.name, "user": ROLE, "password": PASSWORD,
               "slot": name}  # fmt: skip
    options = {"bootstrap": stack.bootstrap, "capture": capture}
    setup = _setup(name, options, folder)
    topics.make(stack.bootstrap, f"{name}.changes.signals")
    return ThroughConnect(name, stack, connector(setup, read_options(setup)), [f"{name}.changes"])


def by_default(erp: LiveErp, stack: KafkaStack, name: str, folder: Path) -> ThroughConnect:
    """The same tables with nothing set that Debezium and Connect do not ask for: JSON with schemas, a topic each."""
    setup = _setup(name, {"bootstrap": stack.bootstrap}, folder)
    config = {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "topic.prefix": name,
        "database.hostname": erp.host,
        "database.port": str(erp.port),
        "database.dbname": erp.name,
        "database.user": ROLE,
        "database.password": PASSWORD,
        "plugin.name": "pgoutput",
        "slot.name": name,
        "publication.name": name,
        "publication.autocreate.mode": "filtered",
        "table.include.list": ",".join(table.replace("-", r"\-") for table in setup.tables),
        "topic.creation.default.partitions": "1",
        "topic.creation.default.replication.factor": "1",
    }
    # A topic's name holds the table's, with what Kafka does not take replaced; nothing here is.
    return ThroughConnect(name, stack, config, [f"{name}.{table}" for table in setup.tables])


class Embedded:
    """Debezium in a child process of this one, as `arsync run` starts it; nothing is done with what it brings."""

    def __init__(self, erp: LiveErp, name: str, folder: Path) -> None:
        options = {"host": erp.host, "port": erp.port, "database": erp.name, "user": ROLE, "password": PASSWORD,
                   "slot": name, "publication": name}  # fmt: skip
        self._setup = _setup(name, options, folder)

    def stand_still(self) -> None:
        """Read the snapshot, then stop; the slot keeps what comes."""
        source = open_embedded(self._setup)
        try:
            resume = None
            complete = False
            moved = time.monotonic()
            while not complete:
                batch = source.poll(0.5)
                if batch is not None:
                    complete = any(
                        isinstance(r, RowChange) and r.snapshot is SnapshotMark.LAST for r in batch.records
                    )
                    resume, moved = batch.resume, time.monotonic()
                    source.acknowledge()
                elif time.monotonic() - moved > PATIENCE:
                    raise SourceFailed("embedded Debezium brings no snapshot")
            resume = _settled(source, resume)
        finally:
            source.close()
        self._setup = msgspec.structs.replace(self._setup, resume=resume)

    def turn(self, rows: int) -> Came:
        """Go on, until so many rows have come."""
        source = open_embedded(self._setup)
        seen, before, first, last, moved = 0, 0, 0.0, 0.0, time.monotonic()
        try:
            while seen < rows:
                batch = source.poll(0.5)
                if batch is None:
                    if time.monotonic() - moved > PATIENCE:
                        raise SourceFailed(f"{seen} of {rows} row changes came")
                    continue
                moved = last = time.monotonic()
                seen += sum(isinstance(r, RowChange) and r.snapshot is SnapshotMark.NONE for r in batch.records)
                # The rows of the first batch came before the first time that is known.
                first, before = (first, before) if first else (last, seen)
                source.acknowledge()
        finally:
            source.close()
        _exactly(rows, seen)
        return Came(seen - before, first, last)


def _settled(source: Source, resume: dict[str, Any] | None) -> dict[str, Any] | None:
    """Read on until Debezium streams: what it stored within the snapshot would make it take another one."""
    until = time.monotonic() + 3
    while time.monotonic() < until:
        batch = source.poll(0.5)
        if batch is not None:
            resume = batch.resume
            source.acknowledge()
    return resume
