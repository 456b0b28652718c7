"""Decides where in a topic reading goes on: behind what the engine has committed, at a snapshot, or not at all.

`connectors.debezium.kafka.source` asks at each opening, `connectors.debezium.kafka.checking` for `arsync check`. The
promise: what the brokers have already thrown away, and the engine has not seen, is never passed over in silence.
"""

import msgspec

from connectors.debezium.kafka.cluster import Topic, find_topic
from connectors.debezium.kafka.settings import Options
from engine.ports.errors import SourceRefused
from engine.ports.source import Resume, SourceSetup

AGAIN = "run `arsync run --system {system} --new-epoch` (it asks for a snapshot), then `arsync reconcile {system}`"


class Mark(msgspec.Struct, frozen=True):
    """How far one system was read; the source's `resume`, as JSON.

    `offset` is the next one to read, in `topic`'s only partition; `borders` the same in the topic of transaction
    borders. `born` is the offset at which this epoch began. While `awaiting`, everything before the next snapshot is
    passed over, and `passed` names the transaction that was under way in it. `commit` and `source_us` are end and
    time of the furthest transaction. `snapshotting`, with borders apart: the last row was a snapshot's, of which more
    was to come.
    """

    topic: str
    id: str
    offset: int
    born: int
    borders: int | None = None
    awaiting: bool = False
    passed: str | None = None
    begun: bool = False
    commit: int = 0
    source_us: int = 0
    snapshotting: bool = False

    @property
    def epoch(self) -> str:
        """The generation of the log: the topic's identity and where in it reading began."""
        return f"kafka:{self.id}@{self.born}"

    def as_resume(self) -> Resume:
        """As the engine stores it."""
        return dict(msgspec.to_builtins(self))


def existing(setup: SourceSetup, options: Options, name: str) -> Topic:
    """The topic, fit to be read. SourceRefused when it is not there or would not keep the order or every record."""
    topic = find_topic(options, name)
    if topic is None:
        # Brokers do not say that there is one to a login without the right to describe it.
        whose = " that this login may see" if options.security.user or options.security.certificate else ""
        raise SourceRefused(
            f"there is no topic {name} at {options.bootstrap}{whose}",
            f"set the capture up: arsync connect-config {setup.system} --apply URL; or correct source.topic",
        )
    if topic.partitions != 1:
        raise SourceRefused(
            f"the topic {name} has {topic.partitions} partitions: changes of one transaction come in any order",
            "make it anew with one partition; a worker more is of use for a further system, not for a partition",
        )
    if topic.compacted:
        raise SourceRefused(
            f"the topic {name} is compacted (cleanup.policy={topic.settings['cleanup.policy']}): records of "
            "transactions vanish from its middle",
            f"set cleanup.policy=delete, then {AGAIN.format(system=setup.system)}",
        )
    return topic


def where_to_go_on(setup: SourceSetup, options: Options, topic: Topic) -> Mark:
    """Where reading begins. SourceRefused when what comes next is gone."""
    again = AGAIN.format(system=setup.system)
    if options.new_epoch:
        return Mark(topic.name, topic.id, topic.end, topic.end, borders=_border_end(options), awaiting=True)
    if setup.resume is None:
        if topic.begin > 0 and options.whole_log:
            raise SourceRefused(
                f"the topic {topic.name} begins at offset {topic.begin}: its first changes are gone", again
            )
        return Mark(topic.name, topic.id, topic.begin, topic.begin, borders=_border_begin(options),
                    begun=options.whole_log)  # fmt: skip
    try:
        mark = msgspec.convert(setup.resume, Mark)
    except msgspec.ValidationError:
        raise SourceRefused(
            f"system {setup.system} was read from another kind of source before; its positions say nothing of the "
            f"topic {topic.name}",
            f"to go on with Kafka, {again}",
        ) from None
    if (mark.topic, mark.id) != (topic.name, topic.id):
        raise SourceRefused(
            f"the topic {topic.name} ({topic.id}) is not the one that was read: that was {mark.topic} ({mark.id}); "
            "it was made anew, and what stood in it is gone",
            again,
        )
    if mark.offset < topic.begin:
        raise SourceRefused(
            f"the topic {topic.name} begins at offset {topic.begin} now, but {mark.offset} was the next to read: "
            f"{topic.begin - mark.offset} records were thrown away unread (retention)",
            f"raise its retention; {again}",
        )
    if mark.offset > topic.end:
        raise SourceRefused(
            f"the topic {topic.name} ends at offset {topic.end}, but it was read up to {mark.offset}: the brokers "
            "have lost records, or were restored from a backup",
            again,
        )
    return mark


def _border_end(options: Options) -> int | None:
    topic = find_topic(options, options.transactions) if options.transactions is not None else None
    return topic.end if topic is not None else (None if options.transactions is None else 0)


def _border_begin(options: Options) -> int | None:
    topic = find_topic(options, options.transactions) if options.transactions is not None else None
    return topic.begin if topic is not None else (None if options.transactions is None else 0)
