"""Writes a workload's messages into a topic at a rate, in a process of its own: what a fast Debezium would bring.

`Pacer` starts it: `python -m benchmarks.latency.pacing TASK`. It writes snapshot and warm-up at once and answers with
an `Expected`; after a line on its standard input it keeps the rate, and answers with a `Paced`. Messages are made
before that, for making them takes longer than a rate may leave.
"""

import sys
import time
from typing import Any

import msgspec
from kafka import KafkaProducer

from benchmarks.live.program import Program, say
from benchmarks.workload.expected import Expected
from benchmarks.workload.stream import Message, Workload


class Task(msgspec.Struct, frozen=True):
    """`warm` row changes at once, then `events` more, `rate` a second; both a few more, to a transaction's end."""

    bootstrap: str
    topic: str
    seed: int
    warm: int
    events: int
    rate: float


class Paced(msgspec.Struct, frozen=True):
    """What was written, and what it leads to. `behind` is by how many seconds it was late at the worst."""

    events: int
    seconds: float
    behind: float
    expected: Expected


class Pacer(Program):
    """The process that writes, for the time of a block."""

    def __init__(self, task: Task) -> None:
        super().__init__("benchmarks.latency.pacing", msgspec.json.encode(task).decode())

    def await_warm(self) -> Expected:
        """Wait until the warm-up is in the topic and everything else is made; gives what the warm-up leads to."""
        return msgspec.json.decode(self.answer(), type=Expected)

    def keep_rate(self) -> Paced:
        """Write the rest at its rate."""
        self.tell(b"")
        return msgspec.json.decode(self.answer(), type=Paced)


def _rows(messages: list[Message]) -> int:
    return sum(not topic.endswith(".transaction") for topic, _, _ in messages)


def main(task: Task) -> None:
    """Do the task."""
    workload = Workload(task.seed)
    producer: Any = KafkaProducer(
        bootstrap_servers=task.bootstrap, acks="all", linger_ms=5, batch_size=256 * 1024, compression_type="lz4",
        max_in_flight_requests_per_connection=1,
    )  # fmt: skip

    def send(messages: list[Message]) -> int:
        for _, key, value in messages:
            producer.send(task.topic, key=key, value=value, partition=0)
        return _rows(messages)

    send(list(workload.snapshot()))
    left, given = workload.transactions(), 0
    while given < task.warm:
        given += send(next(left))
    producer.flush()
    warm = Expected.of(workload)
    following: list[list[Message]] = []
    made = 0
    while made < task.events:
        following.append(next(left))
        made += _rows(following[-1])
    expected = Expected.of(workload)
    say(msgspec.json.encode(warm))
    sys.stdin.buffer.readline()
    began, events, behind = time.monotonic(), 0, 0.0
    for messages in following:
        events += send(messages)
        late = time.monotonic() - began - events / task.rate
        behind = max(behind, late)
        if late < 0:
            time.sleep(-late)
    producer.flush()
    say(msgspec.json.encode(Paced(events, time.monotonic() - began, behind, expected)))


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1], type=Task))
