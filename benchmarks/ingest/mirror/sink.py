"""Runs the JDBC sink in a Connect worker of its own: `Sink` for the time of a benchmark, `Sink.run` for one turn."""

import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec
import psycopg
from kafka import KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient
from psycopg import sql

from benchmarks.ingest.mirror.schemas import measured_rows
from benchmarks.ingest.peers import NoPeerError
from benchmarks.ingest.synced import SyncFailed, drop_database
from benchmarks.ingest.topic import WARM_ROWS, Filled
from engine.store.embedded import Cluster
from tests.kafka_stack.connect import Connect
from tests.kafka_stack.jars import NoStackError, jars
from tests.kafka_stack.program import ProgramError
from tests.on_kafka import topics

POM: Final = Path(__file__).with_name("pom.xml")
TOPIC: Final = "tryton.with-schemas"
_CLASS: Final = "io.debezium.connector.jdbc.JdbcSinkConnector"
_PATIENCE: Final = 120.0
_BATCH: Final = 5_000
_MOST_WORDS: Final = 1_500
"""Letters of what Connect says of a failure; it may hold a whole statement."""


class Mirrored(msgspec.Struct, frozen=True):
    """What the tables must hold in the end: rows by table, invoices by Tryton's state."""

    rows: dict[str, int]
    states: dict[str, int]


class Sink:
    """The worker, and the topic that it reads. A turn writes into a new database."""

    def __init__(self, folder: Path, cluster: Cluster, bootstrap: str, seed: int) -> None:
        """Nothing is started before the first turn."""
        self._folder, self._cluster, self._bootstrap, self._seed = folder, cluster, bootstrap, seed
        self._connect: Connect | None = None
        self._expected: Mirrored | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connect is not None:
            self._connect.stop()

    def run(self, filled: Filled) -> float:
        """Seconds from the first row's arrival to the last one's, as a share of the measured part's records.

        NoPeerError when it cannot run here; SyncFailed when the tables hold something else in the end than the ERP.
        """
        try:
            connect = self._connect or self._started()
            name = f"sink{time.monotonic_ns()}"
            expected = self._expected = self._expected or self._fill(filled.events)
            self._cluster.ensure_database(name)
            with psycopg.connect(self._cluster.dsn("postgres"), autocommit=True) as owner:
                owner.execute("CHECKPOINT")
            # A connector that is new begins at the topic's first record.
            connect.apply(name, self._config(name))
            try:
                connect.await_running(name)
                self._await_end(connect, name, filled.events)
            finally:
                connect.delete(name)
        except (NoStackError, ProgramError) as error:
            raise NoPeerError(str(error)) from error
        with psycopg.connect(self._cluster.dsn(name), autocommit=True) as store:
            found = _held(store, expected)
            if found != expected:
                raise SyncFailed(f"the JDBC sink's tables hold {found}, the ERP {expected}")
            seconds = _seconds(store, expected)
        drop_database(self._cluster, name)
        return seconds / filled.records

    def _started(self) -> Connect:
        self._connect = Connect(self._folder / "jdbc-sink", jars(POM), self._bootstrap, heap="1g", for_speed=True)
        self._connect.start()
        return self._connect

    def _fill(self, events: int) -> Mirrored:
        """Write the events of the measured part, and follow what becomes of each row."""
        topics.make(self._bootstrap, TOPIC, retention_ms="-1", retention_bytes="-1")
        producer: Any = KafkaProducer(
            bootstrap_servers=self._bootstrap, acks="all", linger_ms=20, batch_size=512 * 1024,
            compression_type="lz4", max_in_flight_requests_per_connection=1,
        )  # fmt: skip
        held: dict[tuple[str, int], str | None] = {}
        written = 0
        for row in measured_rows(self._seed, WARM_ROWS, events):
            producer.send(TOPIC, key=row.key, value=row.value, partition=0)
            written += 1
            if row.after is None:
                held.pop((row.table, row.id), None)
            else:
                held[row.table, row.id] = row.after.get("state") if row.table == "account_invoice" else None
        producer.flush()
        producer.close()
        if written != events:
            raise SyncFailed(f"{written} events were made again, not {events}")
        states = Counter(state for state in held.values() if state is not None)
        return Mirrored(dict(Counter(table for table, _ in held)), dict(states))

    def _config(self, name: str) -> dict[str, object]:
        cluster = self._cluster
        return {
            "connector.class": _CLASS,
            "tasks.max": 1,
            "topics": TOPIC,
            "connection.url": f"jdbc:postgresql://{cluster.host}:{cluster.port}/{name}?reWriteBatchedInserts=true",
            "connection.username": cluster.superuser,
            "connection.password": cluster.password,
            "insert.mode": "upsert",
            "delete.enabled": "true",
            "primary.key.mode": "record_key",
            "schema.evolution": "basic",
            # One topic, a table for each of the ERP's.
            "collection.name.format": "${source.table}",
            "quote.identifiers": "true",
            # Of each row only the last change of a batch, so that a batch can be written as one statement.
            "use.reduction.buffer": "true",
            "batch.size": _BATCH,
            "consumer.override.max.poll.records": _BATCH,
            "consumer.override.auto.offset.reset": "earliest",
        }

    def _await_end(self, connect: Connect, name: str, events: int) -> None:
        """Wait until the sink says that it has written everything."""
        admin: Any = KafkaAdminClient(bootstrap_servers=self._bootstrap)
        group, part = f"connect-{name}", TopicPartition(TOPIC, 0)
        before, since = -1, time.monotonic()
        try:
            while before < events:
                told = admin.list_group_offsets({group: None}).get(group, {}).get(part)
                now = told.offset if told is not None else -1
                if now != before:
                    before, since = now, time.monotonic()
                elif time.monotonic() - since > _PATIENCE or "FAILED" in connect.states(name):
                    raise NoPeerError(f"the JDBC sink stands at {now} of {events}; {connect.why(name)[:_MOST_WORDS]}")
                time.sleep(0.5)
        finally:
            admin.close()


def _held(store: psycopg.Connection[Any], expected: Mirrored) -> Mirrored:
    rows = {}
    for table in expected.rows:
        found = store.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone()
        rows[table] = int(found[0]) if found else 0
    states = store.execute("SELECT state, count(*) FROM account_invoice GROUP BY state").fetchall()
    return Mirrored(rows, dict(states))


def _seconds(store: psycopg.Connection[Any], expected: Mirrored) -> float:
    """From the first commit that left a row to the last one, by the server's own account."""
    each = [
        sql.SQL("SELECT min(pg_xact_commit_timestamp(xmin)) a, max(pg_xact_commit_timestamp(xmin)) z FROM {}").format(
            sql.Identifier(table)
        )
        for table in expected.rows
    ]
    query = sql.SQL("SELECT extract(epoch FROM max(z) - min(a))::float8 FROM ({}) t").format(
        sql.SQL(" UNION ALL ").join(each)
    )
    found = store.execute(query).fetchone()
    return float(found[0]) if found else 0.0
