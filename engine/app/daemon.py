"""One process of `arsync run`: a reader in the main thread, dispatchers beside it, a page that says how they are."""

import gc
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import psycopg
import structlog
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from engine.app import registry
from engine.app.ar_side import ar_side
from engine.app.checkpointing import checkpoints_by_the_clock
from engine.app.checks import look
from engine.app.config import Config, SystemConfig, policy_of
from engine.app.health import Counts, health_page
from engine.app.ready import Ready
from engine.app.stopping import Stop
from engine.app.wiring import OpenStore, enter_system, now, source_folder
from engine.flow.dispatcher import Dispatcher
from engine.flow.gate import Gate, Limits
from engine.flow.reader import Reader, Reading, source_setup
from engine.flow.vitals import Vitals
from engine.ports.connector import Connector
from engine.ports.errors import ConnectorError
from engine.ports.source import RereadingKind, Resume, Source
from engine.ports.surveying import Surveyor
from engine.ports.target import Target
from engine.store import status
from engine.store.calling import hear
from engine.store.exclusive import take_over
from engine.store.unit import Connection, FencedError

log = structlog.get_logger()
T = TypeVar("T")
_STORE_SECONDS: Final = 60.0


class Orders(msgspec.Struct, frozen=True):
    """What the command line asked for."""

    system: str
    capture: str | None = None
    until_end: bool = False
    batch_size: int | None = None
    new_epoch: bool = False
    ready_file: str | None = None


def run_daemon(store: OpenStore, config: Config, chosen: SystemConfig, folder: Path, orders: Orders) -> int:
    """Read, decide and write back until stopped. Returns how many records were read."""
    stop = Stop()
    stop.listen()
    collect_seldom()
    while_the_store_comes_back(lambda: enter(store, orders.system, chosen.connector))
    vitals = Vitals(orders.system)
    # A pass over a capture is no daemon: it must not need the port that a daemon beside it may have.
    port_asked = config.daemon.port if orders.capture is None else 0
    with health_page(port_asked, vitals, lambda: _counts(store, orders.system)) as port:
        log.info("started", system=orders.system, pid=os.getpid(), port=port)
        if orders.capture is None:
            look_at = (store, config, chosen, folder, orders.system)
            threading.Thread(target=report_set_up, args=look_at, daemon=True).start()
        told = Ready(orders.ready_file, port)
        with ExitStack() as beside:
            if orders.capture is None:
                side = while_the_store_comes_back(
                    lambda: beside.enter_context(ar_side(store, config, folder, vitals.report))
                )
                told.http = side.port
            ready = partial(told.say, orders.system)
            records = run_system(store, config, chosen, folder, orders, vitals, stop, ready=ready)
    log.info("stopped", system=orders.system, records=records)
    return records


def run_system(
    store: OpenStore,
    config: Config,
    chosen: SystemConfig,
    folder: Path,
    orders: Orders,
    vitals: Vitals,
    stop: Stop,
    *,
    ready: Callable[[], None],
) -> int:
    """One system, until stopped: its reader in this thread, its dispatchers beside it. Returns the records read."""
    connector = registry.connector(chosen.connector)
    wake = threading.Event()
    writes = bool(chosen.target) and orders.capture is None
    log.info("working", system=orders.system, writes_back=writes, mode=chosen.mode)
    reading = _reading(store, config, chosen, folder, orders, connector)
    reader = Reader(reading, vitals, ready=ready, wake=wake.set)
    rounds = _rounds(store, config, folder, orders, chosen, vitals)
    points: AbstractContextManager[None] = nullcontext()
    if orders.capture is None:
        points = checkpoints_by_the_clock(store, config.journal, folder, orders.system, vitals)
    with rounds, points, _dispatchers(store, chosen, orders.system, connector, vitals, stop, wake, writes=writes):
        reader.run(stop.event)
    return reader.records


def collect_seldom() -> None:
    """What a batch leaves behind is freed by reference counts; looking for cycles through all that is kept at hand
    took a tenth of the time."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def enter(store: OpenStore, system: str, connector: str) -> None:
    """Make the system known to the store."""
    with store.connect() as connection:
        enter_system(connection, system, connector)


def while_the_store_comes_back(act: Callable[[], T]) -> T:
    """Do it, and again if the store dies meanwhile; later on reader and dispatchers see to that themselves."""
    return Retrying(
        retry=retry_if_exception_type(psycopg.OperationalError),
        stop=stop_after_delay(_STORE_SECONDS),
        wait=wait_fixed(0.5),
        reraise=True,
    )(act)


def report_set_up(store: OpenStore, config: Config, chosen: SystemConfig, folder: Path, system: str) -> None:
    """Say what `arsync check` would say. What would lose data stops the daemon: the source does not open."""
    try:
        for finding in look(store, config, system, chosen, folder, in_use=True):
            if not finding.ok:
                log.warning(finding.subject, system=system, detail=finding.detail, fix=finding.fix)
    except (ConnectorError, psycopg.Error) as error:
        log.warning("the set-up could not be looked at", system=system, error=str(error).strip())


def _reading(
    store: OpenStore, config: Config, chosen: SystemConfig, folder: Path, orders: Orders, connector: Connector
) -> Reading:
    options: dict[str, Any] = dict(chosen.source)
    if orders.capture is not None:
        options = {"type": "capture", "path": str(Path(orders.capture).resolve())}
    work = source_folder(config, folder, orders.system)
    most = orders.batch_size or config.daemon.batch_size
    kind = registry.source(options, "debezium")

    def open_source(resume: Resume | None, first: bool) -> Source:  # noqa: FBT001 - the reader's own call
        now_asked = {**options, "new_epoch": True} if orders.new_epoch and first else options
        return kind.open(source_setup(orders.system, now_asked, connector.mapping, resume, work, most))

    return Reading(
        system=orders.system,
        mapping=connector.mapping,
        policy=policy_of(chosen),
        open_source=open_source,
        connect=store.connect,
        clock=now,
        quiet=config.daemon.quiet_seconds,
        brake=config.daemon.brake,
        most_letters=config.daemon.most_letters,
        until_end=orders.until_end,
        read_again=kind.read_again if isinstance(kind, RereadingKind) else None,
        survey=_survey(config, chosen, folder, orders),
    )


def _survey(config: Config, chosen: SystemConfig, folder: Path, orders: Orders) -> Callable[[], Surveyor | None]:
    """What looks at the ERP's database beside the stream, made when it is needed."""

    def survey() -> Surveyor | None:
        from engine.app.reconciling import open_surveyor

        return None if orders.capture is not None else open_surveyor(config, folder, orders.system, chosen)

    return survey


@contextmanager
def _rounds(
    store: OpenStore, config: Config, folder: Path, orders: Orders, chosen: SystemConfig, vitals: Vitals
) -> Iterator[None]:
    """Reconcile by the clock for the time of the block, where it is asked for."""
    if chosen.reconcile.every is None or not chosen.target or orders.capture is not None:
        yield
        return
    from engine.app.reconciling import Rounds

    done = threading.Event()
    work = Rounds(store, config, folder, orders.system, vitals)
    thread = threading.Thread(target=work.run, args=(done,), name="reconcile", daemon=True)
    thread.start()
    try:
        yield
    finally:
        # One that is under way is left: it writes nothing down until it is over.
        done.set()


@contextmanager
def _dispatchers(
    store: OpenStore,
    chosen: SystemConfig,
    system: str,
    connector: Connector,
    vitals: Vitals,
    stop: Stop,
    wake: threading.Event,
    *,
    writes: bool,
) -> Iterator[None]:
    """Run the target's dispatchers for the time of the block; at its end what is under way is finished."""
    if not writes:
        yield
        return
    target = connector.open_target(chosen.target)
    # A lock of its own: the reader's lasts from one opening of the source to the next only.
    own_lock = while_the_store_comes_back(lambda: _locked(store, f"{system}/target"))
    done = threading.Event()
    threads: list[threading.Thread] = []
    try:
        limits = Limits(chosen.limits.per_second, chosen.limits.commands_per_hour, chosen.limits.money_per_hour)
        gate = Gate(system, limits, observe=chosen.mode == "observe")
        # Two containers' processes have one and the same number, and one process may have a system a second time.
        owner = f"{os.getpid()}-{secrets.token_hex(4)}"
        for place in range(target.capabilities.concurrency):
            worker = _dispatcher(store, chosen, system, connector, target, vitals, gate, f"{owner}/{place}")
            if place == 0 and (left := while_the_store_comes_back(worker.recover)):
                log.warning("commands were under way when the last daemon ended", system=system, commands=left)
            name = f"dispatcher-{place}"
            threads.append(threading.Thread(target=_watched(worker, vitals, done, wake), name=name, daemon=True))
        threads.append(threading.Thread(target=_called, args=(store, system, done, wake), name="calls", daemon=True))
        for thread in threads:
            thread.start()
        yield
    finally:
        done.set()
        wake.set()
        for thread in threads:
            # Asked to end at once, a send is left behind: its lease runs out, and its key is looked up.
            while thread.is_alive() and not stop.at_once:
                thread.join(0.1)
        if not stop.at_once:
            target.close()
        own_lock.close()


def _called(store: OpenStore, system: str, done: threading.Event, wake: threading.Event) -> None:
    while not done.is_set():
        try:
            with store.connect() as connection:
                hear(connection, system, done, wake.set)
        except psycopg.OperationalError:
            # Reader and dispatchers say it; and they look by themselves too, only not at once.
            done.wait(1.0)


def _locked(store: OpenStore, name: str) -> Connection:
    """A connection that holds this lock for as long as it is open."""
    connection = store.connect()
    try:
        take_over(connection, name)
    except BaseException:
        connection.close()
        raise
    return connection


def _watched(worker: Dispatcher, vitals: Vitals, done: threading.Event, wake: threading.Event) -> Callable[[], None]:
    def work() -> None:
        part = threading.current_thread().name
        vitals.report(part, well=True)
        try:
            worker.run(done, wake)
        except FencedError as error:
            # The reader finds it out too, and ends everything of this system here.
            log.warning("another worker has it", part=part, error=str(error))
        except Exception as error:
            vitals.report(part, well=False, detail=f"{type(error).__name__}: {error}")
            log.exception("a dispatcher has ended; nothing more is written back until the daemon is started again")
            raise

    return work


def _dispatcher(
    store: OpenStore,
    chosen: SystemConfig,
    system: str,
    connector: Connector,
    target: Target,
    vitals: Vitals,
    gate: Gate,
    owner: str,
) -> Dispatcher:
    return Dispatcher(
        store.connect,
        system,
        target,
        policy_of(chosen),
        now,
        owner=owner,
        versions={"mapping": connector.mapping.version},
        gate=gate,
        told=vitals.answered,
    )


def _counts(store: OpenStore, system: str) -> Counts:
    with store.connect() as connection, connection.cursor() as cursor:
        return {system: status.counts(cursor, system)}
