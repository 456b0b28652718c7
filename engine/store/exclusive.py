"""One daemon works on a system at a time: a lock that lives as long as its connection.

The reader takes it on the connection with which it commits, so that whoever has lost it cannot commit either.
"""

import time

from engine.store.unit import Connection

_PATIENCE = 5.0
"""Seconds: a daemon that was killed leaves its lock until the server has noticed."""


class AlreadyRunningError(RuntimeError):
    """Another daemon works on this system."""


def take_over(connection: Connection, system: str, patience: float = _PATIENCE) -> None:
    """Take the system's lock for this connection.

    Raises:
        AlreadyRunningError: somebody else has it and keeps it.
    """
    until = time.monotonic() + patience
    while True:
        row = connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (_name(system),)).fetchone()
        if row and row[0]:
            return
        if time.monotonic() > until:
            raise AlreadyRunningError(
                f"another `arsync run` works on system {system} with this store; stop it first, "
                "for two would send the same commands side by side"
            )
        time.sleep(0.2)


def is_taken(connection: Connection, system: str) -> bool:
    """Whether a daemon works on this system now."""
    row = connection.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", (_name(system),)).fetchone()
    if row and row[0]:
        connection.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (_name(system),))
        return False
    return True


def _name(system: str) -> str:
    return f"arsync/daemon/{system}"
