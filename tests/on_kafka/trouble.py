"""What befalls the parts between an ERP and the store: they are killed and restarted, at random moments.

`test_faults` lets it happen while recorded lives go on in the ERPs. A part that has just been started is not waited
for, so the next fault may come while it is still on its way; only what is hit serves.
"""

import random
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import psycopg

from connectors.debezium.kafka.group import join
from engine.ports.errors import SourceError
from engine.ports.source import SourceSetup
from engine.store.embedded import Cluster
from tests.kafka_stack.broker import Broker
from tests.kafka_stack.connect import Connect
from tests.kafka_stack.program import Server
from tests.on_kafka import topics
from tests.on_kafka.crew import Crew
from tests.on_kafka.recorded import RecordedErp

LONGEST: Final = 1.5
"""Seconds between two moments at the most."""
PAUSE: Final = 0.6
"""Seconds for which an ERP's transactions are open at the most."""
AHEAD: Final = 3
"""Faults by which an ERP's life is ahead of its share, so that it goes on while one fault takes long."""
FEWEST, MOST = 2, 4
"""Workers."""
SESSION: Final = 6.0
_SNAPSHOT: Final = {"first", "first_in_data_collection", "true", "last_in_data_collection", "last"}


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
        seeds = [self.rng.random() for _ in range(3)]
        guests = [threading.Thread(target=self._be_a_guest, args=(seed,)) for seed in seeds]
        leaving = self.rng.sample(sorted(self.crew.workers), self.rng.randint(1, FEWEST))
        for _ in leaving:
            self.crew.start()
        for guest in guests:
            guest.start()
        self._end(leaving)
        for guest in guests:
            guest.join()

    def _be_a_guest(self, seed: float) -> None:
        rng = random.Random(seed)
        time.sleep(rng.uniform(0, 0.5))
        options = {"bootstrap": self.servers.broker.bootstrap, "group": self.group, "session_seconds": SESSION}
        with suppress(SourceError):
            member = join([SourceSetup(name, options, [], [], None, Path(), 1) for name in self.lives])
            until = time.monotonic() + rng.uniform(0, 1)
            while time.monotonic() < until:
                member.owned(0.05)
            member.close()

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
        written = topics.read(self.servers.broker.bootstrap, topic)
        first = max(place for place, (_, value) in enumerate(written) if _of_snapshot(value)) + 1
        topics.send(self.servers.broker.bootstrap, topic, written[self.rng.randint(first, len(written)) :])

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


class _Source(msgspec.Struct):
    snapshot: str | bool | None = None


class _Value(msgspec.Struct):
    source: _Source | None = None


def _of_snapshot(value: bytes | None) -> bool:
    told = msgspec.json.decode(value, type=_Value).source if value is not None else None
    return told is not None and told.snapshot in _SNAPSHOT
