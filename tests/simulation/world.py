"""One world: an ERP, people, an AR side, and arsync between them, taken through its life by one seed.

Everything of arsync that holds memory (pipeline with its grouping, dispatchers) is thrown away at a crash and made
again from the store, as a new process would.
"""

import datetime as dt
from collections.abc import Callable
from random import Random

import psycopg

from engine.app.wiring import enter_system
from engine.flow.dispatcher import Dispatcher
from engine.flow.pipeline import Pipeline
from engine.ports.source import SourceBatch
from engine.store.position import StoredPosition, load_position
from tests.simulation.analyst import Analyst
from tests.simulation.api import Api
from tests.simulation.ar_side import ArSide
from tests.simulation.books import Books
from tests.simulation.clock import Clock
from tests.simulation.crashing import Crash, CrashPoints, FragileConnection
from tests.simulation.mapping import VERSIONS, SimMapping
from tests.simulation.people import People
from tests.simulation.settings import Stage
from tests.simulation.wire import Stream, Wire

WORKERS = 2
CONNECTIONS = 2 + WORKERS
LAG = 20.0
"""Seconds that the change stream is behind at most while it flows, well below the time that an echo may take."""
HEARTBEAT = 10.0
"""Seconds between two signs of life of a change stream in which nothing else comes."""
TICKS = 2.5
"""Deeds in a world for each of its invoices."""


class World:
    """`system` is its name in the store. `run` plays it to its end; the oracle then reads what is left."""

    def __init__(
        self,
        connections: list[FragileConnection],
        reopen: Callable[[], FragileConnection],
        system: str,
        seed: int,
        stage: Stage,
        without: frozenset[str] = frozenset(),
    ) -> None:
        """`connections` to an empty store: the reader's, one for everybody else, and one for each worker. `reopen`
        makes another one."""
        self.system, self.stage, self.without = system, stage, without
        self.clock = Clock()
        self.dice = Random(f"world/{seed}/{stage.number}")
        self.books = Books(Random(f"books/{seed}/{stage.number}"), self.clock)
        self.books.clears_at_once = not stage.temper.clears_later
        self.books.finals_at_once = not stage.temper.finals_later
        self.books.plain_numbers = stage.plain_numbers
        if not stage.borders:
            # Who announces no borders tells transactions one behind the other, known by the place of their last row.
            self.books.db.overlap, self.books.db.bordered = 0.0, False
        self.wire = Wire(self.books.db, self.dice, dates=stage.dates, borders=stage.borders)
        self.wire.ungrouped = "transaction-grouping" in without
        self.point = CrashPoints()
        self.api = Api(self.books, stage, self.dice, self.clock,
                       point=self.point, meanwhile=self._meanwhile, pass_time=self.pass_time)  # fmt: skip
        self.api.ignores_guard = "token-guard" in without
        self.api.finds_nothing = "find-before-resend" in without
        self.ar = ArSide(system, self.books, self.dice, self.clock, stage.policy, self._position)
        self.people = People(self.books, stage.temper, self.dice, self.ar.wanted, self.ar.hot)
        self.analyst = Analyst(system, self.dice, self.clock, stage.policy, self.pass_time)
        self.known: list[tuple[dt.datetime, int]] = []
        """Up to where arsync had read, from when on."""
        self.crashes: list[tuple[dt.datetime, str]] = []
        self.delivered = 0
        self.silent_for = 0
        """Ticks for which the change stream still stands still."""
        self._alive = self.clock.now
        self._epochs = 1
        self._depth = 0
        self._noted: StoredPosition | None = None
        self._caught_up = self.clock.now
        self._steps: dict[str, list[tuple[str, int]]] | None = None
        self._connections = connections
        self._reopen = reopen
        for connection in connections:
            connection.point = self.point
        enter_system(self._connections[0], system, "simulated")

    @property
    def store(self) -> psycopg.Connection[tuple[object, ...]]:
        """A connection on which nothing dies, for the oracle."""
        self.point.disarm()
        return self._connections[1]

    def transitions(self) -> dict[str, list[tuple[str, int]]]:
        """(trigger, position) of every step of every invoice's life, as arsync keeps them."""
        if self._steps is None:
            self._steps = {}
            rows = self.store.execute(
                "SELECT document, trigger, commit_lsn FROM transition WHERE system = %s ORDER BY document, seq",
                (self.system,),
            )
            for document, trigger, commit in rows:
                steps = self._steps.setdefault(str(document).removeprefix("invoice/"), [])
                steps.append((str(trigger), 0 if commit is None else int(str(commit))))
        return self._steps

    def _connect(self, place: int) -> FragileConnection:
        """The connection at a place; a new one when it was closed."""
        if self._connections[place].closed:
            self._connections[place] = self._reopen()
            self._connections[place].point = self.point
        return self._connections[place]

    # Its life.

    def run(self) -> None:
        """From the first snapshot to the day after the last deed."""
        before = self.stage.invoices * 2 // 3
        self.people.to_open = before
        self.people.settle_in(customers=max(3, self.stage.invoices // 8), invoices=before)
        self.people.to_open = self.stage.invoices - before
        self.start()
        for _ in range(int(self.stage.invoices * TICKS)):
            self._survive(self._tick)
        self.people.to_open = 0
        self._calm()

    def _tick(self) -> None:
        dice = self.dice
        if dice.random() < self.stage.crashes:
            self.point.arm(dice.randrange(12))
        elif dice.random() < self.stage.outages:
            self.point.arm(dice.randrange(12), store_only=True)
        if dice.random() < self.stage.choices:
            self._choose()
        if self.silent_for:
            self.silent_for -= 1
            self.pass_time(dice.uniform(0.0, 25.0))
            if self.silent_for:
                self.deliver(0)
        elif (self.clock.now - self._caught_up).total_seconds() > LAG:
            self.deliver(100_000)
        elif dice.random() < self.stage.silences:
            self.silent_for = dice.randrange(5, 30)
        roll = dice.random()
        if roll < 0.40:
            self.people.work()
        elif roll < 0.48:
            self._ask()
        elif roll < 0.60:
            self.deliver(dice.choice((1, 5, 40, 200)))
        elif roll < 0.93:
            self.pass_time(dice.choice((0.05, 0.2, 1.0)))
            self._step(dice.randrange(WORKERS))
        elif roll < 0.985:
            self.pass_time(dice.choice((0.5, 3.0, 10.0)))
        elif roll < 0.995:
            self._ask(anew=False)
            self.deliver(100_000)
            self.pass_time(dice.choice((20.0, 50.0)))
        else:
            self._snapshot()

    def _calm(self) -> None:
        """Nobody does anything any more; whatever is under way comes to its end."""
        self.silent_for = 0
        self.api.calm = self.wire.calm = True
        self.point.disarm()
        self.ar.settle(self._connections[1])
        for _ in range(60):
            before = self._fingerprint()
            for _ in range(400):
                self.deliver(2000)
                if not sum(self._step(place) for place in range(WORKERS)):
                    break
            self.pass_time(35.0)
            if before == self._fingerprint() and not self.api.queue and self._ended():
                return

    def _fingerprint(self) -> tuple[object, ...]:
        return len(self.api.calls), self.wire.records and len(self.wire.records), self.delivered

    def _ended(self) -> bool:
        row = (
            self._connections[1]
            .execute(
                """SELECT count(*) FROM command WHERE system = %s AND current
               AND state IN ('pending', 'sent', 'accepted', 'part_done', 'stale', 'unknown')""",
                (self.system,),
            )
            .fetchone()
        )
        waiting = (
            self._connections[1]
            .execute(
                "SELECT count(*) FROM intent WHERE system = %s AND state IN ('waiting', 'received')", (self.system,)
            )
            .fetchone()
        )
        chosen = (
            self._connections[1]
            .execute("SELECT count(*) FROM conflict WHERE system = %s AND state = 'chosen'", (self.system,))
            .fetchone()
        )
        return row == (0,) and waiting == (0,) and chosen == (0,)

    # What arsync does.

    def start(self) -> None:
        """A new process: everything from the store."""
        self._open_reader()
        self.workers = [self._worker(place) for place in range(WORKERS)]
        for worker in self.workers[:1]:
            worker.recover()

    def _open_reader(self) -> None:
        reader = self._connections[0]
        with reader.cursor() as cursor:
            stored = load_position(cursor, self.system)
        read = int(stored.resume["at"]) if stored is not None and stored.resume else 0
        position = max(self.known[-1][1] if self.known else 0, stored.commit if stored is not None else 0)
        same = stored is not None and stored.resume is not None and stored.epoch == self.wire.epoch
        at = read if same else None
        # Before arsync forgets it: the process may die again while the new epoch begins.
        self.wire.leave(at, position, stored.epoch if stored else None, stored.snapshot if stored else None,
                        complete=stored is not None and stored.snapshot_complete)  # fmt: skip
        mapping = SimMapping(by_writer="echo-by-content" in self.without)
        self.pipeline = Pipeline(reader, self.system, mapping, self.stage.policy, self.clock, epoch=self.wire.epoch)
        self.source = Stream(self.wire, self.wire.restart_at(at), self._count)
        self._noted = None
        self._note_known()

    def _worker(self, place: int) -> Dispatcher:
        owner = f"{len(self.crashes)}/{place}"
        worker = Dispatcher(
            lambda: self._connect(2 + place),
            self.system,
            self.api,
            self.stage.policy,
            self.clock,
            owner=owner,
            versions=VERSIONS,
        )
        if "find-before-resend" in self.without:
            worker._in_doubt = dt.timedelta(0)
        return worker

    def deliver(self, most: int) -> None:
        """The change stream brings the next records, or a sign of life, unless it stands still."""
        if self.silent_for and "stream-progress" not in self.without:
            return
        try:
            if self.silent_for:
                self.pipeline._alive = self.clock()
                self.pipeline.settle()
            else:
                self.wire.pump()
                self._take(most)
        except psycopg.OperationalError:
            self._note_outage()
            self._open_reader()

    def _take(self, most: int) -> None:
        batch = self.source.poll(most)
        if self.source.at_end:
            self._caught_up = self.clock.now
        if batch is not None:
            self.pipeline.take(batch)
        else:
            if (self.clock.now - self._alive).total_seconds() >= HEARTBEAT:
                self._alive = self.clock.now
                self.pipeline.take(SourceBatch([], {"at": self.source.at}))
            self.pipeline.settle()
        self._note_known()

    def _step(self, place: int) -> bool:
        """One dispatcher works. When the store goes away under it, it goes on with another connection."""
        try:
            return self.workers[place].step()
        except psycopg.OperationalError:
            self._note_outage()
            self._connections[2 + place].close()
            return True

    def _ask(self, *, anew: bool = True) -> None:
        """The AR side asks for something, or (not `anew`) hands in again what was never answered."""
        try:
            if anew:
                self.ar.ask(self._connections[1])
            else:
                self.ar.settle(self._connections[1])
        except psycopg.OperationalError:
            self._note_outage()

    def _choose(self) -> None:
        """People choose about a conflict; of what the store did not answer they know nothing."""
        try:
            self.analyst.work(self._connections[1])
        except psycopg.OperationalError:
            self._note_outage()

    def _note_outage(self) -> None:
        self.crashes.append((self.clock(), "the store goes away"))

    def _snapshot(self) -> None:
        """A new snapshot: of the same log, or, where the stream was lost, of a new epoch."""
        if self.stage.gaps and self.dice.random() < 0.5:
            self._epochs += 1
            self.wire.epoch = f"e{self._epochs}"
            raise Crash("a new epoch")
        if self.dice.random() < 0.3:
            self.wire.snapshot(skip=False)

    def _survive(self, deed: Callable[[], None]) -> None:
        """Do something; when the process dies of it, a new one takes over."""
        try:
            deed()
        except Crash as crash:
            self._bury(str(crash))

    def _bury(self, point: str) -> None:
        self._depth = 0
        self.crashes.append((self.clock(), point))
        self.point.disarm()
        self.pass_time(self.dice.choice((0.1, 2.0, 20.0)))
        if self.dice.random() < 0.2:
            self.point.arm(self.dice.randrange(6))
        self._survive(self.start)

    def _meanwhile(self, _why: str) -> None:
        """During a call of ours, others go on: people, the change stream, the other dispatcher."""
        if self._depth or self.api.calm:
            return
        self._depth += 1
        roll = self.dice.random()
        if roll < 0.25:
            self.people.work()
        elif roll < 0.40:
            self.deliver(self.dice.choice((1, 20, 200)))
        elif roll < 0.48:
            self._step(self.dice.randrange(WORKERS))
        elif roll < 0.52:
            self._ask()
        self._depth -= 1

    def pass_time(self, seconds: float) -> None:
        """Time goes by; what the ERP still has to do is done when it is due."""
        until = self.clock.now + dt.timedelta(seconds=seconds)
        while (due := self.api.next_due()) is not None and due <= until:
            self.clock.now = max(self.clock.now, due)
            self.api.run_due()
        self.clock.now = max(self.clock.now, until)

    def _count(self, records: int) -> None:
        self.delivered += records

    def _position(self) -> int | None:
        """Up to where arsync's documents tell the ERP's log; None before the first are there.

        While a snapshot is read, they are what the transactions before it made of them.
        """
        row = (
            self._connections[1]
            .execute(
                """SELECT commit_lsn, snapshot, snapshot_complete AND NOT EXISTS (
                 SELECT FROM backlog b WHERE b.system = p.system)
               FROM source_position p WHERE system = %s""",
                (self.system,),
            )
            .fetchone()
        )
        if row is None or row[1] is None:
            return self.known[-1][1] if self.known else None
        if row[2]:
            return int(row[0])
        taken = int(row[1].split(":", 1)[0])
        before = [lsn for lsn, _ in self.wire.told] + [one.lsn for one in self.wire.snapshots]
        return max((lsn for lsn in before if lsn < taken), default=None)

    def _note_known(self) -> None:
        if self.pipeline.position == self._noted:
            return
        self._noted = self.pipeline.position
        known = self._position()
        if known is not None and (not self.known or self.known[-1][1] < known):
            self.known.append((self.clock(), known))
