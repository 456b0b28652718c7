"""Looks at all that a source on Kafka needs: brokers, topic, position, capture. Changes nothing.

The same questions stand before each opening; here they are asked to the end, also after one that went wrong.
"""

import importlib.util
from typing import Final

from connectors.debezium.kafka.beginning import existing, where_to_go_on
from connectors.debezium.kafka.cluster import Topic
from connectors.debezium.kafka.rest import compare
from connectors.debezium.kafka.settings import Options, read_options
from engine.ports.errors import ConnectorError
from engine.ports.finding import Finding
from engine.ports.source import SourceSetup

_DAY: Final = 86_400_000


def check(setup: SourceSetup) -> list[Finding]:
    """Every point; what cannot be asked ends it."""
    found = [checksums()]
    try:
        options = read_options(setup)
        topic = existing(setup, options, options.topic)
        found.append(Finding.well("topic", f"{topic.name} at {options.bootstrap}, one partition, not compacted"))
        if options.transactions is not None:
            borders = existing(setup, options, options.transactions)
            found.append(Finding.well("topic of transactions", f"{borders.name}, one partition"))
        found.append(_retention(topic))
        found.append(_position(setup, options, topic))
    except ConnectorError as error:
        found.append(Finding.of("source", error))
    return found + compare(setup)


def checksums() -> Finding:
    """kafka-python computes checksums in Python where no extension does: fourteen times slower, measured."""
    if importlib.util.find_spec("crc32c") is not None:
        return Finding.well("checksums", "computed by the extension crc32c")
    return Finding.warning(
        "checksums",
        "the extension crc32c is missing: reading from Kafka is about fourteen times slower than it could be",
        'install it: pip install "kafka-python[crc32c]"',
    )


def _retention(topic: Topic) -> Finding:
    """How long this worker may be away before records are thrown away unread."""
    kept = int(topic.settings.get("retention.ms", "-1"))
    octets = int(topic.settings.get("retention.bytes", "-1"))
    if octets >= 0:
        return Finding.warning(
            "retention", f"{topic.name} keeps {octets} bytes, however fast they come",
            f"bound it by time: retention.bytes=-1 and retention.ms for the topic {topic.name}",
        )  # fmt: skip
    if 0 <= kept < 3 * _DAY:
        return Finding.warning(
            "retention", f"{topic.name} keeps records for {kept / 3_600_000:.0f} hours: a longer stop loses them",
            f"set retention.ms of the topic {topic.name} to a week",
        )  # fmt: skip
    return Finding.well("retention", "without end" if kept < 0 else f"{kept / _DAY:.0f} days")


def _position(setup: SourceSetup, options: Options, topic: Topic) -> Finding:
    mark = where_to_go_on(setup, options, topic)
    if mark.awaiting:
        return Finding.well("position", f"waits for a snapshot after offset {mark.born}")
    behind = topic.end - mark.offset
    return Finding.well("position", f"goes on at offset {mark.offset}, {behind} records behind the end")
