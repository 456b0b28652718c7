"""Publishing and reading through a transport that fails: nothing is lost, repeats are known by their ids."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import psycopg
import pytest

from engine.flow import feed as publishing
from engine.flow.feed import Publisher
from engine.flow.inbox import Inbox
from engine.flow.intake import Door
from engine.model.canonical import canonical_bytes
from engine.model.intents import Withdraw
from engine.ports.errors import Unavailable
from engine.ports.feed import Outgoing
from engine.rules.policy import Policy
from engine.store import outbound
from engine.store.unit import Connection
from tests.flow.test_dispatcher import House
from tests.flow.transport_with_faults import FaultyTransport


class Feeding:
    """A house whose AR side is told through a transport."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.system = house.system
        self.transport = FaultyTransport()
        self.name = f"feed of {house.system}"
        with house.connection.cursor() as cursor:
            outbound.keep_log(cursor, house.system, wanted=True)

    def publisher(self, **options: Any) -> Publisher:
        house = self.house
        return Publisher(self.name, [self.system], self.transport, house.connection, house.clock, **options)

    def inbox(self, transport: FaultyTransport | None = None) -> Inbox:
        doors = {self.system: Door(Policy(), {})}
        house = self.house
        made = Inbox(self.name, doors, transport or self.transport, house.connection, house.clock, lambda: None)
        made.begin()
        return made

    def publish(self) -> None:
        """Publish everything, however often it breaks off."""
        for _ in range(30):
            try:
                if not self.publisher().step():
                    return
            except (Unavailable, SystemExit):
                continue
        pytest.fail("publishing does not come to rest")

    def log(self) -> list[str]:
        """The ids of all events that are no documents."""
        with self.house.connection.cursor() as cursor:
            log = outbound.log_of(cursor, self.system)
            assert log is not None
            events, _ = outbound.page(cursor, self.system, log.start, 10_000)
        return [event.id for event in events if event.kind != "document.changed"]

    def stored(self) -> dict[str, str]:
        """Content versions of all invoices that are not deleted."""
        rows = self.house.connection.execute(
            "SELECT key, record ->> 'version' FROM invoice WHERE system = %s AND NOT deleted", (self.system,)
        )
        return {f"{self.system}/invoice/{key}": version for key, version in rows}


@pytest.fixture
def feeding(connection: Connection, store_dsn: str, request: pytest.FixtureRequest) -> Iterator[Feeding]:
    opened: list[Connection] = []

    def connect() -> Connection:
        opened.append(psycopg.connect(store_dsn, autocommit=True))
        return opened[-1]

    yield Feeding(House(connection, connect, f"feed-{request.node.name}"))
    for one in opened:
        one.close()


def versions(documents: dict[str, bytes | None]) -> dict[str, str]:
    return {key: json.loads(value)["content_version"] for key, value in documents.items() if value is not None}


def unique(messages: list[Outgoing]) -> list[str]:
    """Ids in the order in which each came first: what a consumer sees that drops repeats."""
    return list(dict.fromkeys(one.id for one in messages))


def live(house: House) -> None:
    house.invoice("1")
    house.invoice("2", "50.00")
    house.pay("rcpt-1", i1="100.00")
    house.steps()
    house.erp.tell(house.connection, house.clock, "1")


def test_everything_is_published_once_in_order_when_nothing_fails(feeding: Feeding) -> None:
    live(feeding.house)
    feeding.publish()
    assert [one.id for one in feeding.transport.events()] == feeding.log()
    assert versions(feeding.transport.documents()) == feeding.stored()
    shown = json.loads(feeding.transport.documents()[f"{feeding.system}/invoice/1"] or b"")
    assert (shown["state"], shown["document"], shown["open_amount"]) == ("posted", "invoice", "0.00")
    before = len(feeding.transport.published)
    feeding.publish()
    assert len(feeding.transport.published) == before, "nothing is published again"


@pytest.mark.parametrize(
    "faults", [["before"], ["after", "after"], ["half", "before", "half"], ["ok", "die", "after"]]
)
def test_what_fails_is_published_again_under_the_same_ids(
    feeding: Feeding, faults: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "PAGE", 3)
    feeding.publish()
    live(feeding.house)
    feeding.transport.faults = faults
    feeding.publish()
    assert unique(feeding.transport.events()) == feeding.log()
    assert versions(feeding.transport.documents()) == feeding.stored()


def test_a_feed_that_begins_later_publishes_every_document_first(
    feeding: Feeding, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "PAGE", 2)
    for key in "123456":
        feeding.house.invoice(key)
    with feeding.house.connection.cursor() as cursor:
        outbound.keep_log(cursor, feeding.system, wanted=False)
        outbound.keep_log(cursor, feeding.system, wanted=True)
    feeding.house.invoice("7")
    feeding.transport.faults = ["ok", "after", "before"]
    feeding.publish()
    assert versions(feeding.transport.documents()) == feeding.stored()
    assert len(feeding.stored()) == 7
    assert [json.loads(one.value or b"")["subject"] for one in feeding.transport.events()] == ["invoice/7"]


def test_a_deleted_document_is_a_tombstone(feeding: Feeding) -> None:
    feeding.house.invoice("1")
    feeding.publish()
    connection = feeding.house.connection
    connection.execute(
        """UPDATE invoice SET deleted = true, record = jsonb_set(record, '{deleted}', 'true') WHERE system = %s""",
        (feeding.system,),
    )
    feeding.house.invoice("2")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE outbound SET subject = 'invoice/1' WHERE system = %s AND subject = 'invoice/2'",
                       (feeding.system,))  # fmt: skip
    feeding.publish()
    assert feeding.transport.documents()[f"{feeding.system}/invoice/1"] is None


def test_names_are_published_only_where_that_is_asked_for(feeding: Feeding) -> None:
    from engine.model.documents import Customer
    from engine.model.records import CustomerRecord

    connection, system = feeding.house.connection, feeding.system
    record = CustomerRecord(Customer("7", active=True, accounts=()), "V", {})
    connection.execute(
        """INSERT INTO customer (system, key, deleted, record, updated_at) VALUES (%s, '7', false, %s, now())""",
        (system, canonical_bytes(record).decode()),
    )
    connection.execute(
        "INSERT INTO personal (system, key, number, data) VALUES (%s, '7', 1, %s)", (system, '{"name": "A. Person"}')
    )
    feeding.publish()
    key = f"{system}/customer/7"
    assert json.loads(feeding.transport.documents()[key] or b"")["personal"] is None
    connection.execute("DELETE FROM feed_position WHERE system = %s", (system,))
    publisher = feeding.publisher(personal=True)
    while publisher.step():
        pass
    assert json.loads(feeding.transport.documents()[key] or b"")["personal"] == {"name": "A. Person"}


def intent(feeding: Feeding, name: str, **changes: Any) -> bytes:
    made = Withdraw(id=name, system=feeding.system, customer="7", intent="none")
    return json.dumps({**msgspec.to_builtins(made), **changes}).encode()


def known(feeding: Feeding) -> dict[str, str]:
    rows = feeding.house.connection.execute("SELECT id, state FROM intent WHERE system = %s", (feeding.system,))
    return dict(rows.fetchall())


def dead(feeding: Feeding) -> list[tuple[str, str]]:
    rows = feeding.house.connection.execute(
        "SELECT origin, payload FROM dead_letter WHERE system = %s ORDER BY id", (feeding.system,)
    )
    return [(origin, payload) for origin, payload in rows]


def test_intents_are_taken_and_read_on_from_where_the_last_one_stopped(feeding: Feeding) -> None:
    feeding.transport.leave(intent(feeding, "a"), intent(feeding, "b"))
    assert feeding.inbox().step(0) == 2
    assert known(feeding) == {"a": "refused", "b": "refused"}
    again = feeding.inbox()
    assert again.step(0) == 0
    feeding.transport.leave(intent(feeding, "c"))
    assert again.step(0) == 1
    entries = feeding.house.connection.execute(
        "SELECT body FROM journal WHERE stream = %s", (f"{feeding.system}/intents",)
    ).fetchall()
    assert {json.loads(body)["input"]["by"] for (body,) in entries} == {f"feed {feeding.name}"}


def test_what_is_delivered_again_changes_nothing(feeding: Feeding) -> None:
    feeding.transport.leave(intent(feeding, "a"), b"no json", intent(feeding, "a", customer="8"))
    feeding.inbox().step(0)
    log, letters, batch = feeding.log(), dead(feeding), known(feeding)
    feeding.house.connection.execute("DELETE FROM inbox_position WHERE feed = %s", (feeding.name,))
    assert feeding.inbox().step(0) == 3
    assert (feeding.log(), dead(feeding), known(feeding)) == (log, letters, batch)


def test_a_process_that_dies_between_taking_and_keeping_its_position_is_followed_by_one_that_reads_again(
    feeding: Feeding,
) -> None:
    feeding.transport.leave(intent(feeding, "a"))

    def lost() -> None:
        raise psycopg.OperationalError("gone")

    inbox = feeding.inbox()
    inbox._owns = lost
    with pytest.raises(psycopg.OperationalError):
        inbox.step(0)
    assert known(feeding) == {"a": "refused"}
    log = feeding.log()
    assert feeding.inbox().step(0) == 1, "it is read again"
    assert feeding.log() == log


def test_what_cannot_be_taken_is_kept_and_answered_and_the_stream_goes_on(feeding: Feeding) -> None:
    bad = [b"no json", b"\xff\xfe\x00", None, b'{"kind": "withdraw", "id": "x\\u0000"}', b'{"id": "named"}',
           intent(feeding, "far", system="nowhere"), intent(feeding, "good"),
           intent(feeding, "good", intent="other")]  # fmt: skip
    feeding.transport.leave(*bad, intent(feeding, "last"))
    feeding.inbox().step(0)
    assert set(known(feeding)) == {"good", "last"}
    assert [origin for origin, _ in dead(feeding)] == [f"ar.intents/0/{place}" for place in (0, 1, 2, 3, 4, 5, 7)]
    assert dead(feeding)[1][1] == "\\xff\\xfe\\x00"
    feeding.publish()
    answers = [json.loads(one.value or b"") for one in feeding.transport.events() if one.kind == "intent.not_taken"]
    assert [one["data"]["intent"] for one in answers] == [None, None, None, None, "named", "far", "good"]
    assert "configured are" in answers[5]["data"]["reason"]
    assert "submitted before with other content" in answers[6]["data"]["reason"]


def test_a_defect_with_one_intent_holds_up_no_other(feeding: Feeding, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.flow.intake import submit_all as whole

    def faulty(connection: Any, doors: Any, raws: Any, clock: Any, by: Any) -> Any:
        if any(b'"odd"' in raw for raw in raws):
            raise ZeroDivisionError
        return whole(connection, doors, raws, clock, by)

    monkeypatch.setattr("engine.flow.inbox.submit_all", faulty)
    feeding.transport.leave(intent(feeding, "a"), intent(feeding, "odd"), intent(feeding, "b"))
    feeding.inbox().step(0)
    assert set(known(feeding)) == {"a", "b"}
    assert [origin for origin, _ in dead(feeding)] == ["ar.intents/0/1"]
