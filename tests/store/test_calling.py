"""Calls between processes: heard with the commit, by those of the same system alone."""

import threading
import time

import psycopg

from engine.app.wiring import enter_system
from engine.store.calling import call, hear
from engine.store.unit import Connection
from tests.flow.test_dispatcher import House


class Ears:
    """Somebody who listens in a thread, and counts."""

    def __init__(self, dsn: str, system: str) -> None:
        self.heard = threading.Semaphore(0)
        self._stop = threading.Event()
        self._connection = psycopg.connect(dsn, autocommit=True)
        listening = (self._connection, system, self._stop, self.heard.release)
        self._thread = threading.Thread(target=hear, args=listening, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(5)
        assert not self._thread.is_alive()
        self._connection.close()


def until_heard(ears: Ears, connection: Connection, system: str) -> None:
    """Call until the listener has begun to listen."""
    until = time.monotonic() + 20
    while not ears.heard.acquire(timeout=0.1):
        assert time.monotonic() < until
        call(connection.cursor(), system)
    time.sleep(0.5)
    while ears.heard.acquire(blocking=False):
        pass


def test_a_call_comes_with_the_commit_and_to_its_own_system(connection: Connection, store_dsn: str) -> None:
    ears = Ears(store_dsn, "called")
    try:
        until_heard(ears, connection, "called")
        call(connection.cursor(), "another")
        with connection.transaction(force_rollback=True):
            call(connection.cursor(), "called")
        with connection.transaction():
            call(connection.cursor(), "called")
            assert not ears.heard.acquire(timeout=0.5), "nothing is there to be done before the commit"
        assert ears.heard.acquire(timeout=10)
        assert not ears.heard.acquire(timeout=0.5)
    finally:
        ears.close()


def test_intents_that_are_taken_in_call(connection: Connection, store_dsn: str) -> None:
    ears = Ears(store_dsn, "calling-intake")
    try:
        enter_system(connection, "calling-intake", "tryton")
        until_heard(ears, connection, "calling-intake")
        house = House(connection, lambda: psycopg.connect(store_dsn, autocommit=True), "calling-intake")
        house.invoice("1")
        assert not ears.heard.acquire(timeout=0.3)
        house.pay("one", i1="40.00")
        assert ears.heard.acquire(timeout=10)
    finally:
        ears.close()
