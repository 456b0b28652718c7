"""What the brokers say of a topic, and how their failures become sentences. Source, group and check call it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from kafka import KafkaConsumer, TopicPartition, errors
from kafka.admin import ConfigResource, KafkaAdminClient

from connectors.debezium.kafka.probing import Cause, why_silent
from connectors.debezium.kafka.settings import Brokers, Options, client_settings
from engine.ports.errors import SourceError, SourceRefused

_REFUSED: Final = (
    errors.SaslAuthenticationFailedError,
    errors.TopicAuthorizationFailedError,
    errors.GroupAuthorizationFailedError,
    errors.UnsupportedSaslMechanismError,
)


_SILENT: Final = (errors.KafkaTimeoutError, errors.KafkaConnectionError, OSError)


class Topic(msgspec.Struct, frozen=True):
    """A topic as it is now. `begin` and `end` are the first partition's first offset and the one after its last."""

    name: str
    id: str
    partitions: int
    begin: int
    end: int
    settings: dict[str, str]

    @property
    def compacted(self) -> bool:
        """Whether the brokers may drop a record because a later one has the same key."""
        return "compact" in self.settings.get("cleanup.policy", "")


@contextmanager
def sentences(options: Options) -> Iterator[None]:
    """Turns what kafka-python raises into errors of the ports."""
    try:
        yield
    except _REFUSED as error:
        raise _refusal(options, _text(error)) from error
    except errors.FencedInstanceIdError as error:
        raise SourceRefused(
            f"another worker of the group {options.group} calls itself {options.instance}, and has taken its place",
            "give every worker a source.instance of its own, or none",
        ) from error
    except (errors.KafkaError, OSError) as error:
        cause = why_not_served(options, error)
        if cause.refused:
            raise _refusal(options, cause.said) from error
        raise SourceError(f"the Kafka at {options.bootstrap} does not serve: {cause.said}", cause.fix) from error


def _refusal(options: Options, said: str) -> SourceRefused:
    return SourceRefused(
        f"the Kafka at {options.bootstrap} refuses this login: {said}",
        f"correct source.security, or let an administrator allow it to read the topic and to use the group "
        f"{options.group}",
    )


def why_not_served(options: Brokers, error: Exception) -> Cause:
    """What it was, and what to do: of brokers that could not even be asked the client does not say the cause."""
    cause = why_silent(options) if isinstance(error, _SILENT) else None
    if cause is None:
        return Cause(_text(error), "it is tried again")
    return cause._replace(fix=f"{cause.fix}; it is tried again")


def find_topic(options: Options, name: str) -> Topic | None:
    """The topic; None when there is none of this name. SourceError, SourceRefused when the brokers do not say."""
    with sentences(options):
        admin = admin_client(options)
        try:
            (told,) = admin.describe_topics([name])
            if told["error_code"] == errors.UnknownTopicOrPartitionError.errno or not told["partitions"]:
                return None
            if told["error_code"]:
                raise errors.for_code(told["error_code"])(name)
            resource = ConfigResource("topic", name)
            answer = admin.describe_configs([resource], config_filter="all")
        finally:
            admin.close()
        begin, end = _bounds(options, name)
    settings = {key: str(one["value"]) for key, one in answer["topic"][name].items() if isinstance(one, dict)}
    return Topic(name, str(told["topic_id"]), len(told["partitions"]), begin, end, settings)


def admin_client(options: Brokers) -> Any:
    """A client for the brokers' administration; to be closed."""
    held = client_settings(options, "arsync-admin")
    held.pop("metrics_enabled")
    return KafkaAdminClient(**held)


def consumer(options: Brokers, name: str, **more: Any) -> Any:
    """A consumer that reads committed messages only, and never guesses where to begin; to be closed."""
    held = {
        "enable_auto_commit": False,
        "auto_offset_reset": "none",
        "isolation_level": "read_committed",
        "allow_auto_create_topics": False,
    }
    return KafkaConsumer(**client_settings(options, name), **(held | more))


def _bounds(options: Options, name: str) -> tuple[int, int]:
    asking = consumer(options, "arsync-look")
    try:
        part = TopicPartition(name, 0)
        return asking.beginning_offsets([part])[part], asking.end_offsets([part])[part]
    finally:
        asking.close()


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".strip(": ")
