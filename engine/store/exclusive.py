"""One daemon works on a system at a time: a lock that lives as long as its connection, and a fence behind it.

The reader takes the lock on the connection with which it commits, so that whoever has lost it cannot commit either.
Workers that share systems hand them over by `take_system`: it waits for the last owner to finish, raises the fence,
and shuts out an owner that does not answer any more. A connection that `fenced` has marked commits under its own
fence only.
"""

import time
from collections.abc import Callable

import psycopg

from engine.store.unit import Connection, FencedError

_PATIENCE = 5.0
"""Seconds: a daemon that was killed leaves its lock until the server has noticed."""


class AlreadyRunningError(RuntimeError):
    """Another daemon works on this system."""


def hold(connection: Connection, name: str) -> bool:
    """Take a lock for this connection if nobody else has it; it is given back when the connection closes."""
    row = connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (_name(name),)).fetchone()
    return bool(row and row[0])


def take_over(connection: Connection, system: str, patience: float = _PATIENCE) -> None:
    """Take the system's lock for this connection.

    Raises:
        AlreadyRunningError: somebody else has it and keeps it.
    """
    until = time.monotonic() + patience
    while True:
        if hold(connection, system):
            return
        if time.monotonic() > until:
            raise AlreadyRunningError(
                f"another `arsync run` works on system {system} with this store; stop it first, "
                "for two would send the same commands side by side"
            )
        time.sleep(0.2)


def is_taken(connection: Connection, system: str) -> bool:
    """Whether a daemon works on this system now."""
    if hold(connection, system):
        connection.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (_name(system),))
        return False
    return True


def take_system(
    connect: Callable[[], Connection], system: str, patience: float, wanted: Callable[[], bool] = lambda: True
) -> tuple[Connection, int]:
    """Take a system over from whoever had it: the connection that holds it, and the fence to work under.

    The last owner has `patience` seconds to commit what is under way; then its connections are ended. That loses
    nothing: what it has not committed is read, or looked up in the ERP, again.

    Raises:
        AlreadyRunningError: it cannot be had, or is no longer `wanted` when the patience is at its end.
    """
    connection = connect()
    try:
        try:
            take_over(connection, f"{system}/owner", patience)
        except AlreadyRunningError:
            if not wanted():
                raise
            _end_connections(connection, system, None)
            take_over(connection, f"{system}/owner")
        fence = _raise_fence(connection, system)
        _end_connections(connection, system, fence)
        _mark(connection, system, fence)
    except BaseException:
        connection.close()
        raise
    return connection, fence


def fenced(connection: Connection, system: str, fence: int) -> Connection:
    """Mark a new connection: from now on it commits for this system under this fence only.

    Raises:
        FencedError: another worker has taken the system over already.
    """
    row = connection.execute("SELECT fence FROM system WHERE name = %s", (system,)).fetchone()
    if row is not None and row[0] != fence:
        connection.close()
        raise FencedError(f"another worker has taken system {system} over (fence {row[0]}, ours {fence})")
    _mark(connection, system, fence)
    return connection


def _mark(connection: Connection, system: str, fence: int) -> None:
    connection.execute(
        "SELECT set_config('arsync.fence', %s, false), set_config('application_name', %s, false)",
        (str(fence), _connection_name(system, fence)),
    )


def _raise_fence(connection: Connection, system: str) -> int:
    """The next fence. A unit of work that is open and does not end is ended with its connection."""
    for _ in range(2):
        try:
            with connection.transaction():
                connection.execute(f"SET LOCAL lock_timeout = {int(_PATIENCE * 1000)}")
                row = connection.execute(
                    "UPDATE system SET fence = fence + 1 WHERE name = %s RETURNING fence", (system,)
                ).fetchone()
            return int(row[0]) if row else 0
        except psycopg.errors.LockNotAvailable:
            _end_connections(connection, system, None)
    raise AlreadyRunningError(f"system {system} is held by a program that cannot be ended; look at pg_stat_activity")


def _end_connections(connection: Connection, system: str, fence: int | None) -> None:
    """End what older owners still have open; all of this system's marked connections without a `fence`."""
    connection.execute(
        """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
           WHERE datname = current_database() AND pid <> pg_backend_pid()
             AND left(application_name, length(%(head)s)) = %(head)s AND application_name <> %(own)s""",
        {"head": _connection_name(system, ""), "own": _connection_name(system, "" if fence is None else fence)},
    )


def _connection_name(system: str, fence: object) -> str:
    # PostgreSQL keeps 63 characters of it.
    return f"arsync/{system[:40]}/{fence}"


def _name(system: str) -> str:
    return f"arsync/daemon/{system}"
