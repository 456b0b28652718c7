"""An own PostgreSQL inside a folder, run from the binaries of the `embedded` extra.

The command line calls it when no database was named; tests and the demo call it too. Its promises: every login
needs a password and comes over 127.0.0.1; nothing outside the folder changes owner or permission; no user is
made; committed data survives a killed server and a crashed machine; what was started can be stopped, also by a
later process.

PostgreSQL refuses to run as root. Started by root it therefore runs as an ordinary user who may be unable to
walk down to its own data, for the folders above may be closed to that user. So the server is placed inside its
data folder before it gives root up, and knows it as `/proc/self/cwd`: the kernel then walks no path at all.
The programs have no such door. When the user cannot reach them, they run from a copy in a temporary folder,
which lives as long as the server does.
"""

import fcntl
import hashlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote

import psutil  # type: ignore[import-untyped]
import psycopg
from psycopg import conninfo, sql

from engine.store.embedded_processes import (
    POLL_SECONDS,
    end,
    end_leftovers,
    find_postmaster,
    free_port,
    is_gone,
    lock_lines,
    log_tail,
    one_at_a_time,
)
from engine.store.embedded_programs import (
    EmbeddedUnavailable,
    Programs,
    ServerUser,
    drop_copy,
    find_programs,
    hand_over,
    run_initdb,
    seen_from_inside,
    server_user,
    surroundings,
    sync_folder,
    write_private,
)

__all__ = ["Cluster", "EmbeddedUnavailable"]

HOST: Final = "127.0.0.1"
DEFAULTS: Final[Mapping[str, str]] = {
    "fsync": "on",
    "lc_messages": "C",
    "log_line_prefix": "%m [%p] ",
    "log_timezone": "UTC",
    "logging_collector": "off",
    "max_connections": "60",
    "shared_buffers": "128MB",
    "timezone": "UTC",
}
# The promises of this module hang on these.
FIXED: Final = frozenset(
    {"cluster_name", "listen_addresses", "password_encryption", "port", "unix_socket_directories"}
)
START_SECONDS: Final = 30.0
# A server that replays its log after a crash says so every ten seconds; each such line buys it more time.
RECOVERY_SECONDS: Final = 900.0
SHUTDOWN: Final = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 5.0))
LOG_LIMIT: Final = 16 * 1024 * 1024
PORT_ATTEMPTS: Final = 5


class Cluster:
    """One PostgreSQL with its data, log, password and port below `folder`.

    `settings` are server settings (`{"wal_level": "logical"}`) laid over `DEFAULTS`. They show in the process
    list, so they are no place for a secret. They hold from the next start of the server: a server that is
    running already is adopted as it is. A setting in `FIXED`, or no setting name at all, is a ValueError.
    """

    def __init__(
        self, folder: Path, *, settings: Mapping[str, str] | None = None, superuser: str = "arsync_owner"
    ) -> None:
        for name in settings or {}:
            if name in FIXED or not re.fullmatch(r"[a-z_][a-z0-9_.]*", name):
                raise ValueError(f"the server setting {name!r} cannot be set: it is fixed, or not a name")
        self._folder = folder.expanduser().resolve()
        self._data = self._folder / "data"
        self._log = self._folder / "postgres.log"
        self._superuser = superuser
        # The name stands in the command line of each of the server's processes: that is how they are known
        # again, without the right to look into another user's processes.
        self._name = "arsync-" + hashlib.sha256(os.fsencode(self._folder)).hexdigest()[:16]
        self._settings = {**DEFAULTS, **(settings or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        """Whether this folder's server is there, whoever started it."""
        return self._postmaster() is not None

    @property
    def host(self) -> str:
        """The only address that the server listens on."""
        return HOST

    @property
    def port(self) -> int:
        """The server's port; EmbeddedUnavailable before the first start."""
        lines = lock_lines(self._data)
        text = lines[3] if len(lines) > 3 else self._read("port", "has never been started: call start() first")
        return int(text)

    @property
    def superuser(self) -> str:
        """The role that owns the cluster."""
        return self._superuser

    @property
    def password(self) -> str:
        """The superuser's password; EmbeddedUnavailable before the first start."""
        return self._read("password", "has no password file: call start() first, or restore it from a backup")

    def dsn(self, database: str = "postgres", *, user: str | None = None, password: str | None = None) -> str:
        """Give the URI of a database. Without `user` it logs in as the superuser, with that role's password."""
        name = user or self._superuser
        if password is None and name == self._superuser:
            password = self.password
        secret = "" if password is None else ":" + quote(password, safe="")
        return f"postgresql://{quote(name, safe='')}{secret}@{HOST}:{self.port}/{quote(database, safe='')}"

    def start(self) -> None:
        """Start the server, or adopt the one that runs; return when it answers.

        EmbeddedUnavailable when it does not, with the last lines of its log.
        """
        self._make_folder()
        with one_at_a_time(self._folder / "lock"):
            postmaster = self._postmaster()
            if postmaster is not None:
                self._await_ready(postmaster)
                self._check_login()
                return
            self._clear_leftovers()
            user = server_user(self._data)
            programs = find_programs(user, self._folder / "programs")
            try:
                if not self._data.exists():
                    self._initialise(programs, user)
                self._check_data(user)
                self._launch(programs, user)
                self._check_login()
            except BaseException:
                # Whoever gets an error from start() has nothing to stop.
                self._shut_down()
                raise

    def stop(self) -> None:
        """End the server of this folder, whoever started it; open transactions are rolled back."""
        if self._folder.is_dir():
            with one_at_a_time(self._folder / "lock"):
                self._shut_down()

    def kill(self) -> None:
        """End the postmaster as a crash would; a later start() recovers what was committed."""
        postmaster = self._postmaster()
        if postmaster is not None:
            end([postmaster], signal.SIGKILL, 5.0)
        self._reap()

    def ensure_role(self, name: str, *, password: str, replication: bool = False, superuser: bool = False) -> None:
        """Make the login role, or give the one that exists this password and these rights."""
        with self._connect() as connection:
            # Only the verifier travels, so that no log of statements can show the password.
            verifier = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256")
            rights = sql.SQL("LOGIN {} {} PASSWORD {}").format(
                sql.SQL("REPLICATION" if replication else "NOREPLICATION"),
                sql.SQL("SUPERUSER" if superuser else "NOSUPERUSER"),
                sql.Literal(verifier.decode()),
            )
            role = sql.Identifier(name)
            try:
                connection.execute(sql.SQL("CREATE ROLE {} {}").format(role, rights))
            except psycopg.errors.DuplicateObject:
                connection.execute(sql.SQL("ALTER ROLE {} {}").format(role, rights))

    def ensure_database(self, name: str, *, owner: str | None = None) -> None:
        """Make the database, or leave the one that exists; either way it belongs to `owner`, if one is named."""
        with self._connect() as connection:
            with suppress(psycopg.errors.DuplicateDatabase):
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            if owner is not None:
                change = sql.SQL("ALTER DATABASE {} OWNER TO {}")
                connection.execute(change.format(sql.Identifier(name), sql.Identifier(owner)))

    # The folder.

    def _make_folder(self) -> None:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise self._unavailable("cannot be made", str(error), "name another folder") from error
        if not os.access(self._folder, os.R_OK | os.W_OK | os.X_OK):
            raise self._unavailable(
                "cannot be written", f"it is closed to uid {os.geteuid()}", "run as the user who made it"
            )

    def _read(self, name: str, otherwise: str) -> str:
        try:
            return (self._folder / name).read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            raise EmbeddedUnavailable(f"the embedded PostgreSQL in {self._folder} {otherwise}") from None

    def _unavailable(self, what: str, why: str, step: str) -> EmbeddedUnavailable:
        return EmbeddedUnavailable(f"the folder {self._folder} of the embedded PostgreSQL {what}: {why}; {step}")

    # The processes.

    def _postmaster(self) -> psutil.Process | None:
        if self._process is not None and self._process.poll() is None:
            return psutil.Process(self._process.pid)
        return find_postmaster(self._data, self._name)

    def _shut_down(self) -> None:
        postmaster = self._postmaster()
        if postmaster is not None:
            for number, seconds in SHUTDOWN:
                if end([postmaster], number, seconds):
                    break
        self._reap()
        self._clear_leftovers()

    def _clear_leftovers(self) -> None:
        """End what a killed server left running, drop its stale lock file and its copied programs."""
        stuck = end_leftovers(self._data, self._name)
        if stuck:
            raise self._unavailable("is in use", f"the processes {stuck} do not end", "end them, then start again")
        drop_copy(self._folder / "programs")

    def _reap(self) -> None:
        if self._process is not None:
            self._process.wait(5.0)
            self._process = None

    # The data.

    def _initialise(self, programs: Programs, user: ServerUser | None) -> None:
        """Make the data in a draft folder first, so that `data` is whole or absent."""
        if not (self._folder / "password").exists():
            write_private(self._folder / "password", secrets.token_urlsafe(32))
        draft = self._folder / "data.new"
        for locale in ("C.UTF-8", "C"):
            if draft.exists():
                shutil.rmtree(draft)
            draft.mkdir(mode=0o700)
            if user is not None:
                hand_over(draft, user)
            options = ["-U", self._superuser, f"--locale={locale}"]
            options += ["--no-sync"] if self._settings["fsync"] == "off" else []
            fault = run_initdb(programs, user, draft, options=options, password=self.password)
            if fault is None or "invalid locale" not in fault:
                break
        if fault is not None:
            raise self._unavailable("cannot be filled", "initdb failed", f"it said:\n{fault}")
        draft.rename(self._data)
        sync_folder(self._folder)

    def _check_data(self, user: ServerUser | None) -> None:
        for part in (self._folder / "password", self._data / "PG_VERSION", self._data / "global/pg_control"):
            if not part.exists():
                raise self._unavailable(
                    "is damaged", f"{part.name} is missing", "restore it from a backup, or name an empty folder"
                )
        owner = self._data.stat().st_uid
        if user is None and owner != os.geteuid():
            raise self._unavailable("belongs to another user", f"uid {owner} made it", "run as that user, or as root")
        if user is not None and owner != user.uid:
            hand_over(self._data, user)

    # Starting.

    def _launch(self, programs: Programs, user: ServerUser | None) -> None:
        if self._log.exists() and self._log.stat().st_size > LOG_LIMIT:
            self._log.replace(self._log.with_suffix(".log.1"))
        for _ in range(PORT_ATTEMPTS):
            written = self._log.stat().st_size if self._log.exists() else 0
            self._process = self._spawn(programs, user, self._choose_port())
            try:
                self._await_ready(psutil.Process(self._process.pid), written)
                return
            except EmbeddedUnavailable:
                # Between the choice and the server's bind somebody else took the port.
                if "could not bind" not in log_tail(self._log, written):
                    raise
                self._reap()
                (self._folder / "port").unlink(missing_ok=True)
        raise self._unavailable("got no port", f"{PORT_ATTEMPTS} free ports were taken at once", "start it again")

    def _spawn(self, programs: Programs, user: ServerUser | None, port: int) -> subprocess.Popen[bytes]:
        fixed = {
            "cluster_name": self._name,
            "listen_addresses": HOST,
            "password_encryption": "scram-sha-256",
            "port": str(port),
            "unix_socket_directories": "",
        }
        command = [str(programs.folder / "postgres"), "-D", seen_from_inside(self._data, user)]
        for name, value in {**self._settings, **fixed}.items():
            command += ["-c", f"{name}={value}"]
        handles = [os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)]
        try:
            if programs.copy is not None:
                # Cleaners of temporary folders pass by a folder that is locked; the server keeps the lock.
                handles.append(os.open(programs.copy, os.O_RDONLY | os.O_DIRECTORY))
                fcntl.flock(handles[-1], fcntl.LOCK_SH)
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=handles[0],
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal is arsync's to handle, not the server's
                pass_fds=handles[1:],
                **surroundings(self._data, user),
            )
        finally:
            for handle in handles:
                os.close(handle)

    def _choose_port(self) -> int:
        """Keep the port of the last time if it is free; else find and keep another."""
        kept = self._folder / "port"
        wanted = int(kept.read_text(encoding="utf-8")) if kept.exists() else 0
        port = free_port(HOST, wanted)
        if port is not None:
            if port != wanted:
                write_private(kept, str(port))
            return port
        raise self._unavailable("got no port", f"no port of {HOST} is free", "end programs that hold ports")

    def _await_ready(self, postmaster: psutil.Process, written: int = 0) -> None:
        """Wait until the lock file says ready; `written` is the log's size before this start, in bytes."""
        begun = heard = time.monotonic()
        size = -1
        while time.monotonic() - heard < START_SECONDS and time.monotonic() - begun < RECOVERY_SECONDS:
            lines = lock_lines(self._data)
            if len(lines) > 7 and lines[7].strip() == "ready" and lines[0] == str(postmaster.pid):
                return
            if is_gone(postmaster):
                why = "it ended at once"
                break
            if self._log.exists() and (now := self._log.stat().st_size) != size:
                size, heard = now, time.monotonic()
            time.sleep(POLL_SECONDS)
        else:
            why = f"it did not get ready within {START_SECONDS:.0f} s"
        raise EmbeddedUnavailable(
            f"the embedded PostgreSQL in {self._folder} does not start: {why}; read {self._log.name} there, "
            f"which ends with:\n{log_tail(self._log, written)}"
        )

    def _check_login(self) -> None:
        try:
            self._connect().close()
        except psycopg.OperationalError as error:
            raise EmbeddedUnavailable(
                f"the embedded PostgreSQL in {self._folder} runs but does not answer on port {self.port}: "
                f"{str(error).strip()}; its log ends with:\n{log_tail(self._log)}"
            ) from error

    def _connect(self) -> psycopg.Connection[Any]:
        # A stranger on the port must not be told the password: it may only be proven.
        secure = conninfo.make_conninfo(
            self.dsn(), connect_timeout=10, require_auth="scram-sha-256", sslmode="disable", gssencmode="disable"
        )
        return psycopg.connect(secure, autocommit=True)
