"""A source that reads one system's topic. The entry point `kafka` opens it.

It belongs to no consumer group itself: which worker reads which system `connectors.debezium.kafka.group` decides, and
the engine's store fences. Where it stands is part of `resume`, which the engine commits together with the
effects; what is committed to Kafka is for monitoring only. It fetches when it is polled and no more than a batch
ahead, so a slow store slows the reading and nothing piles up.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import msgspec
from kafka import TopicPartition, errors

from connectors.debezium.envelope import decode, storable
from connectors.debezium.kafka.beginning import AGAIN, Mark, existing, where_to_go_on
from connectors.debezium.kafka.borders import Merge
from connectors.debezium.kafka.cluster import consumer, sentences
from connectors.debezium.kafka.progress import PROGRESS
from connectors.debezium.kafka.settings import Options, read_options
from connectors.debezium.kafka.signals import ask_for_snapshot
from engine.model.change import Record, RowChange, SnapshotMark, TransactionBegin, TransactionEnd, Unreadable
from engine.ports.errors import SourceRefused
from engine.ports.source import SourceBatch, SourceSetup

_SNAPSHOT: Final = (SnapshotMark.ROW, SnapshotMark.LAST)
Decode = Callable[[str, bytes | None, bytes | None], Record | None]


class KafkaSource:
    """One topic from a position on. Made by `open_kafka`."""

    def __init__(self, setup: SourceSetup, options: Options, mark: Mark) -> None:
        self._system = setup.system
        self._options = options
        self._max_batch = setup.max_batch
        self._mark = mark
        self._decode = decoder(options)
        apart = options.transactions is not None
        self._merge = Merge(mark.borders, snapshotting=mark.snapshotting) if apart else None
        self._part = TopicPartition(mark.topic, 0)
        with sentences(options):
            self._consumer = consumer(
                options, f"arsync-{setup.system}", max_poll_records=setup.max_batch,
                fetch_max_bytes=16 * 1024 * 1024, max_partition_fetch_bytes=8 * 1024 * 1024, fetch_max_wait_ms=100,
            )  # fmt: skip
            parts = {self._part: mark.offset}
            if options.transactions is not None:
                parts[TopicPartition(options.transactions, 0)] = mark.borders or 0
            self._consumer.assign(list(parts))
            for part, offset in parts.items():
                self._consumer.seek(part, offset)

    @property
    def epoch(self) -> str:
        """The topic's identity, and the offset at which reading began: `kafka:<topic id>@<offset>`."""
        return self._mark.epoch

    @property
    def exhausted(self) -> bool:
        """Never: an ERP goes on."""
        return False

    def poll(self, timeout: float) -> SourceBatch | None:
        """The next records, at most `max_batch`. A batch may be empty: then only `resume` has moved.

        Raises:
            SourceError: the brokers do not serve.
            SourceRefused: records are gone, or what comes cannot follow what was read.
        """
        with sentences(self._options):
            try:
                polled = self._consumer.poll(timeout_ms=int(timeout * 1000), max_records=self._max_batch)
            except (errors.OffsetOutOfRangeError, errors.LogTruncationError) as error:
                raise SourceRefused(
                    f"the topic {self._mark.topic} no longer holds offset {self._mark.offset}, which comes next: "
                    f"{error}",
                    AGAIN.format(system=self._system),
                ) from error
        if not polled and (self._merge is None or not self._merge.waiting):
            return None
        nothing = not polled
        records = self._read(polled.pop(self._part, ()))
        if self._merge is not None:
            for borders in polled.values():
                self._merge.take((message.offset, self._decoded(message)) for message in borders)
            records = list(self._merge.merge(records, drained=not polled and not records))
            if nothing and not records:
                return None
            self._mark = msgspec.structs.replace(
                self._mark, borders=self._merge.offset, snapshotting=self._merge.snapshotting
            )
        return SourceBatch([record for record in records if self._wanted(record)], self._mark.as_resume())

    def acknowledge(self) -> None:
        """The engine has committed: tell it to whoever watches the group."""
        PROGRESS.note(self._mark.topic, self._mark.offset)

    def close(self) -> None:
        """Leave the brokers; that they are away must not hide why."""
        with suppress(errors.KafkaError, OSError):
            self._consumer.close(timeout_ms=1000)

    def _read(self, messages: Any) -> list[Record]:
        if not messages:
            return []
        decoded = [record for message in messages if (record := self._decoded(message)) is not None]
        self._mark = msgspec.structs.replace(self._mark, offset=messages[-1].offset + 1)
        return decoded

    def _decoded(self, message: Any) -> Record | None:
        record = self._decode(message.topic, message.key, message.value)
        if isinstance(record, Unreadable):
            return msgspec.structs.replace(record, origin=f"{message.topic}@{message.offset}")
        return record

    def _wanted(self, record: Record | None) -> bool:
        """Whether the engine is to see it; keeps account of what decides that."""
        if record is None:
            return False
        if self._mark.awaiting:
            return self._until_snapshot(record)
        if isinstance(record, TransactionEnd):
            self._check_end(record)
            return record.tx != self._mark.passed
        if isinstance(record, RowChange):
            if not self._mark.begun:
                self._check_begin(record)
            return record.tx != self._mark.passed or record.snapshot in _SNAPSHOT
        return record.tx is None or record.tx != self._mark.passed

    def _until_snapshot(self, record: Record) -> bool:
        """Pass over what the coming snapshot holds; a transaction in the midst of which it is taken, to its end."""
        if isinstance(record, RowChange) and record.snapshot in _SNAPSHOT:
            self._mark = msgspec.structs.replace(self._mark, awaiting=False, begun=True)
            return True
        if isinstance(record, TransactionBegin):
            self._mark = msgspec.structs.replace(self._mark, passed=record.tx)
        elif isinstance(record, TransactionEnd) and record.tx == self._mark.passed:
            self._mark = msgspec.structs.replace(self._mark, passed=None)
        return False

    def _check_begin(self, row: RowChange) -> None:
        """The first row of all must be a snapshot's: otherwise everything before it is missing."""
        if row.snapshot not in _SNAPSHOT:
            raise SourceRefused(
                f"the topic {self._mark.topic} does not begin with a snapshot: its first row, of {row.table}, is a "
                "change, so what the ERP held before is not in it",
                AGAIN.format(system=self._system) + "; or set source.whole_log when the ERP was empty before it",
            )
        self._mark = msgspec.structs.replace(self._mark, begun=True)

    def _check_end(self, end: TransactionEnd) -> None:
        """A repeat has a lower position and a time that was seen; a log that was set back has a later time."""
        mark = self._mark
        if end.lsn < mark.commit and end.source_us > mark.source_us:
            raise SourceRefused(
                f"a transaction of system {self._system} stands at {end.lsn} in the ERP's log, before {mark.commit} "
                "which was read already, and is later by its time: the ERP was restored from a backup or moved",
                AGAIN.format(system=self._system),
            )
        self._mark = msgspec.structs.replace(
            mark, commit=max(mark.commit, end.lsn), source_us=max(mark.source_us, end.source_us)
        )


def decoder(options: Options) -> Decode:
    """What turns a message into a record, by the format of the topic."""
    if options.format == "json" or options.registry is None:
        return decode
    from connectors.debezium.kafka.avro import AvroReader, registry_schemas

    reader = AvroReader(registry_schemas(options.registry))

    def decode_avro(topic: str, key: bytes | None, value: bytes | None) -> Record | None:
        try:
            return decode(topic, reader.to_json(key), reader.to_json(value))
        except ValueError as error:
            reason = f"the message of {topic} cannot be read as Avro: {error}"
            return Unreadable(origin=storable(topic), reason=storable(reason), payload=storable(repr(value)))

    return decode_avro


def open_kafka(setup: SourceSetup) -> KafkaSource:
    """Look at the topic, then begin to read it.

    A new epoch waits for a snapshot that is not in the topic yet, and asks Debezium for it.
    Raises ConfigError, SourceRefused, or SourceError when the brokers do not serve now.
    """
    options = read_options(setup)
    topic = existing(setup, options, options.topic)
    mark = where_to_go_on(setup, options, topic)
    source = KafkaSource(setup, options, mark)
    if options.new_epoch:
        ask_for_snapshot(setup, options, setup.tables, whole=True)
    return source
