"""Puts a reconcile together: target, mirror and log of one system. The verb calls it, and the daemon by its clock."""

import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import psycopg
import structlog

from engine.app import registry
from engine.app.config import Config, SystemConfig, policy_of
from engine.app.wiring import OpenStore, now, source_folder
from engine.flow.drifting import Bench, Report
from engine.flow.reader import source_setup
from engine.flow.reconciling import MirrorBehindError, Reconciler
from engine.flow.vitals import Vitals
from engine.model.documents import Customer, DocumentKind, Invoice
from engine.ports.errors import ConfigError, ConnectorError
from engine.ports.surveying import SurveyKind, Surveyor
from engine.store import backlog, drift
from engine.store.position import load_position
from engine.store.unit import Connection

log = structlog.get_logger()
PART = "reconcile"
_AGAIN_SECONDS = 60.0


class StoreMirror:
    """The mirror, as `engine.flow.reconciling` looks at it."""

    def __init__(self, connection: Connection, system: str) -> None:
        self._connection = connection
        self._system = system

    def head(self) -> int:
        """See `Mirror.head`."""
        return drift.journal_head(self._connection, self._system)

    def look(
        self, kind: DocumentKind, keys: Sequence[str] | None, *, after: int, since: int | None
    ) -> tuple[dict[str, Invoice | Customer], set[str]]:
        """See `Mirror.look`."""
        return drift.documents_and_changes(self._connection, self._system, kind, keys, after=after, since=since)


class SourceLog:
    """The ERP's log, and how far the store has come in it."""

    def __init__(self, connection: Connection, system: str, surveyor: Surveyor | None) -> None:
        self._connection = connection
        self._system = system
        self._surveyor = surveyor

    def position(self) -> int | None:
        """See `Log.position`."""
        return None if self._surveyor is None else self._surveyor.position()

    def passed(self, position: int) -> bool:
        """See `Log.passed`. Documents that are still to be assembled again are not there yet."""
        with self._connection.cursor() as cursor:
            stored = load_position(cursor, self._system)
            waiting = backlog.next_backlog(cursor, self._system)
        if stored is None or waiting is not None or self._surveyor is None:
            return False
        return self._surveyor.passed(stored.resume, position)


def open_surveyor(config: Config, folder: Path, system: str, chosen: SystemConfig) -> Surveyor | None:
    """What looks at the ERP's database beside the stream; None where the source has no way to it."""
    kind = registry.source(chosen.source, "debezium")
    if not isinstance(kind, SurveyKind) or not chosen.source:
        return None
    mapping = registry.connector(chosen.connector).mapping
    work = source_folder(config, folder, system)
    return kind.survey(source_setup(system, dict(chosen.source), mapping, None, work, config.daemon.batch_size))


def reconcile_system(
    connection: Connection,
    config: Config,
    folder: Path,
    system: str,
    *,
    repair: bool,
    by: str,
    patience: float,
    told: Callable[[str], None],
) -> Report:
    """Hold one system's every document against its ERP's API, and write down what differs.

    Raises:
        ConfigError: the system has no target, or what differs could not be repaired.
        ConnectorError: the ERP cannot be asked now; nothing was written down.
        MirrorBehindError: the mirror does not come to where the ERP's log was.
    """
    chosen = config.systems.get(system)
    if chosen is None or not chosen.target:
        known = ", ".join(name for name, one in config.systems.items() if one.target) or "none"
        raise ConfigError(f"there is no system {system} with a target", f"those that have one: {known}")
    connector = registry.connector(chosen.connector)
    with connection.cursor() as cursor:
        stored = load_position(cursor, system)
    if stored is None:
        raise ConfigError(f"system {system} was never read", "start `arsync run` first")
    surveyor = open_surveyor(config, folder, system, chosen)
    if repair and surveyor is None:
        raise ConfigError(
            f"the source of system {system} has no way to the ERP's database, so rows cannot be read again with "
            "their position",
            f"run `arsync reconcile {system}` without repair; what differs is mended by a new snapshot "
            "(`arsync run --new-epoch`)",
        )
    with closing(connector.open_target(chosen.target)) as target:
        try:
            mirror, log_ = StoreMirror(connection, system), SourceLog(connection, system, surveyor)
            reconciler = Reconciler(target, mirror, log_, patience=patience, told=told)
            versions = {"mapping": connector.mapping.version}
            bench = Bench(connection, system, policy_of(chosen), now, versions, stored.epoch)
            return bench.carry_out(reconciler, repair=repair, by=by, patience=patience)
        finally:
            if surveyor is not None:
                surveyor.close()


class Rounds:
    """The daemon's reconciles by the clock: the next one so long after the last, whichever process did that."""

    def __init__(self, store: OpenStore, config: Config, folder: Path, system: str, vitals: Vitals) -> None:
        self._store = store
        self._config = config
        self._folder = folder
        self._system = system
        self._vitals = vitals
        self._settings = config.systems[system].reconcile

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set. What goes wrong is logged and tried again; it stops nothing else."""
        while not stop.wait(self._seconds_to_next()):
            try:
                self._once()
            except (ConnectorError, MirrorBehindError, psycopg.Error) as error:
                self._vitals.report(PART, well=False, detail=str(error).strip())
                log.warning("reconciling broke off", system=self._system, error=str(error).strip())
                stop.wait(_AGAIN_SECONDS)

    def _once(self) -> None:
        with self._store.connect() as connection:
            report = reconcile_system(
                connection, self._config, self._folder, self._system, repair=self._settings.repair, by="arsync",
                patience=self._settings.patience_seconds, told=lambda _sentence: None,
            )  # fmt: skip
        said = {"invoices": report.invoices, "customers": report.customers, "position": report.position,
                "differences": len(report.left), "unsettled": len(report.unsettled)}  # fmt: skip
        through = f"verified through {report.position}" if report.proven else f"{len(report.left)} differences"
        self._vitals.report(PART, well=not report.left, detail=through)
        if report.left:
            log.warning("the mirror drifts; see `arsync conflicts list --kind drift`", system=self._system, **said)
        else:
            log.info("reconciled", system=self._system, **said)

    def _seconds_to_next(self) -> float:
        every = self._settings.seconds
        try:
            with self._store.connect() as connection, connection.cursor() as cursor:
                last = drift.last_reconciliation(cursor, self._system)
                stored = load_position(cursor, self._system)
        except psycopg.OperationalError:
            return _AGAIN_SECONDS
        if stored is None or not stored.snapshot_complete:
            return min(_AGAIN_SECONDS, every)
        gone = every if last is None else (now() - last.at).total_seconds()
        return max(0.0, every - gone)
