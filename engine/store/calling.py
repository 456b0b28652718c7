"""Calls the dispatchers of a system, in whatever process they run, when there is something new for them to do.

Whoever takes intents in calls within the same transaction, so that the call comes with the commit. It only saves the
wait for the next look: a call that nobody hears loses nothing.
"""

import threading
from collections.abc import Callable
from typing import Any, Final

from psycopg import Cursor

from engine.store.unit import Connection

_CHANNEL: Final = "arsync"
_LOOK_SECONDS: Final = 0.2


def call(cursor: Cursor[Any], system: str) -> None:
    """Call when this transaction commits."""
    cursor.execute("SELECT pg_notify(%s, %s)", (_CHANNEL, system))


def hear(connection: Connection, system: str, stop: threading.Event, called: Callable[[], None]) -> None:
    """Until `stop` is set: `called` for every call of this system. The connection must commit by itself.

    Raises:
        psycopg.OperationalError: the store is gone, and the connection with it.
    """
    connection.execute(f"LISTEN {_CHANNEL}")
    while not stop.is_set():
        for one in connection.notifies(timeout=_LOOK_SECONDS):
            if one.payload == system:
                called()
