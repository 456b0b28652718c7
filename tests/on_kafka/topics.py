"""Topics and messages of tests: made, filled and cut on a real broker."""

from collections.abc import Iterable
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient

Message = tuple[str, bytes | None, bytes | None]


def make(bootstrap: str, name: str, *, partitions: int = 1, **configs: str) -> None:
    """A new topic."""
    admin: Any = KafkaAdminClient(bootstrap_servers=bootstrap)
    asked = {"num_partitions": partitions, "replication_factor": 1,
             "configs": {key.replace("_", "."): value for key, value in configs.items()}}  # fmt: skip
    admin.create_topics({name: asked}, wait_for_metadata=True)
    admin.close()


def remove(bootstrap: str, name: str) -> None:
    """Take a topic away."""
    admin: Any = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.delete_topics([name])
    admin.close()


def cut(bootstrap: str, name: str, before: int) -> None:
    """Throw records away, as retention does."""
    admin: Any = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.delete_records({TopicPartition(name, 0): before})
    admin.close()


def send(bootstrap: str, name: str, messages: Iterable[tuple[bytes | None, bytes | None]]) -> None:
    """Append messages (key, value), in order."""
    producer: Any = KafkaProducer(bootstrap_servers=bootstrap, acks="all", linger_ms=5)
    for key, value in messages:
        producer.send(name, value, key, partition=0)
    producer.flush()
    producer.close()


def read(bootstrap: str, name: str) -> list[tuple[bytes | None, bytes | None]]:
    """Every message (key, value) that is there now, in order."""
    consumer: Any = KafkaConsumer(bootstrap_servers=bootstrap)
    part, found = TopicPartition(name, 0), []
    try:
        consumer.assign([part])
        consumer.seek(part, 0)
        until = int(consumer.end_offsets([part])[part])
        while consumer.position(part) < until:
            found += [(record.key, record.value) for record in consumer.poll(1000).get(part, ())]
        return found
    finally:
        consumer.close()
