"""A source on a real broker: where it goes on, what it refuses, and that every form of a message gives one record."""

import datetime as dt
import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from connectors.debezium.kafka.ahead import LOG, open_ahead
from connectors.debezium.kafka.kind import KAFKA
from connectors.debezium.kafka.source import open_kafka
from engine.model.change import RowChange, SnapshotMark, TransactionBegin, TransactionEnd, Unreadable
from engine.ports.errors import ConfigError, SourceError, SourceRefused
from engine.ports.finding import Grade
from engine.ports.source import Resume, Source, SourceSetup
from tests.kafka_stack.program import free_ports
from tests.kafka_stack.stack import KafkaStack
from tests.on_kafka import topics

pytestmark = pytest.mark.live


class Feed:
    """One topic, and the messages that Debezium would write into it; read here, or by a process of its own."""

    def __init__(
        self, stack: KafkaStack, name: str, folder: Path, opened: Callable[[SourceSetup], Source] = open_kafka
    ) -> None:
        self.open = opened
        self.bootstrap, self.name, self.folder = stack.bootstrap, name, folder
        self.topic = f"{name}.changes"
        self._held: list[tuple[bytes | None, bytes | None]] = []

    def make(self, **configs: Any) -> "Feed":
        topics.make(self.bootstrap, self.topic, **configs)
        return self

    def snapshot(self, *keys: int) -> "Feed":
        for key in keys:
            mark = "last" if key == keys[-1] else "true"
            self._row("r", key, lsn=100, tx=1, us=1_000, mark=mark)
        return self

    def commit(self, tx: int, lsn: int, *keys: int, us: int | None = None) -> "Feed":
        us = us if us is not None else lsn * 1_000
        name = f"{tx}:{lsn}"
        self._put({"id": str(tx)}, {"status": "BEGIN", "id": name, "event_count": None, "ts_ms": us // 1_000})
        for place, key in enumerate(keys):
            self._row("u", key, lsn=lsn - len(keys) + place, tx=tx, us=us, mark="false")
        ended = {"status": "END", "id": name, "event_count": len(keys), "ts_ms": us // 1_000}
        self._put({"id": str(tx)}, ended)
        return self

    def raw(self, key: bytes | None, value: bytes | None) -> "Feed":
        self._held.append((key, value))
        return self

    def send(self) -> int:
        """Write what was put; how many messages."""
        held, self._held = self._held, []
        topics.send(self.bootstrap, self.topic, held)
        return len(held)

    def setup(self, resume: Resume | None = None, **options: Any) -> SourceSetup:
        held = {"type": "kafka", "bootstrap": self.bootstrap, **options}
        return SourceSetup(self.name, held, ["public.invoice"], [], resume, self.folder, 100)

    def read(self, count: int, resume: Resume | None = None, **options: Any) -> tuple[list[Any], Resume]:
        """Records until the topic's first `count` messages are behind."""
        source = self.open(self.setup(resume, **options))
        records: list[Any] = []
        try:
            for _ in range(100):
                batch = source.poll(1.0)
                if batch is not None:
                    records += batch.records
                    source.acknowledge()
                    if batch.resume["offset"] >= count:
                        return records, batch.resume
        finally:
            source.close()
        raise AssertionError(f"{len(records)} records only")

    def refused(self, resume: Resume | None, **options: Any) -> str:
        with pytest.raises(SourceRefused) as caught:
            self.read(10_000, resume, **options)
        return str(caught.value)

    def _row(self, op: str, key: int, *, lsn: int, tx: int, us: int, mark: str) -> None:
        source = {"table": "invoice", "lsn": lsn, "txId": tx, "ts_us": us, "snapshot": mark}
        value: dict[str, Any] = {"op": op, "before": None, "after": {"id": key, "total": "1.00"}, "source": source}
        if op != "r":
            value["transaction"] = {"id": f"{tx}:{lsn}"}
        self._put({"id": key}, value)

    def _put(self, key: Any, value: Any) -> None:
        self.raw(json.dumps(key).encode(), json.dumps(value).encode())


@pytest.fixture(params=[open_kafka, open_ahead], ids=["here", "ahead"])
def feed(stack: KafkaStack, request: pytest.FixtureRequest, tmp_path: Path) -> Feed:
    return Feed(stack, f"s{abs(hash(request.node.name)) % 10**8}", tmp_path, request.param)


def drain(source: Source) -> None:
    """Poll until there is nothing for a while."""
    while source.poll(5.0) is not None:
        pass


def kinds(records: list[Any]) -> list[str]:
    return [type(record).__name__ for record in records]


def test_it_goes_on_where_the_engine_has_committed(feed: Feed) -> None:
    first = feed.make().snapshot(1, 2).commit(5, 200, 1).send()
    records, resume = feed.read(first)
    assert kinds(records) == ["RowChange", "RowChange", "TransactionBegin", "RowChange", "TransactionEnd"]
    assert records[1].snapshot is SnapshotMark.LAST
    assert resume["offset"] == first
    # A tombstone and a heartbeat are nothing; what cannot be read is kept with its place, and the stream goes on.
    feed.raw(b'{"id": 1}', None).raw(None, b"no json").commit(6, 300, 2)
    second = feed.send()
    records, resume = feed.read(first + second, resume)
    assert kinds(records) == ["Unreadable", "TransactionBegin", "RowChange", "TransactionEnd"]
    assert isinstance(records[0], Unreadable)
    assert records[0].origin == f"{feed.topic}@{first + 1}"
    # The same resume gives the same records: nothing was committed for it elsewhere.
    assert feed.read(first + second, {**resume, "offset": first})[0] == records
    source = feed.open(feed.setup(resume))
    assert source.epoch == f"kafka:{resume['id']}@0"
    source.close()


def test_records_that_are_gone_are_refused_with_what_to_do(feed: Feed) -> None:
    count = feed.make().snapshot(1).commit(5, 200, 1).send()
    _, resume = feed.read(count)
    feed.commit(6, 300, 1).commit(7, 400, 1).send()
    topics.cut(feed.bootstrap, feed.topic, count + 2)
    said = feed.refused(resume)
    assert f"{count} was the next to read: 2 records were thrown away unread" in said
    assert f"arsync run --system {feed.name} --new-epoch" in said
    assert "ends at offset" in feed.refused({**resume, "offset": 900})
    topics.remove(feed.bootstrap, feed.topic)
    feed.make()
    assert "is not the one that was read" in feed.refused(resume)
    assert "was read from another kind of source before" in feed.refused({"file": "x"})


def test_a_topic_that_does_not_keep_order_or_records_is_refused(feed: Feed) -> None:
    assert "there is no topic" in feed.refused(None)
    feed.make(partitions=2)
    assert "has 2 partitions" in feed.refused(None)
    other = Feed(KafkaLike(feed.bootstrap), feed.name + "c", feed.folder)  # type: ignore[arg-type]
    other.make(cleanup_policy="compact")
    assert "is compacted" in other.refused(None)


class KafkaLike:
    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap


def test_a_topic_without_a_snapshot_at_its_beginning_is_refused(feed: Feed) -> None:
    count = feed.make().commit(5, 200, 1).send()
    assert "does not begin with a snapshot" in feed.refused(None)
    records, _ = feed.read(count, whole_log=True)
    assert kinds(records) == ["TransactionBegin", "RowChange", "TransactionEnd"]


def test_a_log_that_was_set_back_is_refused_and_a_repeat_is_not(feed: Feed) -> None:
    count = feed.make().snapshot(1).commit(5, 200, 1).commit(6, 300, 1).send()
    _, resume = feed.read(count)
    # Connect died before it had stored how far it was: the same again.
    again = feed.commit(5, 200, 1).commit(6, 300, 1).send()
    _, resume = feed.read(count + again, resume)
    feed.commit(7, 250, 1, us=900_000).send()
    assert "the ERP was restored from a backup" in feed.refused(resume)


def test_a_new_epoch_passes_over_everything_before_its_snapshot(feed: Feed) -> None:
    count = feed.make().snapshot(1).commit(5, 200, 1).send()
    _, resume = feed.read(count)
    topics.make(feed.bootstrap, f"{feed.topic}.signals")
    source = feed.open(feed.setup(resume, new_epoch=True))
    assert source.epoch == f"kafka:{resume['id']}@{count}"
    # The snapshot is taken in the midst of transaction 7: what comes of it afterwards is in the snapshot.
    feed.commit(6, 300, 1).commit(7, 400, 1, 2)
    held = feed._held[:]
    feed._held = held[:-2]
    feed.snapshot(1, 2)
    feed._held += held[-2:]
    feed.commit(8, 500, 2)
    feed.send()
    records: list[Any] = []
    while not (records and isinstance(records[-1], TransactionEnd) and records[-1].tx == "8"):
        batch = source.poll(5.0)
        assert batch is not None
        records += batch.records
    source.close()
    rows = [(record.key, record.tx) for record in records if isinstance(record, RowChange)]
    assert rows == [("1", "1"), ("2", "1"), ("2", "8")]
    assert [record.tx for record in records if isinstance(record, TransactionBegin | TransactionEnd)] == ["8", "8"]
    signals = Feed(KafkaLike(feed.bootstrap), feed.name, feed.folder)  # type: ignore[arg-type]
    signals.topic = f"{feed.topic}.signals"
    value = _only_message(signals)
    assert value["type"] == "execute-snapshot"
    assert value["data"] == {"data-collections": ["public.invoice"], "type": "BLOCKING"}


def _only_message(feed: Feed) -> dict[str, Any]:
    from kafka import KafkaConsumer, TopicPartition

    consumer: Any = KafkaConsumer(bootstrap_servers=feed.bootstrap)
    part = TopicPartition(feed.topic, 0)
    consumer.assign([part])
    consumer.seek(part, 0)
    (message,) = next(iter(consumer.poll(10_000).values()))
    consumer.close()
    assert message.key == feed.name.encode()
    return dict(json.loads(message.value))


def test_borders_in_a_topic_of_their_own_wait_for_their_rows(feed: Feed) -> None:
    feed.make().snapshot(1).commit(5, 200, 1).commit(6, 300, 1, 2)
    borders = [(key, value) for key, value in feed._held if b'"status"' in (value or b"")]
    feed._held = [one for one in feed._held if one not in borders]
    count = feed.send()
    apart = f"{feed.name}.borders"
    topics.make(feed.bootstrap, apart)
    topics.send(feed.bootstrap, apart, borders)
    source = feed.open(feed.setup(transactions=apart))
    records: list[Any] = []
    while kinds(records).count("TransactionEnd") < 2:
        batch = source.poll(2.0)
        if batch is not None:
            records += batch.records
            resume = batch.resume
    source.close()
    expected = ["RowChange", "RowChange", "TransactionEnd", "RowChange", "RowChange", "TransactionEnd"]
    assert kinds(records) == expected
    assert (resume["offset"], resume["borders"]) == (count, len(borders))


def test_check_names_what_is_missing(feed: Feed) -> None:
    now = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
    found = KAFKA.check(feed.setup(), lambda: now, in_use=False)
    assert [one.grade for one in found] == [Grade.OK, Grade.ERROR]
    feed.make(retention_ms="3600000").snapshot(1).send()
    found = KAFKA.check(feed.setup(), lambda: now, in_use=False)
    graded = {one.subject: one.grade for one in found}
    assert graded == {
        "checksums": Grade.OK, "topic": Grade.OK, "retention": Grade.WARNING, "position": Grade.OK,
    }  # fmt: skip
    assert "goes on at offset 0, 1 records behind the end" in found[-1].detail


def test_without_crc32c_check_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    from connectors.debezium.kafka import checking

    assert checking.checksums().ok
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert checking.checksums().grade is Grade.WARNING


def test_the_process_that_reads_ahead_ends_with_its_source_and_is_missed_when_it_dies(
    stack: KafkaStack, tmp_path: Path
) -> None:
    feed = Feed(stack, "ahead_of_all", tmp_path)
    count = feed.make().snapshot(1).commit(5, 200, 1).send()
    source = open_ahead(feed.setup(security={"user": None, "password": "sesame"}))
    reader = psutil.Process(source.pid)
    assert "sesame" not in f"{reader.cmdline()} {reader.environ()}"
    source.close()
    source.close()
    assert not reader.is_running()
    source = open_ahead(feed.setup())
    psutil.Process(source.pid).kill()
    with pytest.raises(SourceError, match=f"ended unasked .*{LOG}"):
        drain(source)
    source.close()
    assert feed.read(count)[1]["offset"] == count


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_a_broker_that_is_away_is_tried_again_later(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    setup = SourceSetup("away", {"bootstrap": f"127.0.0.1:{port}"}, ["public.t"], [], None, tmp_path, 100)
    with pytest.raises(SourceError, match="does not serve"):
        open_kafka(setup)
    # kafka-python leaves the socket of a bootstrap that failed to the collector.
    gc.collect()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "lacks `bootstrap`"),
        ({"bootstrap": "h:1", "routing": "by_key"}, "by_key is not supported"),
        ({"bootstrap": "h:1", "format": "avro"}, "needs a schema registry"),
        ({"bootstrap": "h:1", "security": {"user": "u"}}, "user without a password"),
        ({"bootstrap": "h:1", "security": {"ca": "/nowhere.pem"}}, "which is no file"),
        ({"bootstrap": "h:1", "speed": 3}, "cannot be understood"),
    ],
)
def test_wrong_settings_are_named(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        open_kafka(SourceSetup("wrong", options, ["public.t"], [], None, tmp_path, 100))
