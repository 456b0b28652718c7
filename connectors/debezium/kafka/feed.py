"""The AR side's topics: intents in; events and documents out. The entry point `kafka` of `arsync.feeds` opens it.

It stands beside the source because both are clients of one Kafka with the same logins. It remembers nothing: how far
was read and published stands in the engine's store. Messages that were sent and not acknowledged are sent again by
the next one, with the same ids.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import structlog
from kafka import KafkaProducer, TopicPartition, errors

from connectors.debezium.kafka.cluster import consumer
from connectors.debezium.kafka.feed_settings import EXAMPLE, FeedOptions, read_feed_options, unavailable
from connectors.debezium.kafka.feed_topics import ensure_topics, look
from connectors.debezium.kafka.settings import client_settings
from engine.ports.errors import ConnectorError
from engine.ports.feed import Channel, Incoming, Outgoing
from engine.ports.finding import Finding

log = structlog.get_logger()
_FLUSH_SECONDS: Final = 60.0
_LOOK_FOR_PARTITIONS: Final = 30.0
_MOST_BYTES: Final = 8 * 1024 * 1024


class KafkaFeed:
    """Open clients of the three topics."""

    def __init__(self, options: FeedOptions) -> None:
        self._options = options
        self._topics = {Channel.EVENTS: options.events, Channel.DOCUMENTS: options.documents}
        self._producer = KafkaProducer(
            **client_settings(options, "arsync-ar"), acks="all", enable_idempotence=True, compression_type="lz4",
            linger_ms=5, max_request_size=_MOST_BYTES, allow_auto_create_topics=False,
            delivery_timeout_ms=int(_FLUSH_SECONDS * 1000) - 5_000,
        )  # fmt: skip
        self._consumer = consumer(options, "arsync-ar", max_poll_records=500, fetch_max_wait_ms=100)
        self._next: dict[str, int] = {}
        self._looked = 0.0

    def publish(self, messages: Sequence[Outgoing]) -> None:
        """Send in order; returns when every in-sync replica has all of them."""
        with unavailable(self._options):
            sent = [self._send(message) for message in messages]
            self._producer.flush(timeout=_FLUSH_SECONDS)
            for future in sent:
                future.get(timeout=0)

    def _send(self, message: Outgoing) -> Any:
        headers = [("id", message.id.encode()), ("kind", message.kind.encode())]
        return self._producer.send(
            self._topics[message.channel], key=message.key.encode(), value=message.value, headers=headers
        )

    def seek(self, positions: Mapping[str, int]) -> list[str]:
        """Go to the next message of every partition."""
        self._next = dict(positions)
        with unavailable(self._options):
            return self._assign()

    def poll(self, timeout: float) -> Sequence[Incoming]:
        """The next messages, by partition."""
        with unavailable(self._options):
            if time.monotonic() - self._looked > _LOOK_FOR_PARTITIONS:
                for lost in self._assign():
                    log.error("messages of the AR side are gone", detail=lost)
            polled = self._consumer.poll(timeout_ms=int(timeout * 1000))
        found: list[Incoming] = []
        for part, records in polled.items():
            stream = f"{part.topic}/{part.partition}"
            found += [Incoming(stream, record.offset, record.value) for record in records]
            if records:
                self._next[stream] = records[-1].offset + 1
        return found

    def _assign(self) -> list[str]:
        """Read all partitions, new ones too; a sentence for each of which messages are gone."""
        self._looked = time.monotonic()
        topic = self._options.intents
        numbers = self._consumer.partitions_for_topic(topic) or set()
        parts = [TopicPartition(topic, number) for number in sorted(numbers)]
        if set(parts) == self._consumer.assignment():
            return []
        begins, ends = self._consumer.beginning_offsets(parts), self._consumer.end_offsets(parts)
        self._consumer.assign(parts)
        lost = []
        for part in parts:
            stream = f"{part.topic}/{part.partition}"
            wanted = self._next.get(stream, begins[part])
            if not begins[part] <= wanted <= ends[part]:
                lost.append(
                    f"{stream}: the next message was {wanted}, the topic holds {begins[part]} to {ends[part]}; it "
                    "was made anew, or its retention is shorter than arsync was away; the AR side should submit "
                    "again what it does not find"
                )
                # An intent that is read once more changes nothing.
                wanted = begins[part]
            self._consumer.seek(part, wanted)
        return lost

    def close(self) -> None:
        """Leave the brokers; what was not acknowledged is sent again by the next one."""
        self._consumer.close(timeout_ms=1000)
        try:
            self._producer.close(timeout=1)
        except errors.KafkaError:
            # It could not flush, and gave up before it had ended its thread: that would go on sending what the next
            # one sends too, and might come after it.
            sender = self._producer._sender  # noqa: SLF001 - nothing public ends it
            sender.force_close()
            sender.join(5)


class KafkaFeedKind:
    """What the entry point holds."""

    example = EXAMPLE

    def open(self, options: Mapping[str, Any], folder: Path) -> KafkaFeed:
        """Connect, and make the topics that are missing where that is allowed."""
        read = read_feed_options(options, folder)
        ensure_topics(read)
        with unavailable(read):
            return KafkaFeed(read)

    def check(self, options: Mapping[str, Any], folder: Path) -> list[Finding]:
        """Brokers, login and topics."""
        try:
            return look(read_feed_options(options, folder))
        except ConnectorError as error:
            return [Finding.of("feed", error)]


FEED = KafkaFeedKind()
