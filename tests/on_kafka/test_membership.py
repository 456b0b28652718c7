"""Members of the group on a real broker: they fetch nothing, keep their place under a name, and are told when not."""

import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition, errors
from kafka.admin import KafkaAdminClient

from connectors.debezium.kafka.group import Group, join
from connectors.debezium.kafka.progress import PROGRESS
from connectors.debezium.kafka.source import open_kafka
from engine.ports.errors import SourceError, SourceRefused
from engine.ports.source import SourceSetup
from tests.kafka_stack.stack import KafkaStack
from tests.on_kafka import topics
from tests.on_kafka.test_source import Feed

pytestmark = pytest.mark.live

SESSION = 20
PATIENCE = 60.0


@pytest.fixture
def mark() -> str:
    return f"members-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def systems(stack: KafkaStack, mark: str) -> list[str]:
    made = [f"{mark}-{letter}" for letter in "abcd"]
    for system in made:
        topics.make(stack.bootstrap, f"{system}.changes")
    return made


def member(stack: KafkaStack, mark: str, systems: list[str], folder: Path, instance: str | None = None) -> Group:
    options = {"bootstrap": stack.bootstrap, "group": mark, "session_seconds": SESSION, "instance": instance}
    return join([SourceSetup(system, options, ["public.t"], [], None, folder, 100) for system in systems])


def owned_by(*members: Group) -> list[frozenset[str]]:
    """What each owns now; they are asked side by side, as processes of their own are."""
    with ThreadPoolExecutor(len(members)) as pool:
        return [owned or frozenset() for owned in pool.map(lambda one: one.owned(0.05), members)]


def settled(members: list[Group], systems: list[str]) -> list[frozenset[str]]:
    """What each owns, once every system has exactly one owner and nobody is without."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        owned = owned_by(*members)
        if all(owned) and sorted(system for held in owned for system in held) == systems:
            return owned
    raise AssertionError(f"not settled: {owned}")


def again_and_again(act: Callable[[], object]) -> None:
    """Until it raises, or for so long that it never will."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        act()


def test_a_member_with_a_name_comes_back_to_its_own_and_nobody_else_loses_any(
    stack: KafkaStack, mark: str, systems: list[str], tmp_path: Path
) -> None:
    first, second = (member(stack, mark, systems, tmp_path, name) for name in ("one", "two"))
    held = settled([first, second], systems)
    first.close()
    assert second.owned(0.5) == held[1], "whoever has a name is waited for"
    again = member(stack, mark, systems, tmp_path, "one")
    try:
        until = time.monotonic() + PATIENCE
        while (owned := owned_by(again, second)) != held:
            assert owned[1] == held[1]
            assert time.monotonic() < until
    finally:
        again.close()
        second.close()


def test_a_member_that_waits_for_the_others_does_not_ask_behind_its_joining(
    stack: KafkaStack, mark: str, systems: list[str], tmp_path: Path
) -> None:
    """The broker would answer it only once all others had joined; until then the member would not be polled."""
    first, second, third = (member(stack, mark, systems, tmp_path, name) for name in ("one", "two", "three"))
    try:
        settled([first, second], systems)
        third.owned(0.05)
        until = time.monotonic() + PATIENCE
        while first.owned(0.05) is not None:
            assert time.monotonic() < until, "the third's joining is not heard of"
        # It is due to tell how far it is, and the second, who is not polled, has not joined.
        first._asked = 0.0
        asked = time.monotonic()
        assert first.owned(0.05) is None
        assert time.monotonic() - asked < SESSION / 2
    finally:
        for one in (first, second, third):
            one.close()


def test_who_leads_knows_the_topics_before_it_shares_them_out(
    stack: KafkaStack, mark: str, systems: list[str], tmp_path: Path
) -> None:
    """Else it would hear of them right afterwards, and have all join again."""
    for turn in range(5):
        only = member(stack, f"{mark}-{turn}", systems, tmp_path)
        try:
            settled([only], systems)
            generation = only._member.group_metadata().generation_id
            for _ in range(5):
                assert only.owned(0.1) == frozenset(systems)
            assert only._member.group_metadata().generation_id == generation
        finally:
            only.close()


def test_a_member_without_a_name_is_taken_over_from_at_once(
    stack: KafkaStack, mark: str, systems: list[str], tmp_path: Path
) -> None:
    first, second = (member(stack, mark, systems, tmp_path) for _ in "12")
    settled([first, second], systems)
    first.close()
    try:
        assert settled([second], systems) == [frozenset(systems)]
    finally:
        second.close()


def test_two_members_of_one_name_are_refused(
    stack: KafkaStack, mark: str, systems: list[str], tmp_path: Path
) -> None:
    first = member(stack, mark, systems, tmp_path, "same")
    settled([first], systems)
    second = member(stack, mark, systems, tmp_path, "same")
    try:
        with pytest.raises(
            SourceRefused, match=r"another worker of the group .* calls itself same.*source\.instance"
        ):
            again_and_again(lambda: owned_by(second, first))
    finally:
        second.close()
        first.close()


def test_a_member_that_cannot_join_leaves_nothing_open(
    stack: KafkaStack, mark: str, systems: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asking: list[Any] = []

    def away(member: Any) -> None:
        asking.append(member)
        raise errors.KafkaTimeoutError("metadata")

    monkeypatch.setattr(KafkaConsumer, "topics", away)
    with pytest.raises(SourceError, match="does not serve"):
        member(stack, mark, systems, tmp_path)
    assert [one._closed for one in asking] == [True]


def test_a_member_fetches_nothing_and_tells_how_far_the_sources_are(
    stack: KafkaStack, mark: str, tmp_path: Path
) -> None:
    feed = Feed(stack, mark, tmp_path).make().snapshot(1, 2).commit(5, 200, 1)
    count = feed.send()
    group = member(stack, mark, [mark], tmp_path)
    try:
        settled([group], [mark])
        part = TopicPartition(feed.topic, 0)
        assert group._member.paused() == {part}
        more = feed.commit(6, 300, 1).send()
        # What it polls for is its place in the group alone.
        assert group._member.poll(timeout_ms=500) == {}
        feed.read(count + more)
        for _ in range(50):
            group.owned(0.1)
            if committed(stack, mark).get(part) == count + more:
                break
        assert committed(stack, mark)[part] == count + more
    finally:
        group.close()
        PROGRESS.take()


def committed(stack: KafkaStack, group: str) -> dict[TopicPartition, int]:
    """What Kafka's own tools show of the group."""
    admin: Any = KafkaAdminClient(bootstrap_servers=stack.bootstrap)
    try:
        (told,) = admin.list_group_offsets([group]).values()
        return {part: one.offset for part, one in told.items()}
    finally:
        admin.close()


def test_a_source_that_is_not_polled_takes_no_more_than_a_batch_ahead(
    stack: KafkaStack, mark: str, tmp_path: Path
) -> None:
    feed = Feed(stack, mark, tmp_path).make().snapshot(1)
    for number in range(200):
        feed.commit(number + 5, 200 + 10 * number, 1, 2)
    count = feed.send()
    source = open_kafka(feed.setup())
    seen = 0
    try:
        while seen < count:
            batch = source.poll(2.0)
            assert batch is not None
            assert len(batch.records) <= 100, "a batch is what was asked for at the most"
            assert int(batch.resume["offset"]) - seen <= 100
            seen = int(batch.resume["offset"])
    finally:
        source.close()
