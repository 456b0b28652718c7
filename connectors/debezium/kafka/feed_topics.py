"""The three topics of the AR side: made where they are missing, and looked at for `arsync check`."""

from typing import Any, Final

from kafka import errors
from kafka.admin import ConfigResource

from connectors.debezium.kafka.cluster import admin_client
from connectors.debezium.kafka.feed_settings import FeedOptions, unavailable
from engine.ports.errors import ConfigError
from engine.ports.finding import Finding

COMPACTED: Final = {"cleanup.policy": "compact"}


def ensure_topics(options: FeedOptions) -> None:
    """Make what is missing. ConfigError where it must not be made here, Unavailable when brokers do not answer."""
    with unavailable(options):
        admin = admin_client(options)
        try:
            missing = [name for name in _names(options) if name not in admin.list_topics()]
            if not missing:
                return
            if not options.create:
                raise ConfigError(
                    f"there is no topic {' and no '.join(missing)} at {options.bootstrap}", _by_hand(options)
                )
            for name in missing:
                _create(admin, options, name)
        finally:
            admin.close()


def look(options: FeedOptions) -> list[Finding]:
    """Whether the topics are there and kept as they must be. Raises ConfigError or Unavailable."""
    with unavailable(options):
        admin = admin_client(options)
        try:
            there = set(admin.list_topics())
            known = [name for name in _names(options) if name in there]
            policies = {name: _policy(admin, name) for name in known}
        finally:
            admin.close()
    found = [Finding.well("feed", f"the Kafka at {options.bootstrap} answers")]
    for name in _names(options):
        if name not in there:
            fix = "`arsync run` makes it" if options.create else _by_hand(options)
            found.append(Finding.warning("feed", f"there is no topic {name}", fix))
        elif name == options.documents and "compact" not in policies[name]:
            fix = f"set cleanup.policy=compact on {name}: what is read from its beginning must be every document"
            found.append(Finding.warning("feed", f"the topic {name} is not compacted", fix))
        elif name != options.documents and "compact" in policies[name]:
            fix = f"set cleanup.policy=delete on {name}: of messages with one key all count"
            found.append(Finding.error("feed", f"the topic {name} is compacted", fix))
        else:
            found.append(Finding.well("feed", f"the topic {name} is as it must be"))
    return found


def _names(options: FeedOptions) -> tuple[str, str, str]:
    return options.intents, options.events, options.documents


def _create(admin: Any, options: FeedOptions, name: str) -> None:
    asked: dict[str, Any] = {"num_partitions": options.partitions, "replication_factor": options.replication_factor}
    if name == options.documents:
        asked["configs"] = COMPACTED
    try:
        admin.create_topics({name: asked})
    except errors.TopicAlreadyExistsError:
        return
    except errors.TopicAuthorizationFailedError as error:
        raise ConfigError(
            f"topic {name} is missing and may not be made with this login: {error}", _by_hand(options)
        ) from error


def _policy(admin: Any, name: str) -> str:
    answer = admin.describe_configs([ConfigResource("topic", name)], config_filter="all")
    held = answer["topic"][name].get("cleanup.policy", {})
    return str(held.get("value", "")) if isinstance(held, dict) else ""


def _by_hand(options: FeedOptions) -> str:
    return (
        f"make it with kafka-topics.sh --create --topic NAME --partitions {options.partitions}; "
        f"{options.documents} with --config cleanup.policy=compact"
    )
