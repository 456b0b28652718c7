"""Plays the workload's transactions into an ERP's database at a rate, in a process of its own.

`Player` starts it: `python -m benchmarks.live.player DSN SEED`. Each line of its standard input is a `Part`, each is
answered by a line of JSON, a `Played`, once it was played.
"""

import sys
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec
import psycopg

from benchmarks.live.columns import statement
from benchmarks.live.program import Program, say
from benchmarks.workload.expected import Expected
from benchmarks.workload.lives import Change
from benchmarks.workload.stream import Workload

_AT_ONCE = 50
"""Transactions that are sent in one go where no rate is kept."""


class Part(msgspec.Struct, frozen=True):
    """Play so many row changes (a few more, to the transaction's end), `rate` a second; 0 is as fast as it goes."""

    events: int
    rate: float


class Played(msgspec.Struct, frozen=True):
    """What was played, in how many seconds, and what the ERP holds now.

    `behind` is by how many seconds the writer was late at the worst: the rate was not kept where that grows.
    """

    events: int
    transactions: int
    seconds: float
    behind: float
    expected: Expected


class Player(Program):
    """The process that plays, for the time of a block."""

    def __init__(self, dsn: str, seed: int) -> None:
        super().__init__("benchmarks.live.player", dsn, str(seed))

    def play(self, events: int, rate: float = 0) -> Played:
        """Play a part to its end."""
        self.tell(msgspec.json.encode(Part(events, rate)))
        return msgspec.json.decode(self.answer(), type=Played)


def _play(
    connection: psycopg.Connection[Any], workload: Workload, left: Iterator[list[Change]], part: Part
) -> Played:
    began = time.monotonic()
    events = transactions = 0
    behind = 0.0
    with connection.pipeline() as pipeline:
        while events < part.events:
            for changes in islice(left, 1 if part.rate else _AT_ONCE):
                connection.execute(b"BEGIN")
                for change in changes:
                    connection.execute(*statement(change))
                connection.execute(b"COMMIT")
                events += len(changes)
                transactions += 1
            pipeline.sync()
            if part.rate:
                late = time.monotonic() - began - events / part.rate
                behind = max(behind, late)
                if late < 0:
                    time.sleep(-late)
    return Played(events, transactions, time.monotonic() - began, behind, Expected.of(workload))


def main() -> None:
    """Play what standard input asks for, until it is closed."""
    workload = Workload(int(sys.argv[2]))
    left = workload.changes()
    with psycopg.connect(sys.argv[1], autocommit=True) as connection:
        for line in sys.stdin.buffer:
            part = msgspec.json.decode(line, type=Part)
            say(msgspec.json.encode(_play(connection, workload, left, part)))


if __name__ == "__main__":
    main()
