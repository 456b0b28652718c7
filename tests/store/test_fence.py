"""Of several workers only the one that took a system over last commits; one that does not answer is shut out."""

import datetime as dt
from collections.abc import Callable

import psycopg
import pytest

from engine.app.wiring import enter_system
from engine.store.exclusive import AlreadyRunningError, fenced, is_taken, take_over, take_system
from engine.store.unit import Connection, FencedError, unit_of_work

NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)


def connecting(dsn: str) -> Callable[[], Connection]:
    return lambda: psycopg.connect(dsn, autocommit=True)


def commit(connection: Connection, system: str) -> int:
    with unit_of_work(connection, system, NOW) as work:
        return work.batch


def test_who_lost_a_system_commits_nothing_more(store_dsn: str, connection: Connection) -> None:
    enter_system(connection, "fence-a", "tryton")
    connect = connecting(store_dsn)
    held, first = take_system(connect, "fence-a", 1)
    old = fenced(connect(), "fence-a", first)
    assert commit(old, "fence-a") == 1
    held.close()
    # A connection that nobody ends, for example behind a pooler that kept it.
    old.execute("SET application_name = 'kept'")
    held, second = take_system(connect, "fence-a", 5)
    assert second == first + 1
    with pytest.raises(FencedError, match="has taken system fence-a over"):
        commit(old, "fence-a")
    with pytest.raises(FencedError):
        fenced(connect(), "fence-a", first)
    new = fenced(connect(), "fence-a", second)
    assert commit(new, "fence-a") == 2
    # What comes from people and the AR side is bound to no worker.
    assert commit(connection, "fence-a") == 3
    for one in (old, new, held):
        one.close()


def test_an_owner_that_does_not_answer_is_shut_out_in_the_midst_of_its_work(store_dsn: str) -> None:
    connect = connecting(store_dsn)
    with connect() as connection:
        enter_system(connection, "fence-b", "tryton")
    held, first = take_system(connect, "fence-b", 1)
    frozen = fenced(connect(), "fence-b", first)
    take_over(frozen, "fence-b")
    unit = unit_of_work(frozen, "fence-b", NOW)
    unit.__enter__()  # it has the head lock, and goes no further
    taken, second = take_system(connect, "fence-b", 0.2)
    assert second == first + 1
    new = fenced(connect(), "fence-b", second)
    take_over(new, "fence-b")
    assert commit(new, "fence-b") == 1
    with pytest.raises(psycopg.OperationalError):
        frozen.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        held.execute("SELECT 1")
    for one in (frozen, held, new, taken):
        one.close()


def test_who_is_to_have_it_no_more_shuts_nobody_out(store_dsn: str) -> None:
    connect = connecting(store_dsn)
    with connect() as connection:
        enter_system(connection, "fence-d", "tryton")
    held, first = take_system(connect, "fence-d", 1)
    with pytest.raises(AlreadyRunningError):
        take_system(connect, "fence-d", 0.2, lambda: False)
    still = fenced(connect(), "fence-d", first)
    assert commit(still, "fence-d") == 1
    for one in (still, held):
        one.close()


def test_an_owner_that_finishes_in_time_keeps_its_commit(store_dsn: str) -> None:
    import threading

    connect = connecting(store_dsn)
    with connect() as connection:
        enter_system(connection, "fence-c", "tryton")
        held, first = take_system(connect, "fence-c", 1)
        old = fenced(connect(), "fence-c", first)
        taken: list[int] = []

        def take() -> None:
            other, fence = take_system(connect, "fence-c", 10)
            taken.append(fence)
            other.close()

        next_owner = threading.Thread(target=take)
        next_owner.start()
        assert commit(old, "fence-c") == 1
        old.close()
        held.close()
        next_owner.join(10)
        assert taken == [first + 1]
        assert not is_taken(connection, "fence-c")
