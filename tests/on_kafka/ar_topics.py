"""The AR side's topics on a real broker, a set of its own for each test."""

import itertools
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from tests.kafka_stack.stack import KafkaStack

_NUMBERS = itertools.count(1)


class Topics:
    """The three topics of one test, and what the AR side does with them."""

    def __init__(self, bootstrap: str, mark: str) -> None:
        self.bootstrap = bootstrap
        self.options: dict[str, Any] = {
            "bootstrap": bootstrap, "partitions": 2, "replication_factor": 1,
            **{name: f"ar.{name}.{mark}" for name in ("intents", "events", "documents")},
        }  # fmt: skip

    def leave(self, *values: bytes | None, key: bytes | None = None) -> None:
        """Leave messages as the AR side does."""
        producer = KafkaProducer(bootstrap_servers=self.bootstrap, acks="all")
        for value in values:
            producer.send(self.options["intents"], value=value, key=key)
        producer.flush(timeout=30)
        producer.close()

    def read(self, name: str) -> list[Any]:
        """Everything that stands in a topic now, each partition in its order."""
        topic = self.options[name]
        reader = KafkaConsumer(
            bootstrap_servers=self.bootstrap, auto_offset_reset="earliest", enable_auto_commit=False
        )
        parts = [TopicPartition(topic, number) for number in reader.partitions_for_topic(topic) or ()]
        ends = reader.end_offsets(parts)
        reader.assign(parts)
        reader.seek_to_beginning(*parts)
        found: list[Any] = []
        while any(reader.position(part) < end for part, end in ends.items()):
            for records in reader.poll(timeout_ms=500).values():
                found += records
        reader.close()
        return found


def fresh_topics(stack: KafkaStack) -> Topics:
    """Topics that no other test uses; they are made when the feed is opened."""
    return Topics(stack.bootstrap, f"t{next(_NUMBERS)}")
