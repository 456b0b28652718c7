"""A real ERP for the demo and the tests: a PostgreSQL of its own, a Tryton on it, and a company in that.

It promises that everything runs on 127.0.0.1 below one folder, that the second start on a machine takes seconds
(the set-up database is kept in `cache`), and that `stop` leaves no process.
"""

import secrets
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import psycopg
from psycopg import sql

from connectors.tryton.rpc import Session
from connectors.tryton.tables import TABLES
from demo.accountant import Accountant
from demo.company import BOT, CompanyPlan
from demo.erp_filling import ADMIN, Filling
from demo.erp_server import TrytonServer
from engine.store.embedded import Cluster

POSTGRES_SETTINGS = {
    "wal_level": "logical",
    "max_replication_slots": "8",
    "max_wal_senders": "8",
    # Thrown away with the demo: it need not survive the machine's crash, only the killing of its programs.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "jit": "off",
}
DATABASE = "tryton"
OWNER = "tryton"
CAPTURE = "capture"
ACCOUNTANT = "accountant"


class DemoErp:
    """Tryton with its database; use it as a context manager or pair `start` with `stop`.

    `folder` holds the running data, `cache` the kept set-up; `progress` hears one sentence at a time.
    A folder that was used before continues with its books. Raises `ErpFailed` or `EmbeddedUnavailable`.
    """

    def __init__(
        self,
        folder: Path,
        cache: Path,
        progress: Callable[[str], None],
        *,
        plan: CompanyPlan | None = None,
    ) -> None:
        self._folder = folder.expanduser().resolve()
        self._cache = cache.expanduser().resolve()
        self._progress = progress
        self._plan = plan or CompanyPlan()
        self._server: TrytonServer | None = None
        self._passwords: dict[str, str] = {}
        self._roles = {OWNER: secrets.token_urlsafe(24), CAPTURE: secrets.token_urlsafe(24)}
        self.cluster = Cluster(self._folder / "erp-postgres", settings=POSTGRES_SETTINGS)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The address of Tryton's server."""
        return self._running.url

    @property
    def database(self) -> str:
        """Name of the database, in PostgreSQL and in Tryton's addresses."""
        return DATABASE

    @property
    def user(self) -> str:
        """Login of the engine's own user."""
        return BOT

    @property
    def password(self) -> str:
        """Password of the engine's own user."""
        return self._passwords[BOT]

    @property
    def accountant_user(self) -> str:
        """Login of the person who works in Tryton."""
        return ACCOUNTANT

    @property
    def accountant_password(self) -> str:
        """Password of the person who works in Tryton."""
        return self._passwords[ACCOUNTANT]

    @property
    def postgres_dsn(self) -> str:
        """A login for capture: may replicate, read all tables and publish them; no superuser."""
        return self.cluster.dsn(DATABASE, user=CAPTURE, password=self._roles[CAPTURE])

    @property
    def server_pid(self) -> int | None:
        """Process id of Tryton's server while it runs."""
        return self._server.pid if self._server else None

    def accountant(self) -> Accountant:
        """The person, logged in at the first thing that they do; close it in the end."""
        # A person waits: whoever gives up on a busy machine does not know whether it was done.
        return Accountant(Session(self.url, DATABASE, ACCOUNTANT, self.accountant_password, timeout=300.0))

    def administrator(self) -> Session:
        """Tryton's own administrator; close it in the end."""
        return Session(self.url, DATABASE, ADMIN, self._passwords[ADMIN])

    def start(self) -> None:
        """Bring everything up; returns when Tryton answers."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._progress("Starting the ERP's PostgreSQL")
        try:
            self.cluster.start()
            for role, password in self._roles.items():
                self.cluster.ensure_role(role, password=password, replication=role == CAPTURE)
            uri = (
                f"postgresql://{OWNER}:{quote(self._roles[OWNER], safe='')}@{self.cluster.host}:{self.cluster.port}/"
            )
            self._server = TrytonServer(self._folder, DATABASE, uri)
            self._passwords = Filling(
                folder=self._folder,
                cache=self._cache,
                cluster=self.cluster,
                server=self._server,
                plan=self._plan,
                database=DATABASE,
                owner=OWNER,
                owner_password=self._roles[OWNER],
                users=(BOT, ACCOUNTANT),
                progress=self._progress,
            ).fill()
            self._open_for_capture()
            self._progress("Starting Tryton")
            self._server.start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End Tryton, then its PostgreSQL; the folder stays."""
        if self._server is not None:
            self._server.stop()
        self.cluster.stop()

    def kill_server(self) -> None:
        """Kill Tryton's server where it stands; its PostgreSQL goes on."""
        self._running.kill()

    def start_server(self) -> None:
        """Start Tryton's server again at the same address."""
        self._running.start()

    @property
    def _running(self) -> TrytonServer:
        if self._server is None:
            raise RuntimeError("The ERP was not started: call start() first")
        return self._server

    def _open_for_capture(self) -> None:
        """Let the capture role read and publish, and make each change carry the whole row before it."""
        with psycopg.connect(self.cluster.dsn(DATABASE), autocommit=True) as connection:
            # Publishing a table takes its owner's rights.
            connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(OWNER), sql.Identifier(CAPTURE)))
            found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
            present = {str(row[0]) for row in found}
            for table in (spec.name for spec in TABLES if spec.name in present):
                connection.execute(sql.SQL("ALTER TABLE {} REPLICA IDENTITY FULL").format(sql.Identifier(table)))
