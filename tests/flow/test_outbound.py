"""The log of what the AR side is told: complete, in order, committed with what happened."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import psycopg
import pytest

from engine.model.documents import DocumentKind
from engine.model.outbound import KINDS, InvoiceDocument, OutEvent
from engine.store import document_pages, outbound
from engine.store.outbound import FeedPosition, LostPlaceError, Place
from engine.store.unit import Connection, unit_of_work
from tests.flow.test_dispatcher import House


@pytest.fixture
def house(connection: Connection, store_dsn: str, request: pytest.FixtureRequest) -> Iterator[House]:
    opened: list[Connection] = []

    def connect() -> Connection:
        opened.append(psycopg.connect(store_dsn, autocommit=True))
        return opened[-1]

    yield House(connection, connect, f"out-{request.node.name}")
    for one in opened:
        one.close()


def keep(house: House, *, wanted: bool = True) -> None:
    with house.connection.cursor() as cursor:
        outbound.keep_log(cursor, house.system, wanted=wanted)


def start_of(house: House) -> Place:
    with house.connection.cursor() as cursor:
        log = outbound.log_of(cursor, house.system)
    assert log is not None
    return log.start


def read(house: House, after: Place | None = None, limit: int = 1000) -> tuple[list[OutEvent], Place]:
    with house.connection.cursor() as cursor:
        return outbound.page(cursor, house.system, after or start_of(house), limit)


def said(events: list[OutEvent]) -> list[str]:
    """Each event in a few words."""
    words = []
    for event in events:
        body: dict[str, Any] = json.loads(bytes(event.data))
        words.append(f"{event.kind} {event.subject} {body.get('destination', '')}".strip())
    return words


def paid(house: House) -> None:
    house.invoice("1")
    house.pay("rcpt-1", i1="100.00")
    house.steps()
    house.erp.tell(house.connection, house.clock, "1")


def test_everything_that_concerns_the_ar_side_is_told_in_order(house: House) -> None:
    keep(house)
    paid(house)
    events, _ = read(house)
    assert said(events) == [
        "invoice.moved invoice/1 open",
        "document.changed invoice/1",
        "command.planned intent/rcpt-1",
        "invoice.moved invoice/1 matched",
        "intent.moved intent/rcpt-1 planned",
        "document.changed invoice/1",
        "command.moved intent/rcpt-1 sent",
        "command.moved intent/rcpt-1 accepted",
        "invoice.moved invoice/1 cleared",
        "invoice.moved invoice/1 posted",
        "invoice.moved invoice/1 posted",  # match_ended: its payment is no longer in flight
        "command.moved intent/rcpt-1 confirmed",
        "intent.moved intent/rcpt-1 done",
        "document.changed invoice/1",
    ]
    assert len({event.id for event in events}) == len(events)
    for event in events:
        assert msgspec.json.decode(event.data, type=KINDS[event.kind]) is not None


def test_conflicts_are_told_whole(house: House) -> None:
    keep(house)
    house.invoice("1")
    house.erp.faults = ["rejected"]
    house.pay("rcpt-1", i1="100.00")
    house.steps()
    events, _ = read(house)
    raised = [event for event in events if event.kind == "conflict.raised"]
    assert len(raised) == 1
    conflict = json.loads(bytes(raised[0].data))["conflict"]
    assert conflict["kind"] == "erp_rejected"
    assert conflict["intent"] == "rcpt-1"
    answered = [json.loads(bytes(e.data)) for e in events if e.kind == "command.moved"][-1]
    assert (answered["answer"], answered["answer_text"]) == ("rejected", "as told")


def test_pages_join_without_a_gap_and_without_a_repeat(house: House) -> None:
    keep(house)
    paid(house)
    whole, end = read(house)
    joined: list[OutEvent] = []
    place = start_of(house)
    while True:
        part, place = read(house, place, limit=2)
        if not part:
            break
        joined += part
    assert joined == whole
    assert place == end
    assert read(house, end)[0] == []


def test_an_event_is_found_by_its_id(house: House) -> None:
    keep(house)
    paid(house)
    whole, _ = read(house)
    with house.connection.cursor() as cursor:
        for event in whole:
            assert str(outbound.place_of(cursor, house.system, event.id)) == event.cursor
        assert outbound.place_of(cursor, house.system, whole[0].id + "x") is None
        assert outbound.place_of(cursor, house.system, "nonsense") is None


def test_nothing_is_written_where_nobody_is_told(house: House) -> None:
    paid(house)
    rows = house.connection.execute("SELECT count(*) FROM outbound WHERE system = %s", (house.system,)).fetchone()
    assert rows == (0,)
    with house.connection.cursor() as cursor, pytest.raises(LostPlaceError):
        outbound.page(cursor, house.system, Place(0, 0, 0), 10)


def test_what_is_rolled_back_is_not_told(house: House) -> None:
    keep(house)
    before = read(house)[1]

    def fail() -> None:
        with unit_of_work(house.connection, house.system, house.clock()) as work:
            assert work.telling is not None
            from engine.model.outbound import IntentNotTaken

            work.telling.add("x", "intent/x", house.clock(), IntentNotTaken("o", "r"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert read(house, before)[0] == []


def test_a_log_that_was_ended_and_begun_again_knows_no_older_place(house: House) -> None:
    keep(house)
    house.invoice("1")
    place = read(house)[1]
    with house.connection.cursor() as cursor:
        outbound.save_feed(cursor, "f", house.system, FeedPosition(place), house.clock())
    keep(house, wanted=False)
    house.invoice("2")
    keep(house)
    with pytest.raises(LostPlaceError):
        read(house, Place(0, 0, 5))
    with house.connection.cursor() as cursor:
        log = outbound.log_of(cursor, house.system)
        assert log is not None
        assert outbound.load_feed(cursor, "f", house.system, log) == FeedPosition(log.start, "")
    keep(house)
    assert start_of(house) == log.start, "one that is kept already goes on"


def test_what_is_old_and_published_is_pruned(house: House) -> None:
    keep(house)
    house.invoice("1")
    _, first = read(house)
    house.clock.pass_(3600)
    house.invoice("2")
    house.invoice("3")
    half_an_hour_ago = house.clock().replace(microsecond=0)
    half_an_hour_ago = half_an_hour_ago.fromtimestamp(half_an_hour_ago.timestamp() - 1800, half_an_hour_ago.tzinfo)
    with house.connection.cursor() as cursor:
        assert outbound.prune(cursor, house.system, half_an_hour_ago, ["f"]) == 0, "the feed has not begun"
        outbound.save_feed(cursor, "f", house.system, FeedPosition(start_of(house)), house.clock())
        assert outbound.prune(cursor, house.system, half_an_hour_ago, ["f"]) == 0, "nothing is published"
        outbound.save_feed(cursor, "f", house.system, FeedPosition(read(house)[1]), house.clock())
        assert outbound.prune(cursor, house.system, half_an_hour_ago, ["f"]) == 2
        assert outbound.prune(cursor, house.system, half_an_hour_ago, ["f"]) == 0, "the others are young"
    assert {event.subject for event in read(house, first)[0]} == {"invoice/2", "invoice/3"}
    with pytest.raises(LostPlaceError):
        read(house, Place(0, 0, 0))
    with house.connection.cursor() as cursor:
        assert outbound.prune(cursor, house.system, house.clock(), []) == 4, "no feed holds it back"


def test_what_is_pruned_while_a_page_is_read_is_not_passed_over(
    house: House, store_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(house)
    for number in ("1", "2", "3"):
        house.invoice(number)
    start = start_of(house)
    events, _ = read(house)
    log_of = outbound.log_of
    batch = int(events[0].cursor.split(".")[1])

    def then_pruned(cursor: Any, system: str) -> Any:
        found = log_of(cursor, system)
        with psycopg.connect(store_dsn, autocommit=True) as own, own.transaction(), own.cursor() as other:
            other.execute("UPDATE system SET outbound_from = %s WHERE name = %s", (batch, system))
            other.execute("DELETE FROM outbound WHERE system = %s AND batch <= %s", (system, batch))
        return found

    with monkeypatch.context() as patch:
        patch.setattr(outbound, "log_of", then_pruned)
        with pytest.raises(LostPlaceError):
            read(house, start)
    later, _ = read(house)
    assert 0 < len(later) < len(events)


def test_documents_are_read_whole(house: House) -> None:
    keep(house)
    paid(house)
    house.invoice("2")
    house.pay("rcpt-2", i2="40.00")
    with house.connection.cursor() as cursor:
        found = document_pages.document_page(cursor, house.system, DocumentKind.INVOICE, "", 10)
        again = document_pages.some_documents(cursor, house.system, DocumentKind.INVOICE, ["2", "1"])
        rest = document_pages.document_page(cursor, house.system, DocumentKind.INVOICE, "1", 10)
    assert found == again
    assert found[1:] == rest
    one, two = found
    assert isinstance(one, InvoiceDocument)
    assert isinstance(two, InvoiceDocument)
    assert (one.state, str(one.open_amount), len(one.applications)) == ("posted", "0.00", 1)
    assert (two.state, [str(match.amount) for match in two.in_flight]) == ("matched", ["40.00"])
    with house.connection.cursor() as cursor:
        version = cursor.execute(
            "SELECT record ->> 'version' FROM invoice WHERE system = %s AND key = '2'", (house.system,)
        ).fetchone()
    assert version == (two.content_version,)
