"""One of several workers of `arsync run` that share systems: it reads and writes back those that are its own now.

The source's kind says which these are; each runs in a thread of its own, with reader and dispatchers, as a daemon of
one system does. A system that goes to another worker is finished here first; should this worker not know in time,
the fence in the store keeps it from committing anything.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import msgspec
import psycopg
import structlog

from engine.app import registry
from engine.app.ar_side import ar_side
from engine.app.config import Config, SystemConfig
from engine.app.daemon import Orders, collect_seldom, enter, report_set_up, run_system, while_the_store_comes_back
from engine.app.health import health_page
from engine.app.ready import Ready
from engine.app.stopping import Stop
from engine.app.wiring import OpenStore, source_folder
from engine.flow.reader import source_setup
from engine.flow.vitals import Vitals
from engine.ports.errors import SourceError
from engine.ports.source import Shared, Sharing
from engine.store import status
from engine.store.exclusive import AlreadyRunningError, take_system
from engine.store.unit import FencedError

log = structlog.get_logger()
_PATIENCE: Final = 20.0
"""Seconds that the last owner of a system has to commit what is under way."""
_LOOK: Final = 0.2


class Crew(msgspec.Struct, frozen=True):
    """What every system of a worker is run with."""

    store: OpenStore
    config: Config
    systems: Mapping[str, SystemConfig]
    folder: Path
    orders: Orders
    vitals: Vitals


class Turn:
    """The time for which this worker has a system."""

    def __init__(self, crew: Crew, system: str, ready: Callable[[str], None], is_ours: Callable[[str], bool]) -> None:
        """`is_ours` tells whether the others still agree that this worker has the system."""
        self.system = system
        self.stop = Stop()
        self.failure: BaseException | None = None
        self.records = 0
        self._crew = crew
        self._vitals = crew.vitals.of(system)
        self._ready = ready
        self._is_ours = is_ours
        self._thread = threading.Thread(target=self._run, name=f"system-{system}", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def end(self) -> None:
        """Finish what is under way; returns at once."""
        self.stop.event.set()

    def _wanted(self) -> bool:
        return self._is_ours(self.system) and not self.stop.event.is_set()

    def _run(self) -> None:
        crew, system = self._crew, self.system
        try:
            held, fence = while_the_store_comes_back(
                lambda: take_system(crew.store.connect, system, _PATIENCE, self._wanted)
            )
            log.info("taken over", system=system, fence=fence)
            with held:
                store = crew.store.fenced(system, fence)
                self.records = run_system(
                    store, crew.config, crew.systems[system], crew.folder,
                    msgspec.structs.replace(crew.orders, system=system), self._vitals, self.stop,
                    ready=lambda: self._ready(system),
                )  # fmt: skip
            log.info("given up", system=system, records=self.records)
            self._vitals.forget()
        except (FencedError, AlreadyRunningError) as error:
            log.warning("another worker has it", system=system, error=str(error))
            self._vitals.forget()
        except psycopg.OperationalError as error:
            # Nobody must mend anything here: it is taken up again as soon as the store is back.
            log.warning("the store does not answer", system=system, error=str(error).strip())
            self._vitals.report("reading", well=False, detail=str(error).strip())
        except Exception as error:  # noqa: BLE001 - one system must not end the others; the worker decides
            self.failure = error
            self._vitals.report("reading", well=False, detail=str(error).strip() or type(error).__name__)


class Worker:
    """Starts and ends turns as systems come and go."""

    def __init__(self, crew: Crew, ready: Callable[[], None]) -> None:
        self._crew = crew
        self._ready = ready
        self._turns: dict[str, Turn] = {}
        self._waiting: set[str] = set()
        self._agreed: frozenset[str] = frozenset()
        self._is_ready = False
        self.records = 0

    def follow(self, sharing: Sharing, stop: Stop) -> None:
        """Until stopped. Raises what the only system failed with; of several, one that failed waits for a person."""
        vitals = self._crew.vitals
        while not stop.event.is_set():
            try:
                owned = sharing.owned(_LOOK)
            except SourceError as error:
                vitals.report("group", well=False, detail=str(error))
                log.warning("the group cannot be asked; what is owned goes on", error=str(error))
                stop.event.wait(1.0)
                continue
            self._agreed = owned or frozenset()
            if owned is None:
                vitals.report("group", well=True, detail="joining")
                continue
            vitals.report("group", well=True, detail="owns " + (", ".join(sorted(owned)) or "nothing"))
            self._settle(owned)

    def _settle(self, owned: frozenset[str]) -> None:
        for system, turn in list(self._turns.items()):
            if system not in owned:
                turn.end()
            if not turn.alive:
                self._over(turn, owned)
        for system in sorted(owned - set(self._turns)):
            self._waiting.add(system)
            self._turns[system] = Turn(self._crew, system, self._one_is_ready, self._is_agreed)
        self._waiting &= owned
        if not self._is_ready and not self._waiting:
            self._is_ready = True
            self._ready()

    def _over(self, turn: Turn, owned: frozenset[str]) -> None:
        """A turn that failed keeps its place, so that it is not tried again and again; all others make room."""
        self.records += turn.records
        turn.records = 0
        if turn.failure is None:
            del self._turns[turn.system]
            return
        if len(self._crew.systems) == 1:
            raise turn.failure
        if turn.system not in owned:
            del self._turns[turn.system]
        elif not turn.stop.at_once:
            turn.stop.at_once = True
            log.error("a system cannot be worked on until somebody has mended it; then start this worker again",
                      system=turn.system, error=str(turn.failure))  # fmt: skip

    def _is_agreed(self, system: str) -> bool:
        return system in self._agreed

    def _one_is_ready(self, system: str) -> None:
        self._waiting.discard(system)

    def end(self) -> None:
        """Finish everything."""
        for turn in self._turns.values():
            turn.end()
        for turn in self._turns.values():
            while turn.alive:
                time.sleep(0.05)
            self.records += turn.records


def run_worker(
    store: OpenStore, config: Config, systems: Mapping[str, SystemConfig], folder: Path, orders: Orders
) -> int:
    """Work on these systems, as far as they are this worker's, until stopped. Returns how many records were read."""
    stop = Stop()
    stop.listen()
    collect_seldom()
    for name, one in systems.items():
        while_the_store_comes_back(lambda name=name, one=one: enter(store, name, one.connector))  # type: ignore[misc]
    vitals = Vitals(", ".join(systems))
    crew = Crew(store, config, systems, folder, orders, vitals)
    with health_page(config.daemon.port, vitals, lambda: _counts(store, systems)) as port, ExitStack() as beside:
        log.info("started", systems=list(systems), pid=os.getpid(), port=port)
        side = while_the_store_comes_back(lambda: beside.enter_context(ar_side(store, config, folder, vitals.report)))
        told = Ready(orders.ready_file, port)
        told.http = side.port
        for name, one in systems.items():
            look = threading.Thread(target=report_set_up, args=(store, config, one, folder, name), daemon=True)
            look.start()
        worker = Worker(crew, lambda: told.say(orders.system))
        sharing = _joined(crew, stop)
        if sharing is None:
            return 0
        try:
            worker.follow(sharing, stop)
        finally:
            # Everything is committed before the others are let in.
            worker.end()
            sharing.close()
    log.info("stopped", systems=list(systems), records=worker.records)
    return worker.records


def _joined(crew: Crew, stop: Stop) -> Sharing | None:
    """Membership, as soon as it can be had; None when it was stopped before."""
    setups = [
        source_setup(
            name, dict(one.source), registry.connector(one.connector).mapping, None,
            source_folder(crew.config, crew.folder, name), crew.config.daemon.batch_size,
        )
        for name, one in crew.systems.items()
    ]  # fmt: skip
    kind = registry.source(next(iter(crew.systems.values())).source, "debezium")
    assert isinstance(kind, Shared)  # noqa: S101 - `arsync run` asks before
    while not stop.event.is_set():
        try:
            return kind.share(setups)
        except SourceError as error:
            crew.vitals.report("group", well=False, detail=str(error))
            log.warning("the group cannot be joined yet", error=str(error))
            stop.event.wait(2.0)
    return None


def _counts(store: OpenStore, systems: Mapping[str, SystemConfig]) -> dict[str, dict[str, dict[str, int]]]:
    with store.connect() as connection, connection.cursor() as cursor:
        return {name: status.counts(cursor, name) for name in systems}
