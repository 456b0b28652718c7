"""Asks Debezium for a snapshot, through the topic that its connector looks for signals in.

A whole snapshot stops the stream, reads every table anew and sweeps what is gone; an incremental one reads the named
tables in chunks while the stream goes on. Nothing is written to the ERP's database for either.
"""

import uuid
from collections.abc import Sequence
from typing import Any

import msgspec
from kafka import KafkaProducer, errors

from connectors.debezium.kafka.cluster import admin_client, sentences
from connectors.debezium.kafka.settings import Options, client_settings, prefix_of
from engine.ports.source import SourceSetup


def ask_for_snapshot(setup: SourceSetup, options: Options, tables: Sequence[str], *, whole: bool) -> str:
    """Send the signal; returns its id. SourceError when the brokers do not take it."""
    number = f"arsync-{uuid.uuid4()}"
    value = {"id": number, "type": "execute-snapshot",
             "data": {"data-collections": list(tables), "type": "BLOCKING" if whole else "INCREMENTAL"}}  # fmt: skip
    with sentences(options):
        producer: Any = KafkaProducer(**client_settings(options, "arsync-signal"), acks="all")
        try:
            # Debezium takes a signal only under its own topic prefix as the key.
            sent = producer.send(options.signal_topic, msgspec.json.encode(value), prefix_of(setup.system).encode())
            sent.get(timeout=15)
        finally:
            producer.close(timeout=5)
    return number


def make_signal_topic(options: Options, replication_factor: int) -> bool:
    """Make the topic of signals; False when it is there. Debezium does not start without it."""
    with sentences(options):
        admin = admin_client(options)
        try:
            asked = {"num_partitions": 1, "replication_factor": replication_factor}
            admin.create_topics({options.signal_topic: asked})
        except errors.TopicAlreadyExistsError:
            return False
        finally:
            admin.close()
    return True
