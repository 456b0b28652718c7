"""The stack of the tests itself: it serves, survives being killed, and leaves nothing behind."""

import os
from pathlib import Path

import httpx
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient

from tests.kafka_stack.stack import kafka_stack, require_stack

pytestmark = pytest.mark.live


def test_it_serves_survives_a_kill_and_leaves_nothing(tmp_path: Path) -> None:
    require_stack(connect=True)
    with kafka_stack(tmp_path) as stack:
        assert stack.broker is not None
        admin = KafkaAdminClient(bootstrap_servers=stack.bootstrap)
        admin.create_topics({"words": {"num_partitions": 1, "replication_factor": 1}})
        admin.close()
        producer = KafkaProducer(bootstrap_servers=stack.bootstrap, acks="all")
        producer.send("words", b"one")
        producer.flush()
        producer.close()
        stack.broker.kill()
        stack.broker.start()
        consumer = KafkaConsumer(bootstrap_servers=stack.bootstrap)
        part = TopicPartition("words", 0)
        consumer.assign([part])
        consumer.seek(part, 0)
        read = [record.value for records in consumer.poll(10_000).values() for record in records]
        consumer.close()
        assert read == [b"one"]
        plugins = httpx.get(f"{stack.connect.url}/connector-plugins", timeout=30).json()
        assert "io.debezium.connector.postgresql.PostgresConnector" in {one["class"] for one in plugins}
        pids = [stack.broker.pid, stack.connect.pid]
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
