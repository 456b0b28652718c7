"""Encrypted connections, logins and rights on a real broker: they serve, and what is wrong is named."""

import gc
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    KafkaAdminClient,
    ResourcePattern,
    ResourceType,
)

from connectors.debezium.kafka import settings
from connectors.debezium.kafka.feed import FEED
from connectors.debezium.kafka.group import join
from connectors.debezium.kafka.kind import KAFKA
from connectors.debezium.kafka.source import open_kafka
from engine.ports.errors import ConfigError, SourceError, SourceRefused, Unavailable
from engine.ports.source import SourceSetup
from tests.kafka_stack.doors import Doors
from tests.kafka_stack.stack import KafkaStack
from tests.on_kafka.conftest import USERS
from tests.on_kafka.test_membership import again_and_again, settled
from tests.on_kafka.test_source import Feed

pytestmark = pytest.mark.live

Options = dict[str, Any]


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """kafka-python leaves the sockets of logins that failed to the collector: here, not in some other test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


@pytest.fixture
def doors(stack: KafkaStack) -> Doors:
    if stack.broker is None or stack.broker.doors is None:
        pytest.skip("the broker is not of our own making, so its listeners are not known")
    return stack.broker.doors


@pytest.fixture
def feed(stack: KafkaStack, tmp_path: Path) -> Feed:
    """A topic of one snapshot and one transaction, written through the open listener."""
    made = Feed(stack, f"secure-{uuid.uuid4().hex[:8]}", tmp_path).make().snapshot(1).commit(5, 200, 1)
    made.send()
    return made


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that finds no broker says so soon."""
    monkeypatch.setattr(settings, "BOOTSTRAP_MS", 1500)


def logged_in(doors: Doors, user: str = "arsync", **changes: Any) -> Options:
    security = {"tls": True, "ca": doors.file("authority.crt"), "user": user, "password": USERS[user]}
    return {"bootstrap": doors.at("login"), "security": security | changes}


def certified(doors: Doors, name: str | None, door: str = "certified", **changes: Any) -> Options:
    security: Options = {"tls": True, "ca": doors.file("authority.crt")}
    if name is not None:
        security |= {"certificate": doors.file(f"{name}.crt"), "key": doors.file(f"{name}.key")}
    return {"bootstrap": doors.at(door), "security": security | changes}


def read(feed: Feed, options: Options) -> int:
    records, _ = feed.read(4, **options)
    return len(records)


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "PLAIN"])
def test_a_login_over_tls_serves_source_group_and_feed(doors: Doors, feed: Feed, mechanism: str) -> None:
    options = logged_in(doors, mechanism=mechanism)
    assert read(feed, options) == 4
    group = join([feed.setup(group=f"{feed.name}-group", **options)])
    try:
        assert settled([group], [feed.name]) == [frozenset({feed.name})]
    finally:
        group.close()
    topics = {name: f"{feed.name}.{name}" for name in ("intents", "events", "documents")}
    FEED.open({**options, **topics, "partitions": 1, "replication_factor": 1}, feed.folder).close()
    assert all(one.ok for one in FEED.check({**options, **topics}, feed.folder))


def test_a_certificate_of_ours_serves_and_a_name_may_be_passed_over(doors: Doors, feed: Feed) -> None:
    assert read(feed, certified(doors, "client")) == 4
    assert read(feed, certified(doors, None, "elsewhere", check_hostname=False)) == 4


@pytest.mark.usefixtures("hurried")
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_what_keeps_a_client_out_is_named(doors: Doors, feed: Feed, stack: KafkaStack) -> None:
    tls = {"tls": True, "ca": doors.file("authority.crt")}
    cases: list[tuple[Options, str]] = [
        (logged_in(doors, tls=False), "hangs up on what is not encrypted; set security.tls to true"),
        ({"bootstrap": stack.bootstrap, "security": tls}, "does not speak TLS as it is asked to"),
        (logged_in(doors, ca=None), "the certificate of .* is not accepted: .*; set security.ca"),
        (certified(doors, None, "elsewhere"), "is not accepted: IP address mismatch"),
        (certified(doors, None), "refuses us in the handshake: .*; set security.certificate and security.key"),
        (certified(doors, "stranger"), "refuses us in the handshake: .*; let the brokers trust security.certificate"),
    ]
    for options, said in cases:
        with pytest.raises(SourceError, match=said):
            open_kafka(feed.setup(**options))
        assert any(not one.ok for one in KAFKA.check(feed.setup(**options), _never, in_use=False))
        with pytest.raises(Unavailable, match=said):
            FEED.open(options, feed.folder)
    # kafka-python leaves the socket of a bootstrap that failed to the collector.
    gc.collect()


def _never() -> Any:
    raise AssertionError


def test_a_wrong_password_is_refused_and_not_shown(doors: Doors, feed: Feed) -> None:
    options = logged_in(doors, password="not-the-password-at-all")
    with pytest.raises(SourceRefused, match=r"refuses this login: .*correct source\.security") as told:
        open_kafka(feed.setup(**options))
    with pytest.raises(ConfigError, match=r"refuses this login.*correct security in \[ar\.kafka\]"):
        FEED.open(options, feed.folder)
    assert "not-the-password" not in repr((told.value, told.value.__cause__))


def test_rights_that_are_missing_are_named(doors: Doors, feed: Feed, stack: KafkaStack) -> None:
    options = logged_in(doors, "stranger")
    rule(stack.bootstrap, ResourceType.TOPIC, feed.topic, ACLOperation.READ, allowed=False)
    with pytest.raises(SourceRefused, match=f"there is no topic {feed.topic} at .* that this login may see"):
        open_kafka(feed.setup(**options))
    for operation in (ACLOperation.DESCRIBE, ACLOperation.DESCRIBE_CONFIGS):
        rule(stack.bootstrap, ResourceType.TOPIC, feed.topic, operation, allowed=True)
    source = open_kafka(feed.setup(**options))
    try:
        with pytest.raises(SourceRefused, match=r"TopicAuthorizationFailed.*allow it to read the topic"):
            again_and_again(lambda: source.poll(0.2))
    finally:
        source.close()
    group = f"{feed.name}-denied"
    rule(stack.bootstrap, ResourceType.GROUP, group, ACLOperation.READ, allowed=False)
    member = join([feed.setup(group=group, **options)])
    try:
        with pytest.raises(SourceRefused, match=rf"GroupAuthorizationFailed.*use the group {group}"):
            again_and_again(lambda: member.owned(0.2))
    finally:
        member.close()


def rule(bootstrap: str, kind: ResourceType, name: str, operation: ACLOperation, *, allowed: bool) -> None:
    """Say what the stranger may do; where anything is said, what is not allowed is forbidden."""
    admin: Any = KafkaAdminClient(bootstrap_servers=bootstrap)
    permission = ACLPermissionType.ALLOW if allowed else ACLPermissionType.DENY
    made = admin.create_acls([ACL("User:stranger", "*", operation, permission, ResourcePattern(kind, name))])
    admin.close()
    assert not made["failed"], made


def test_a_setup_without_security_still_says_what_it_is(tmp_path: Path) -> None:
    setup = SourceSetup("s", {"bootstrap": "h:1", "security": {"user": "u", "password": "hidden"}}, [], [], None,
                        tmp_path, 1)  # fmt: skip
    assert "hidden" not in repr(settings.read_options(setup))
