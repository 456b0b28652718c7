"""The AR side on a real broker: what is published, what is read, and what a death in the middle changes (nothing)."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from connectors.debezium.kafka.feed import FEED, KafkaFeed
from engine.flow.feed import Publisher
from engine.flow.inbox import Inbox
from engine.ports.errors import ConfigError, Unavailable
from engine.store import outbound
from engine.store.unit import Connection
from tests.flow.test_dispatcher import House
from tests.flow.test_feed import Feeding, dead, intent, known, live, versions
from tests.kafka_stack.stack import KafkaStack
from tests.on_kafka.ar_topics import Topics, fresh_topics

HERE = Path()


@pytest.fixture
def topics(stack: KafkaStack) -> Topics:
    return fresh_topics(stack)


class Side(Feeding):
    """A house whose AR side is told through real topics."""

    def __init__(self, house: House, topics: Topics) -> None:
        super().__init__(house)
        self.topics = topics
        self.feed: KafkaFeed = FEED.open(topics.options, HERE)
        self.transport = self.feed  # type: ignore[assignment]

    def another(self) -> None:
        """What a new process does."""
        self.feed.close()
        self.feed = FEED.open(self.topics.options, HERE)
        self.transport = self.feed  # type: ignore[assignment]

    def taken(self, inbox: Inbox, count: int) -> None:
        """Read until so many messages have come."""
        for _ in range(100):
            count -= inbox.step(0.2)
            if count <= 0:
                assert count == 0
                return
        pytest.fail(f"{count} messages did not come")

    def events(self) -> list[Any]:
        return self.topics.read("events")

    def documents(self) -> dict[str, bytes | None]:
        """The last message for each key."""
        return {record.key.decode(): record.value for record in self.topics.read("documents")}


@pytest.fixture
def side(connection: Connection, store_dsn: str, topics: Topics, request: pytest.FixtureRequest) -> Iterator[Side]:
    opened: list[Connection] = []

    def connect() -> Connection:
        opened.append(psycopg.connect(store_dsn, autocommit=True))
        return opened[-1]

    made = Side(House(connection, connect, f"topics-{request.node.name}"), topics)
    yield made
    made.feed.close()
    for one in opened:
        one.close()


def of_subject(records: list[Any]) -> dict[str, list[str]]:
    """For each key its events in the order of the topic, repeats left out."""
    found: dict[str, dict[str, None]] = {}
    for record in records:
        found.setdefault(record.key.decode(), {})[dict(record.headers)["id"].decode()] = None
    return {key: list(ids) for key, ids in found.items()}


def logged(side: Side) -> dict[str, list[str]]:
    """The same as the store's log has it."""
    with side.house.connection.cursor() as cursor:
        log = outbound.log_of(cursor, side.system)
        assert log is not None
        events, _ = outbound.page(cursor, side.system, log.start, 10_000)
    found: dict[str, list[str]] = {}
    for event in events:
        if event.kind != "document.changed":
            found.setdefault(f"{side.system}/{event.subject}", []).append(event.id)
    return found


def test_events_and_documents_are_published_and_intents_are_read(side: Side) -> None:
    live(side.house)
    side.publish()
    assert of_subject(side.events()) == logged(side)
    assert versions(side.documents()) == side.stored()
    first = side.events()[0]
    told = json.loads(first.value)
    assert dict(first.headers) == {"id": told["id"].encode(), "kind": told["kind"].encode()}
    assert first.key.decode() == f"{side.system}/{told['subject']}"
    side.topics.leave(intent(side, "a"), intent(side, "b"))
    side.taken(side.inbox(), 2)
    assert known(side) == {"a": "refused", "b": "refused", "rcpt-1": "done"}


def test_a_death_between_publishing_and_keeping_the_position(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    side.publish()
    live(side.house)

    def die(*_: Any) -> None:
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(outbound, "save_feed", die)
        with pytest.raises(SystemExit):
            side.publisher().step()
    assert side.events(), "it was published"
    side.another()
    side.publish()
    events = side.events()
    assert len(events) > sum(map(len, logged(side).values())), "and again, under the same ids"
    assert of_subject(events) == logged(side)
    assert versions(side.documents()) == side.stored()


def test_a_death_between_taking_intents_and_keeping_the_position(side: Side) -> None:
    def die() -> None:
        raise SystemExit

    side.topics.leave(intent(side, "a"), b"no json", key=b"one partition")
    inbox = side.inbox()
    inbox._owns = die
    with pytest.raises(SystemExit):
        side.taken(inbox, 2)
    before = (side.log(), known(side), dead(side))
    assert known(side) == {"a": "refused"}
    side.another()
    side.taken(side.inbox(), 2)
    assert (side.log(), known(side), dead(side)) == before


def test_what_cannot_be_taken_is_answered_on_the_topic_of_events(side: Side) -> None:
    side.topics.leave(b"no json", intent(side, "a"), None, key=b"one partition")
    side.taken(side.inbox(), 3)
    side.publish()
    told = [json.loads(one.value) for one in side.events() if dict(one.headers)["kind"] == b"intent.not_taken"]
    assert len(told) == 2
    answers = {one["id"]: one["data"]["reason"] for one in told}
    letters = [origin for origin, _ in dead(side)]
    assert set(answers) == set(letters), "each under its own key, so in no order between them"
    assert "malformed" in answers[letters[0]]
    assert known(side) == {"a": "refused"}


def test_a_deleted_document_leaves_a_tombstone(side: Side) -> None:
    side.house.invoice("1")
    side.house.connection.execute(
        "UPDATE invoice SET deleted = true, record = jsonb_set(record, '{deleted}', 'true') WHERE system = %s",
        (side.system,),
    )
    side.publish()
    assert side.documents() == {f"{side.system}/invoice/1": None}


def test_a_broker_that_dies_holds_up_and_loses_nothing(side: Side, stack: KafkaStack) -> None:
    if stack.broker is None:
        pytest.skip("the broker is not ours to kill")
    side.publish()
    live(side.house)
    stack.broker.kill()
    try:
        with pytest.raises(Unavailable, match="does not serve"):
            Publisher(side.name, [side.system], Impatient(side.feed), side.house.connection, side.house.clock).step()
        side.feed.close()
        assert not side.feed._producer._sender.is_alive(), "it would go on publishing beside its successor"
    finally:
        stack.broker.start()
    side.another()
    side.publish()
    assert of_subject(side.events()) == logged(side)


class Impatient:
    """A feed of which the broker is gone, not waited for as long as in production."""

    def __init__(self, feed: KafkaFeed) -> None:
        self._feed = feed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._feed, name)

    def publish(self, messages: Any) -> None:
        from connectors.debezium.kafka import feed

        waited, feed._FLUSH_SECONDS = feed._FLUSH_SECONDS, 3.0  # type: ignore[misc]
        try:
            self._feed.publish(messages)
        finally:
            feed._FLUSH_SECONDS = waited  # type: ignore[misc]


def test_topics_that_are_missing_are_made_only_where_that_is_allowed(topics: Topics) -> None:
    refused = {**topics.options, "create": False}
    with pytest.raises(ConfigError, match=r"there is no topic .* kafka-topics.sh --create"):
        FEED.open(refused, HERE)
    assert {finding.grade for finding in FEED.check(refused, HERE)} == {"ok", "warning"}
    FEED.open(topics.options, HERE).close()
    assert {finding.grade for finding in FEED.check(topics.options, HERE)} == {"ok"}


def test_a_topic_that_would_lose_messages_is_found(topics: Topics) -> None:
    FEED.open({**topics.options, "documents": topics.options["events"] + ".compacted"}, HERE).close()
    swapped = {**topics.options, "events": topics.options["events"] + ".compacted"}
    FEED.open(topics.options, HERE).close()
    found = {finding.detail: finding.grade for finding in FEED.check(swapped, HERE)}
    assert found[f"the topic {swapped['events']} is compacted"] == "error"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bootstrap": None}, "bootstrap"),
        ({"topic": "x"}, "topic"),
        ({"events": "ar.documents", "documents": "ar.documents"}, "one topic twice"),
        ({"security": {"user": "arsync"}}, "without a password"),
        ({"security": {"tls": True, "ca": "nowhere.pem"}}, "no file"),
    ],
)
def test_a_wrong_setting_is_named(changes: dict[str, Any], said: str) -> None:
    options = {name: value for name, value in {"bootstrap": "127.0.0.1:1", **changes}.items() if value is not None}
    with pytest.raises(ConfigError, match=said):
        FEED.open(options, HERE)
    (finding,) = FEED.check(options, HERE)
    assert finding.grade == "error"
