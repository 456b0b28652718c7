"""Fills one topic with a workload: a snapshot and a few transactions first, the measured part behind them."""

import time
from collections.abc import Iterable

import msgspec
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from benchmarks.workload.expected import Expected
from benchmarks.workload.stream import Message, Workload, rows_of

TOPIC = "tryton"
WARM_ROWS = 200
"""Changes behind the snapshot that are read before the measured part, so that the snapshot is over."""


class Filled(msgspec.Struct, frozen=True):
    """The topic as it stands. Offsets from `begin` to `end` are measured; `events` are the row changes in between.

    `expected` is what every reader must arrive at.
    """

    bootstrap: str
    topic: str
    begin: int
    end: int
    events: int
    size: int
    expected: Expected

    @property
    def records(self) -> int:
        """Everything in the measured part, transactions' borders among it."""
        return self.end - self.begin


class Filler:
    """Writes a workload into a topic of its own, in parts."""

    def __init__(self, bootstrap: str, seed: int, topic: str = TOPIC) -> None:
        self._bootstrap, self._topic = bootstrap, topic
        self._workload = Workload(seed)
        admin = KafkaAdminClient(bootstrap_servers=bootstrap)
        settings = {"retention.ms": "-1", "retention.bytes": "-1"}
        admin.create_topics([NewTopic(topic, 1, 1, topic_configs=settings)])
        admin.close()

    def warm_up(self) -> int:
        """Write what is read before anything is measured; returns the topic's end."""
        self._send(self._workload.snapshot())
        self._send(rows_of(self._workload, WARM_ROWS))
        return end_of(self._bootstrap, self._topic)

    def fill(self, rows: int) -> Filled:
        """Write the measured part: at least this many row changes."""
        begin = end_of(self._bootstrap, self._topic)
        events, size = self._send(rows_of(self._workload, rows))
        return Filled(
            self._bootstrap,
            self._topic,
            begin,
            end_of(self._bootstrap, self._topic),
            events,
            size,
            Expected.of(self._workload),
        )

    def _send(self, messages: Iterable[Message]) -> tuple[int, int]:
        producer = KafkaProducer(
            bootstrap_servers=self._bootstrap, acks="all", linger_ms=20, batch_size=512 * 1024,
            compression_type="lz4", max_in_flight_requests_per_connection=1,
        )  # fmt: skip
        events = size = 0
        for topic, key, value in messages:
            producer.send(self._topic, key=key, value=value, partition=0)
            events += not topic.endswith(".transaction")
            size += len(key) + len(value)
        producer.flush()
        producer.close()
        return events, size


def end_of(bootstrap: str, topic: str = TOPIC) -> int:
    """The offset behind the topic's last record."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap)
    try:
        part = TopicPartition(topic, 0)
        for _ in range(50):
            ends = consumer.end_offsets([part])
            if ends.get(part) is not None:
                return int(ends[part])
            time.sleep(0.1)
        raise RuntimeError(f"the broker at {bootstrap} does not say where the topic {topic} ends")
    finally:
        consumer.close()
