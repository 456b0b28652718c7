"""Puts the times of a run together: of each change and each intent, how long it took to which station.

Every time is of one machine's clock. What each station's time is, stands in docs/benchmarks.md.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import psycopg
from kafka import KafkaConsumer, TopicPartition

from benchmarks.latency.asking import Asked
from benchmarks.latency.target import Sent
from benchmarks.latency.traced import Mark
from benchmarks.live.erp import LiveErp

Samples = dict[str, list[float]]
"""By station, milliseconds."""
_COMMITS = """
    SELECT batch, max(extract(epoch FROM pg_xact_commit_timestamp(xmin)))::float8 FROM journal WHERE system = %s
    GROUP BY batch"""
_STEPS = """
    SELECT DISTINCT t.tx, j.batch FROM transition t JOIN journal j ON j.stream = t.stream AND j.seq = t.entry
    WHERE t.system = %s AND t.tx IS NOT NULL"""
_INTENTS = """
    SELECT i.id, c.key, (extract(epoch FROM i.received_at) * 1000000)::bigint,
           (extract(epoch FROM c.created_at) * 1000000)::bigint, extract(epoch FROM c.sent_at)::float8
    FROM intent i JOIN command c ON c.system = i.system AND c.intent = i.id AND c.current WHERE i.system = %s"""


class Led(msgspec.Struct, frozen=True):
    """What an intent led to: its command's `key`; when it was `received` and when its command was `decided`, both as
    their units of work say it (microseconds since 1970); when a dispatcher had `claimed` it (seconds)."""

    key: str
    received: int
    decided: int
    claimed: float | None


class InTopic(msgspec.Struct):
    """A transaction in the topic, in seconds since 1970: when Debezium had read its last row, when the broker had
    that row, and when it had the transaction's end."""

    read: float = 0.0
    row: float = 0.0
    end: float = 0.0


Topic = Mapping[str, InTopic]
"""By transaction."""


class _Origin(msgspec.Struct):
    txId: int | None = None  # noqa: N815 - Debezium's name


class _Message(msgspec.Struct):
    op: str | None = None
    source: _Origin | None = None
    ts_us: int | None = None
    status: str | None = None
    id: str | None = None


class Store:
    """What the store and the traces tell of a run that is over."""

    def __init__(self, dsn: str, system: str, trace: Path, sent: Path) -> None:
        self.marks = {mark.batch: mark for mark in _lines(trace, Mark) if mark.system == system}
        self.sent = {one.key: one.at for one in _lines(sent, Sent)}
        with psycopg.connect(dsn, autocommit=True) as store:
            self.commits: dict[int, float] = dict(store.execute(_COMMITS, (system,)).fetchall())
            self.steps: list[tuple[str, int]] = [(str(tx), int(b)) for tx, b in store.execute(_STEPS, (system,))]
            self.intents = {str(row[0]): Led(*row[1:]) for row in store.execute(_INTENTS, (system,))}
        # Units that began in the same microsecond would be one here; there are none.
        self.by_time = {mark.now: mark for mark in self.marks.values()}

    def busy(self, between: tuple[float, float]) -> float:
        """The share of that time for which the reader was at work on a batch."""
        ends: dict[float, float] = {}
        for mark in self.marks.values():
            if mark.polled is not None and between[0] <= mark.polled <= between[1]:
                ends[mark.polled] = max(ends.get(mark.polled, 0.0), self.commits.get(mark.batch, mark.flushed))
        worked = sum(end - polled for polled, end in ends.items())
        return round(worked / (between[1] - between[0]), 2)


def _lines(file: Path, kind: Any) -> list[Any]:
    decode = msgspec.json.Decoder(kind).decode
    return [decode(line) for line in file.read_bytes().splitlines()] if file.exists() else []


def read_topic(bootstrap: str, topic: str) -> dict[str, InTopic]:
    """By transaction, its times in a topic whose records carry the broker's time."""
    decode = msgspec.json.Decoder(_Message).decode
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    part = TopicPartition(topic, 0)
    consumer.assign([part])
    end = consumer.end_offsets([part])[part]
    consumer.seek(part, 0)
    found: dict[str, InTopic] = {}
    while consumer.position(part) < end:
        for record in consumer.poll(timeout_ms=1000, max_records=5_000).get(part, ()):
            message = decode(record.value) if record.value else _Message()
            if message.status == "END" and message.id is not None:
                one = found.setdefault(message.id.partition(":")[0], InTopic())
                # What comes again comes later.
                one.end = one.end or record.timestamp / 1e3
            elif message.source is not None and message.source.txId is not None and message.ts_us is not None:
                one = found.setdefault(str(message.source.txId), InTopic())
                if not one.end:
                    one.read, one.row = message.ts_us / 1e6, record.timestamp / 1e3
    consumer.close()
    return found


def changes(store: Store, erp: LiveErp, topic: Topic | None, between: tuple[float, float]) -> Samples:
    """From the ERP's commit to ours, of every transaction of that time which led an invoice's life on.

    Without a `topic` Debezium's station reaches to where the engine has the batch.
    """
    began = erp.commit_times(sorted({tx for tx, _ in store.steps}))
    samples: Samples = {}
    for tx, batch in store.steps:
        start, mark, end = began.get(tx), store.marks.get(batch), store.commits.get(batch)
        if start is None or mark is None or end is None or not between[0] <= start <= between[1]:
            continue
        stations, ours = _on_the_way(tx, start, mark, end, topic)
        _add(samples, {"total": end - start, "own": end - ours, **stations} if stations else {})
    return samples


def _on_the_way(tx: str, start: float, mark: Mark, end: float, topic: Topic | None) -> tuple[dict[str, float], float]:
    """Seconds at each station between two commits, and when the change was arsync's; nothing where the topic does not
    hold the transaction."""
    polled = mark.polled or mark.asked
    inside = {"decide": mark.decided - polled, "commit": end - mark.decided}
    if topic is None:
        return {"debezium": polled - start, **inside}, polled
    seen = topic.get(tx)
    if seen is None or not seen.end or not seen.row:
        return {}, polled
    outside = {"debezium": seen.read - start, "broker": seen.row - seen.read, "settle": seen.end - seen.row}
    return {**outside, "poll": polled - seen.end, **inside}, seen.end


def from_topic(store: Store, topic: Topic, between: tuple[float, float]) -> Samples:
    """From where the broker had a transaction's end to our commit, of transactions which led an invoice's life on."""
    samples: Samples = {}
    for tx, batch in store.steps:
        seen, mark, end = topic.get(tx), store.marks.get(batch), store.commits.get(batch)
        if seen is None or mark is None or end is None or not between[0] <= seen.end <= between[1]:
            continue
        polled = mark.polled or mark.asked
        _add(samples, {"own": end - seen.end, "poll": polled - seen.end, "decide": mark.decided - polled,
                       "commit": end - mark.decided})  # fmt: skip
    return samples


def at_once(store: Store, asked: Iterable[Asked], between: tuple[float, float]) -> Samples:
    """From an intent's submission to its first byte to the ERP, of those that could be sent at once."""
    samples: Samples = {}
    for one in asked:
        found = store.intents.get(one.id)
        if one.tx is not None or found is None or not between[0] <= one.at <= between[1]:
            continue
        mark, first = store.by_time.get(found.received), store.sent.get(found.key)
        taken = store.commits.get(mark.batch) if mark is not None else None
        if taken is None or first is None or found.claimed is None:
            continue
        _add(samples, {"total": first - one.at, "intake": taken - one.at, "wait": found.claimed - taken,
                       "claim": first - found.claimed})  # fmt: skip
    return samples


def awaited(
    store: Store, erp: LiveErp, asked: Sequence[Asked], topic: Topic | None, between: tuple[float, float]
) -> Samples:
    """From the ERP's commit of a customer to the first byte of the command whose intent waited for it.

    The command is there at the end of the station `commit`.
    """
    began = erp.commit_times([one.tx for one in asked if one.tx])
    samples: Samples = {}
    for one in asked:
        found, start = store.intents.get(one.id), began.get(one.tx or "")
        if one.tx is None or found is None or start is None or not between[0] <= start <= between[1]:
            continue
        mark, first = store.by_time.get(found.decided), store.sent.get(found.key)
        planned = store.commits.get(mark.batch) if mark is not None else None
        if mark is None or planned is None or first is None or found.claimed is None:
            continue
        stations, ours = _on_the_way(one.tx, start, mark, planned, topic)
        times = {"total": first - start, "command": planned - start, "own": first - ours, **stations,
                 "wait": found.claimed - planned, "claim": first - found.claimed}  # fmt: skip
        _add(samples, times if stations else {})
    return samples


def percentiles(samples: Samples) -> dict[str, dict[str, float]]:
    """Of each station p50, p95 and p99 in milliseconds, and of how many."""
    return {name: {**{f"p{p}": _percentile(sorted(held), p) for p in (50, 95, 99)}, "n": len(held)}
            for name, held in samples.items()}  # fmt: skip


def _percentile(ordered: Sequence[float], percent: int) -> float:
    return round(ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)], 1)


def _add(samples: Samples, seconds: Mapping[str, float]) -> None:
    for name, held in seconds.items():
        samples.setdefault(name, []).append(held * 1e3)
