"""Plays the worlds of a seed, several at a time, and adds up what the oracle says of them.

Each process has a database of its own, emptied before each world, so that a long run stays as quick as a short one;
its connections live as long as it does, for to open them and to plan every statement anew costs more than a world.
"""

import dataclasses
import hashlib
import json
import logging
import multiprocessing
import os
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import structlog

from engine.flow.replay.verifying import Verified, verify
from engine.store import schema
from engine.store.embedded import Cluster
from engine.store.journal_reading import StoredJournal
from tests.simulation.crashing import FragileConnection
from tests.simulation.evidence import Evidence
from tests.simulation.oracle import judge
from tests.simulation.settings import Stage, stage_for
from tests.simulation.story import story
from tests.simulation.world import CONNECTIONS, World

SIZE = 100
"""Invoices of one world: small enough for its story to be read, large enough for customers to have several."""
PROTECTIONS = ("token-guard", "find-before-resend", "echo-by-content", "transaction-grouping", "stream-progress")
_DAEMON, _SECRET = "arsync_daemon", "only-for-tests"
_TOGETHER = 8
"""Worlds that stand in a database at once."""
_STORIES = 3
"""Faults of one world that are told in full."""


@dataclasses.dataclass
class Played:
    """What came of one world. `faults` are (kind, sentence with its story)."""

    number: int
    inputs: int
    conflicts: dict[str, int]
    faults: list[tuple[str, str]]
    digest: str


@dataclasses.dataclass
class Total:
    """What came of all."""

    seed: int
    invoices: int
    inputs: int = 0
    conflicts: Counter[str] = dataclasses.field(default_factory=Counter)
    faults: Counter[str] = dataclasses.field(default_factory=Counter)
    worlds: list[Played] = dataclasses.field(default_factory=list)

    def add(self, played: Played) -> None:
        self.inputs += played.inputs
        self.conflicts.update(played.conflicts)
        self.faults.update(kind for kind, _ in played.faults)
        self.worlds.append(played)

    @property
    def whole(self) -> bool:
        """Nothing is false, missed, lost or twice."""
        return not self.faults

    def summary(self) -> dict[str, object]:
        """The last line of a run."""
        digest = hashlib.sha256("".join(played.digest for played in self.worlds).encode()).hexdigest()
        counts = {kind: self.faults[kind] for kind in ("false", "missed", "lost", "twice")}
        return {"seed": self.seed, "invoices": self.invoices, "inputs": self.inputs,
                "conflicts": dict(sorted(self.conflicts.items())), **counts, "digest": digest}  # fmt: skip


def stages(seed: int, invoices: int) -> list[Stage]:
    """The worlds of a run; the last one takes what is left."""
    sizes = [SIZE] * (invoices // SIZE) + ([invoices % SIZE] if invoices % SIZE else [])
    return [stage_for(seed, number, size) for number, size in enumerate(sizes)]


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL with the store's tables in the database `arsync`, for as long as the run takes."""
    with tempfile.TemporaryDirectory(prefix="arsync-simulation-") as folder:
        settings = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        with Cluster(Path(folder) / "postgres", settings=settings) as opened:
            opened.ensure_database("arsync")
            opened.ensure_role(_DAEMON, password=_SECRET)
            schema.migrate(opened.dsn("arsync"), _DAEMON)
            try:
                yield opened
            finally:
                while _STORES:
                    _STORES.popitem()[1].close()


def play_all(
    opened: Cluster, seed: int, invoices: int, *, without: frozenset[str], jobs: int, only: int | None = None
) -> Iterator[Played]:
    """Play every world of a seed (or `only` one), in their order."""
    asked = [stage for stage in stages(seed, invoices) if only is None or stage.number == only]
    jobs = min(jobs, len(asked))
    address = (opened.dsn("postgres"), opened.dsn("arsync"), opened.dsn("arsync", user=_DAEMON, password=_SECRET))
    if jobs <= 1:
        yield from (_play(address, seed, stage, without) for stage in asked)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        futures = [pool.submit(_play, address, seed, stage, without) for stage in asked]
        try:
            for future in futures:
                yield future.result()
        except BaseException:
            # Whoever ends it early does not wait for worlds that have not begun.
            pool.shutdown(cancel_futures=True)
            raise


def _play(address: tuple[str, str, str], seed: int, stage: Stage, without: frozenset[str]) -> Played:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    store = _STORES.get(address)
    if store is None:
        store = _STORES[address] = _Store(address)
    name = f"sim-{stage.number}"
    store.make_room_for(name)
    world = World(store.connections, store.connect, name, seed, stage, without)
    try:
        world.run()
    except Exception:  # noqa: BLE001 - whatever the engine raises is what this run is there to find
        faults = [("lost", f"world {stage.number} broke off\n{traceback.format_exc()}")]
        _STORES.pop(address).close()
        return Played(stage.number, world.delivered, {}, faults, "broken off")
    return _judged(world, store)


def _judged(world: World, store: "_Store") -> Played:
    verdict = judge(world)
    evidence = Evidence(world)
    faults = [("lost", f"lost: {fault.sentence}") for fault in store.proven(world.system).faults]
    for place, (kind, fault) in enumerate(verdict.faults()):
        sentence, invoice, intent = fault
        about = " ".join(text for text in (f"invoice {invoice}" if invoice else "", intent or "") if text)
        told = f"{kind}: {about}: {sentence}"
        faults.append((kind, f"{told}\n{story(evidence, fault)}" if place < _STORIES else told))
    kinds = Counter(conflict["kind"] for conflict in evidence.conflicts)
    inputs = world.delivered + world.ar.submissions + len(world.api.calls)
    return Played(world.stage.number, inputs, dict(kinds), faults, _digest(world, evidence))


def _digest(world: World, evidence: Evidence) -> str:
    """Of everything that came of a world, in the ERP and in arsync."""
    log = [(c.lsn, str(c.at), c.who, c.why, c.key, len(c.changes)) for c in world.books.db.log]
    whole = [evidence.invoices, evidence.customers, evidence.intents, evidence.commands, evidence.conflicts,
             world.transitions(), log]  # fmt: skip
    return hashlib.sha256(json.dumps(whole, sort_keys=True, default=str).encode()).hexdigest()


class _Store:
    """This process's copy of the empty store, and its connections."""

    def __init__(self, address: tuple[str, str, str]) -> None:
        server, owner, daemon = address
        database = f"simulation_{os.getpid()}"
        with psycopg.connect(server, autocommit=True) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchone()
            if known is None:
                connection.execute(f"CREATE DATABASE {database} TEMPLATE arsync")
        self._owner = psycopg.connect(_on(owner, database), autocommit=True)
        self._daemon = _on(daemon, database)
        self.connections = [self.connect() for _ in range(CONNECTIONS)]
        self._proving = psycopg.connect(self._daemon)
        self._systems: set[str] = set()
        self._empty()

    def connect(self) -> FragileConnection:
        """One more connection, as the daemon's role."""
        return FragileConnection.connect(self._daemon, autocommit=True, prepare_threshold=2)

    def proven(self, system: str) -> Verified:
        """A system's journal, proven alone: every entry decided again, and all lead to what the store holds."""
        journal = StoredJournal(self._proving)
        try:
            return verify(journal, system, current=lambda: journal.current(system))
        finally:
            self._proving.rollback()

    def make_room_for(self, system: str) -> None:
        """Nothing of this system is there, and not too much of others."""
        if system in self._systems or len(self._systems) >= _TOGETHER:
            self._empty()
        self._systems.add(system)

    def _empty(self) -> None:
        tables = self._owner.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        ).fetchall()
        names = ", ".join(name for (name,) in tables if name != "alembic_version")
        self._owner.execute(f"TRUNCATE {names}")
        self._systems.clear()

    def close(self) -> None:
        for connection in (self._owner, self._proving, *self.connections):
            connection.close()


_STORES: dict[tuple[str, str, str], _Store] = {}


def _on(dsn: str, database: str) -> str:
    return f"{dsn.rpartition('/')[0]}/{database}"
