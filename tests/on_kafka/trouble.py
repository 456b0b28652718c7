"""What befalls the parts between an ERP and the store: they are killed and restarted, at random moments.

`test_faults` lets it happen while recorded lives go on in the ERPs. A part that has just been started is not waited
for, so the next fault may come while it is still on its way; only what is hit serves.
"""

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import psycopg

from connectors.debezium.envelope import decode
from engine.model.change import RowChange, SnapshotMark
from engine.store.embedded import Cluster
from tests.kafka_stack.broker import Broker
from tests.kafka_stack.connect import Connect
from tests.kafka_stack.program import Server
from tests.on_kafka import topics
from tests.on_kafka.crew import SESSION, Crew
from tests.on_kafka.recorded import RecordedErp

LONGEST: Final = 1.5
"""Seconds between two moments at the most."""
PAUSE: Final = 0.6
"""Seconds for which an ERP's transactions are open at the most."""
AHEAD: Final = 3
"""Faults by which an ERP's life is ahead of its share, so that it goes on while one fault takes long."""
FEWEST, MOST = 2, 4
"""Workers."""
_REPOSITORY: Final = Path(__file__).parents[2]


class Servers(NamedTuple):
    """What is killed and restarted beside the workers. `erps` is the server of all ERPs' databases."""

    broker: Broker
    connect: Connect
    store: Cluster
    erps: Cluster


class Life(threading.Thread):
    """One ERP's recorded life, transaction by transaction, as far as it is let go on, whatever befalls its server."""

    def __init__(self, erp: RecordedErp, seed: str) -> None:
        super().__init__(name=f"life of {erp.name}", daemon=True)
        self._erp = erp
        self._rng = random.Random(seed)
        self._share = 0.0
        self._more = threading.Event()

    def go_on(self, share: float) -> None:
        """Up to this share of the whole."""
        self._share = share
        self._more.set()

    def run(self) -> None:
        played = 0
        while played < self._erp.length:
            if played >= self._erp.length * self._share:
                self._more.wait(LONGEST)
                self._more.clear()
                continue
            with suppress(psycopg.OperationalError):
                played = self._erp.play(self._rng.randint(1, 5), self._pause)

    def _pause(self) -> None:
        time.sleep(self._rng.uniform(0, PAUSE))


class Trouble:
    """One round of faults, each kind at least once."""

    def __init__(
        self, servers: Servers, crew: Crew, group: str, lives: Mapping[str, Life], rng: random.Random
    ) -> None:
        """`lives` by system; the systems' topics are named as arsync does by itself."""
        self.servers, self.crew, self.group, self.lives, self.rng = servers, crew, group, lives, rng
        quick: dict[str, Callable[[], None]] = {
            "a worker killed": self._kill,
            "a worker frozen": self._freeze,
            "a worker left": self._leave,
            "a worker came": self._come,
            "workers came and left at once": self._storm,
            "records written again": self._repeat,
            "the store killed": partial(self._postgres, servers.store, servers.store.kill),
            "the store restarted": partial(self._postgres, servers.store, servers.store.stop),
            "the ERPs' server killed": partial(self._postgres, servers.erps, servers.erps.kill),
            "the ERPs' server restarted": partial(self._postgres, servers.erps, servers.erps.stop),
        }
        slow: dict[str, Callable[[], None]] = {
            "the broker killed": partial(self._program, servers.broker, servers.broker.kill),
            "the broker restarted": partial(self._program, servers.broker, servers.broker.stop),
            "Connect killed": partial(self._program, servers.connect, servers.connect.kill),
            "Connect restarted": partial(self._program, servers.connect, servers.connect.stop),
        }
        # What Java takes ten seconds to come back from happens once in a round, so that a round is short.
        self.kinds, self._often = quick | slow, list(quick)
        self._thaws: list[threading.Timer] = []

    def happen(self, count: int) -> None:
        """So many faults, while the lives go on to their ends."""
        faults = [*self.kinds, *self.rng.choices(self._often, k=count - len(self.kinds))]
        self.rng.shuffle(faults)
        begun = time.monotonic()
        for number, what in enumerate(faults, 1):
            for life in self.lives.values():
                life.go_on((number + AHEAD) / count)
            print(f"{time.monotonic() - begun:6.1f} s  {what}")
            self.kinds[what]()
            self._moment()
        for thaw in self._thaws:
            thaw.join()

    def _moment(self) -> None:
        time.sleep(self.rng.uniform(0, LONGEST))

    # The workers.

    def _any(self) -> str:
        return self.rng.choice(sorted(self.crew.workers))

    def _kill(self) -> None:
        self.crew.kill(self._any())
        self.crew.start()

    def _freeze(self) -> None:
        """For so long, at times, that the others take its systems over."""
        worker = self.crew.workers[self._any()]
        worker.send_signal(signal.SIGSTOP)
        thaw = threading.Timer(self.rng.uniform(0, SESSION * 1.5), worker.send_signal, [signal.SIGCONT])
        thaw.start()
        self._thaws.append(thaw)

    def _leave(self) -> None:
        if len(self.crew.workers) == FEWEST:
            self.crew.start()
        self._end([self._any()])

    def _come(self) -> None:
        if len(self.crew.workers) == MOST:
            self._end([self._any()])
        self.crew.start()

    def _storm(self) -> None:
        """Members come and go within a second; some are workers, others own systems for a moment and do nothing."""
        self.servers.broker.await_serving()
        leaving = self.rng.sample(sorted(self.crew.workers), self.rng.randint(1, FEWEST))
        for _ in leaving:
            self.crew.start()
        words = [self.servers.broker.bootstrap, self.group, str(self.rng.random()), *self.lives]
        guests = subprocess.Popen([sys.executable, "-m", "tests.on_kafka.guests", *words], cwd=_REPOSITORY)
        self._end(leaving)
        assert guests.wait(60) == 0

    def _end(self, names: Sequence[str]) -> None:
        asked = []
        for name in names:
            time.sleep(self.rng.uniform(0, 0.3))
            asked.append(self.crew.ask_to_end(name))
        for process in asked:
            # One that has not begun to listen for it yet is ended by the signal itself.
            assert self.crew.ended(process) in (0, -signal.SIGTERM)

    # What they work with.

    def _repeat(self) -> None:
        """A topic's records from some place on, as Connect writes them when it had not stored how far it was."""
        self.servers.broker.await_serving()
        topic = f"{self.rng.choice(sorted(self.lives))}.changes"
        told = self.crew.until(lambda: self._streamed(topic))
        topics.send(self.servers.broker.bootstrap, topic, told[self.rng.randrange(len(told)) :])

    def _streamed(self, topic: str) -> list[tuple[bytes | None, bytes | None]]:
        """What stands in the topic from the first change behind the snapshot on."""
        written = topics.read(self.servers.broker.bootstrap, topic)
        for place, message in enumerate(written):
            change = decode(topic, *message)
            if isinstance(change, RowChange) and change.snapshot is SnapshotMark.NONE:
                return written[place:]
        return []

    def _program(self, server: Server, end: Callable[[], None]) -> None:
        server.await_serving()
        end()
        self._moment()
        server.begin()

    def _postgres(self, server: Cluster, end: Callable[[], None]) -> None:
        if server is self.servers.store:
            self.crew.await_begun()
        end()
        self._moment()
        server.start()
