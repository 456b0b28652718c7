"""The journal alone gives again what was decided, and leads to the very records that the store holds."""

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import msgspec
import psycopg
import pytest

from engine.flow.replay.normal import normal_form
from engine.flow.replay.proving import prove
from engine.flow.replay.verifying import Verified, verify
from engine.store import checkpoints
from engine.store.archive import Archive
from engine.store.exporting import export, prune
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


def test_a_system_is_proven_without_those_that_are_called_much_alike(connection: Connection, store_dsn: str) -> None:
    for name in ("much_alike", "muchXalike"):
        with psycopg.connect(store_dsn, autocommit=True) as opened:
            House(connection, lambda opened=opened: opened, name).invoice("1")  # type: ignore[misc]
    for name in ("much_alike", "muchXalike"):
        found = verified(store_dsn, name)
        assert (found.faults, found.entries > 0) == ([], True)
        assert set(checkpoints.take(connection, name, NOW).heads) == set(found.ends)


@pytest.mark.parametrize(
    "faults", [["lost_before"], ["lost_after", "lost_after"], ["throttled", "stale", "lost_before"]], ids=str
)
def test_what_goes_wrong_on_the_way_leaves_no_trace_in_the_normal_form(
    connection: Connection, store_dsn: str, request: pytest.FixtureRequest, faults: list[str]
) -> None:
    found = []
    for number, wrong in enumerate([[], faults]):
        opened: list[Connection] = []

        def connect(opened: list[Connection] = opened) -> Connection:
            opened.append(psycopg.connect(store_dsn, autocommit=True))
            return opened[-1]

        house = House(connection, connect, f"normal-{number}-{len(faults)}-{faults[-1]}")
        for key in ("1", "2", "3"):
            house.invoice(key)
        house.erp.faults = list(wrong)
        house.pay("several", i1="40.00", i2="100.00")
        house.pay("too much", i3="200.00")
        for _ in range(3):
            house.drain()
            house.clock.pass_(75)  # what was lost may have come late until then
        house.drain()
        with psycopg.connect(store_dsn) as reading:
            found.append(normal_form(StoredJournal(reading), house.system))
        for one in opened:
            one.close()
    clean, troubled = found
    assert msgspec.structs.replace(troubled, system=clean.system) == clean
    assert [effect[0] for effect in clean.effects] == ["several"]
    assert clean.intents["too much"] != "done"
    assert clean.digest == troubled.digest


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


def test_an_archive_verifies_on_its_own_and_what_it_holds_can_be_pruned(
    house: House, store_dsn: str, owner_dsn: str, tmp_path: Path
) -> None:
    busy(house)
    taken = checkpoints.take(house.connection, house.system, NOW)
    folder = tmp_path / "archive"
    added = export(house.connection, house.system, folder)
    assert (added.entries, export(house.connection, house.system, folder).entries) == (entries(house), 0)
    found = prove(Archive(folder), house.system, outside=[taken])
    assert (found.faults, found.entries, found.uncovered) == ([], added.entries, 0)
    house.invoice("4")
    assert export(house.connection, house.system, folder).entries == 1
    with psycopg.connect(owner_dsn, autocommit=True) as owner:
        assert prune(owner, house.system, folder, NOW) == (added.entries, taken.batch)
    assert entries(house) == 1
    after = verified(store_dsn, house.system)
    assert (after.faults, after.began, after.decided) == ([], taken.batch, 1)
    whole = prove(Archive(folder), house.system)
    assert (whole.faults, whole.digest, whole.uncovered) == ([], after.digest, added.entries + 1)
    late = tmp_path / "late"
    export(house.connection, house.system, late)
    again = prove(Archive(late), house.system)
    assert (again.faults, again.began, again.digest) == ([], taken.batch, after.digest)


def entries(house: House) -> int:
    row = house.connection.execute("SELECT count(*) FROM journal WHERE system = %s", (house.system,)).fetchone()
    return int(row[0]) if row else 0
