"""The journal alone gives again what was decided, and leads to the very records that the store holds."""

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal

import psycopg
import pytest

from engine.flow.replay.verifying import Verified, verify
from engine.store import checkpoints
from engine.store.journal_reading import StoredJournal
from engine.store.unit import Connection
from tests.flow.test_dispatcher import House

NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)


def verified(store_dsn: str, system: str) -> Verified:
    with psycopg.connect(store_dsn) as reading:
        journal = StoredJournal(reading)
        return verify(journal, system, current=lambda: journal.current(system))


@pytest.fixture
def house(connection: Connection, store_dsn: str, request: pytest.FixtureRequest) -> Iterator[House]:
    opened: list[Connection] = []

    def connect() -> Connection:
        opened.append(psycopg.connect(store_dsn, autocommit=True))
        return opened[-1]

    yield House(connection, connect, f"replay-{request.node.name}")
    for one in opened:
        one.close()


def busy(house: House) -> None:
    for key in ("1", "2", "3"):
        house.invoice(key)
    house.erp.faults = ["lost_before", "stale", "throttled", "rejected"]
    house.pay("several", i1="40.00", i2="100.00")
    house.pay("one", i3="30.00")
    house.pay("more", i3="30.00")
    house.pay("too much", i3="200.00")
    house.erp.pay("1", Decimal("60.00"), "by hand")
    house.drain()


def test_a_busy_house_verifies(house: House, store_dsn: str) -> None:
    busy(house)
    found = verified(store_dsn, house.system)
    assert found.faults == []
    assert found.decided == found.entries > 20


def test_a_checkpoint_is_met(house: House, store_dsn: str) -> None:
    busy(house)
    taken = checkpoints.take(house.connection, house.system, NOW)
    house.invoice("4")
    found = verified(store_dsn, house.system)
    assert (found.faults, found.checkpoints) == ([], 1)
    assert checkpoints.read_checkpoint(taken.line) == taken
