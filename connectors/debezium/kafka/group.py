"""One worker's membership in the consumer group among whose members systems are shared.

`engine.app.worker` asks it which systems this process owns. The member reads nothing: its partitions are paused, each
owned system is read by a source of its own. So a rebalance never waits for a batch, and what was under way is settled
where it counts: the next owner raises the fence in the store, and the last one's commit fails.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from kafka import ConsumerRebalanceListener, TopicPartition, errors
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.base import MemberState
from kafka.structs import OffsetAndMetadata

from connectors.debezium.kafka.cluster import consumer, sentences
from connectors.debezium.kafka.progress import PROGRESS
from connectors.debezium.kafka.settings import Options, read_options
from engine.ports.errors import ConfigError
from engine.ports.source import SourceSetup

_JOINING: Final = 1.0
"""Seconds for which a member that is joining is polled at least: kafka-python drops the answer to its joining when
it comes between two polls, and joins once more, which has all others join once more."""


class _Pausing(ConsumerRebalanceListener):  # type: ignore[misc]
    """Keeps the member from fetching what only its sources read."""

    def __init__(self, member: Any) -> None:
        self._member = member

    def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        self._member.pause(*assigned)

    def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        """Nothing to settle here: see `owned`."""


class Group:
    """A member of the group. Made by `join`; used by one thread."""

    def __init__(self, systems: Mapping[str, str], options: Options) -> None:
        """`systems` by topic."""
        self._systems = dict(systems)
        self._options = options
        self._told: dict[TopicPartition, int] = {}
        self._asked = time.monotonic()
        with sentences(options):
            self._member = consumer(
                options,
                "arsync-worker",
                group_id=options.group,
                # Nothing is fetched, so it does not matter where; it must only not be an error.
                auto_offset_reset="latest",
                group_instance_id=options.instance,
                session_timeout_ms=int(options.session_seconds * 1000),
                heartbeat_interval_ms=int(options.session_seconds * 1000 / 5),
                partition_assignment_strategy=[CooperativeStickyAssignor],
                # The member is polled all the time, also while a source waits for the store.
                max_poll_interval_ms=max(60_000, int(options.session_seconds * 2000)),
                # A topic that is made later is to be noticed.
                metadata_max_age_ms=10_000,
            )
            try:
                self._member.subscribe(list(self._systems), listener=_Pausing(self._member))
                # Asked once more before the first joining: who leads the group shares out what it knows of, and has
                # all join again as soon as it hears of another topic.
                self._member.topics()
            except BaseException:
                # Joining is tried again and again: nobody else could close this one.
                self.close()
                raise

    def owned(self, timeout: float) -> frozenset[str] | None:
        """The systems that are this worker's now; waits up to `timeout` seconds, a little longer while it joins.

        None while it joins, for the first time or again: what it holds of the last time may be another one's by now.

        Raises:
            SourceError: the brokers do not serve; nothing is owned until they do.
        """
        with sentences(self._options):
            self._member.poll(timeout_ms=int(timeout * 1000))
            if self._member.group_metadata().state is not MemberState.STABLE:
                # At once: the answer to a joining that has just begun is on its way.
                self._member.poll(timeout_ms=int(_JOINING * 1000))
            if self._member.group_metadata().state is not MemberState.STABLE:
                # Nothing is told meanwhile: the broker answers a connection in order, and holds a joining until all
                # others have joined. Whoever asked for its offsets now would wait for them, and not be polled.
                return None
            parts = self._member.assignment()
            self._tell(parts)
        return frozenset(self._systems[part.topic] for part in parts if part.partition == 0)

    def close(self) -> None:
        """Leave the group, so that others take over at once. Brokers that are away find it out by themselves."""
        with suppress(errors.KafkaError, OSError):
            self._member.close(autocommit=False, timeout_ms=5000)

    def _tell(self, parts: set[TopicPartition]) -> None:
        """Commit what has moved. A member with a name commits from time to time in any case: that its name was taken
        by another one it would not be told otherwise."""
        moved = PROGRESS.take()
        told = {part: moved[part.topic] for part in parts if part.topic in moved}
        if self._options.instance is not None and time.monotonic() - self._asked > self._options.session_seconds / 3:
            self._asked = time.monotonic()
            told = {part: self._known(part) for part in parts} | told
        self._told |= told
        if told:
            self._member.commit_async({part: OffsetAndMetadata(offset, "", -1) for part, offset in told.items()})

    def _known(self, part: TopicPartition) -> int:
        """How far Kafka was told last, by us or by whoever had it before."""
        if part not in self._told:
            self._told[part] = self._member.committed(part) or 0
        return self._told[part]


def join(setups: Sequence[SourceSetup]) -> Group:
    """Join the group that these systems name. ConfigError when they name different ones."""
    read = [read_options(setup) for setup in setups]
    first = read[0]
    for setup, options in zip(setups, read, strict=True):
        differing = [
            name for name in ("bootstrap", "group", "instance", "session_seconds", "security")
            if getattr(options, name) != getattr(first, name)
        ]  # fmt: skip
        if differing:
            raise ConfigError(
                f"systems {setups[0].system} and {setup.system} cannot be shared by one worker: "
                f"their source.{differing[0]} differs",
                "give both the same, or run each with a worker of its own: arsync run --system NAME",
            )
    topics = {options.topic: setup.system for setup, options in zip(setups, read, strict=True)}
    if len(topics) < len(setups):
        raise ConfigError("two systems name the same source.topic", "give each system a topic of its own")
    return Group(topics, first)
