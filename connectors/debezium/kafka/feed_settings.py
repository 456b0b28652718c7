"""The settings of the AR side's topics: the section `[ar.kafka]`, checked. Brokers and logins as for a source."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
from kafka import errors

from connectors.debezium.kafka.cluster import why_not_served
from connectors.debezium.kafka.settings import Security
from engine.ports.errors import ConfigError, Unavailable

EXAMPLE: Final = """\
# bootstrap = "broker-1:9092,broker-2:9092"
# intents = "ar.intents"        # read: intents, JSON
# events = "ar.events"          # written: what happened
# documents = "ar.documents"    # written, compacted: every document as it is now
# create = true                 # topics that are missing are made
# partitions = 6                # of topics that are made
# replication_factor = -1       # the same; -1 is the brokers' default
# security = { tls = true, user = "arsync", password_env = "ARSYNC_KAFKA_PASSWORD" }
"""
_REFUSED: Final = (
    errors.SaslAuthenticationFailedError,
    errors.TopicAuthorizationFailedError,
    errors.ClusterAuthorizationFailedError,
    errors.UnsupportedSaslMechanismError,
)


class FeedOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the section says. Partitions and replication count for topics that are made here."""

    bootstrap: str
    intents: str = "ar.intents"
    events: str = "ar.events"
    documents: str = "ar.documents"
    create: bool = True
    partitions: int = 6
    replication_factor: int = -1
    security: Security = Security()


def read_feed_options(held: Mapping[str, Any], folder: Path) -> FeedOptions:
    """The options; files are looked for from `folder` on. ConfigError when one is missing or wrong."""
    try:
        options = msgspec.convert(dict(held), FeedOptions)
    except msgspec.ValidationError as error:
        raise ConfigError(f"[ar.kafka] cannot be understood: {error}", "`arsync init --print` shows it") from None
    if len({options.intents, options.events, options.documents}) < 3:
        raise ConfigError("[ar.kafka] names one topic twice", "give intents, events and documents one each")
    security = options.security
    if security.user is not None and security.password is None:
        raise ConfigError("[ar.kafka] names a user without a password", "set security.password_env or password_file")
    files = {}
    for name in ("ca", "certificate", "key"):
        file = getattr(security, name)
        if file is None:
            continue
        files[name] = str(folder / file)
        if not Path(files[name]).is_file():
            raise ConfigError(f"[ar.kafka] security.{name} names {files[name]}, which is no file", "correct it")
    return msgspec.structs.replace(options, security=msgspec.structs.replace(security, **files))


@contextmanager
def unavailable(options: FeedOptions) -> Iterator[None]:
    """Turns what the client raises into errors of the ports."""
    try:
        yield
    except _REFUSED as error:
        raise _refusal(options, _text(error)) from error
    except (errors.KafkaError, OSError) as error:
        cause = why_not_served(options, error)
        if cause.refused:
            raise _refusal(options, cause.said) from error
        raise Unavailable(f"the Kafka at {options.bootstrap} does not serve: {cause.said}", cause.fix) from error


def _refusal(options: FeedOptions, said: str) -> ConfigError:
    return ConfigError(
        f"the Kafka at {options.bootstrap} refuses this login: {said}",
        f"correct security in [ar.kafka], or let an administrator allow it to read {options.intents} and to write "
        f"{options.events} and {options.documents}",
    )


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".strip(": ")
