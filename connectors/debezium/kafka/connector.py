"""The configuration of the Debezium connector that brings one system's changes into its topic. Pure.

`arsync connect-config` prints it or hands it to Kafka Connect, and `arsync check` compares it with what runs. Each
property that differs from Debezium's default says what it is for.
"""

import re
from typing import Any, Final

from connectors.debezium.kafka.settings import Capture, Options, prefix_of
from connectors.debezium.settings import HEARTBEAT_PREFIX, default_name
from engine.ports.errors import ConfigError
from engine.ports.source import SourceSetup

MASK: Final = "********"
PASSWORD: Final = "database.password"  # noqa: S105 - a property's name
_JSON: Final = "org.apache.kafka.connect.json.JsonConverter"
_AVRO: Final = "io.confluent.connect.avro.AvroConverter"
_ROUTER: Final = "org.apache.kafka.connect.transforms.RegexRouter"
Properties = dict[str, str]


def capture_of(setup: SourceSetup, options: Options) -> Capture:
    """The section that says how the ERP is captured. ConfigError when there is none."""
    if options.capture is None:
        raise ConfigError(
            f"system {setup.system}: its source has no section `capture`, so nothing says how to reach the ERP",
            f"add [systems.{setup.system}.source.capture] with host, database, user and password_env",
        )
    if not options.capture.password and not options.capture.secret:
        raise ConfigError(
            f"system {setup.system}: source.capture has no password",
            "set password_env or password_file, or `secret` to what Kafka Connect reads it from",
        )
    return options.capture


def connector(setup: SourceSetup, options: Options) -> Properties:
    """Every property of the connector, the password among them unless Connect reads it by itself."""
    capture = capture_of(setup, options)
    prefix, name = prefix_of(setup.system), default_name(setup.system)
    slot = capture.slot or name
    held: dict[str, Any] = {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "tasks.max": 1,
        "topic.prefix": prefix,
        "database.hostname": capture.host,
        "database.port": capture.port,
        "database.dbname": capture.database,
        "database.user": capture.user,
        PASSWORD: capture.secret or capture.password,
        "database.sslmode": capture.sslmode,
        "plugin.name": "pgoutput",
        "slot.name": slot,
        "publication.name": capture.publication or slot,
        "publication.autocreate.mode": "filtered",
        "table.include.list": _patterns(setup.tables),
        # One moment for all tables, without locks that would stand in the ERP's way.
        "snapshot.mode": "initial",
        "snapshot.isolation.mode": "repeatable_read",
        # Money as text, times as the ERP has them; borders of transactions; a truncated table must not go unnoticed.
        "decimal.handling.mode": "string",
        "time.precision.mode": "adaptive",
        "provide.transaction.metadata": True,
        "skipped.operations": "none",
        # The topic is not compacted, so a second record for each deletion would say nothing.
        "tombstones.on.delete": False,
        **_routing(prefix, options),
        **_signals(options, capture),
        **_heartbeats(capture),
        **_converters(options),
        **_throughput(),
        **_topics(capture),
    }
    if setup.excluded:
        held["column.exclude.list"] = _patterns(setup.excluded)
    return {key: _text(value) for key, value in (held | capture.properties).items()}


def shown(properties: Properties) -> Properties:
    """The same without a password; a reference that Connect resolves is no secret."""
    password = properties[PASSWORD]
    return properties | {PASSWORD: password if password.startswith("${") else MASK}


def _routing(prefix: str, options: Options) -> dict[str, Any]:
    """All changes and the borders of their transactions into one topic: one partition keeps them in commit order."""
    inside = prefix.replace(".", r"\.")
    if options.transactions is None:
        return _route("one", rf"{inside}\..*", options.topic) | {"transforms": "one"}
    return {
        "transforms": "one,borders",
        **_route("one", rf"{inside}\.(?!transaction$).*", options.topic),
        **_route("borders", rf"{inside}\.transaction", options.transactions),
    }


def _route(name: str, pattern: str, topic: str) -> dict[str, Any]:
    at = f"transforms.{name}"
    return {f"{at}.type": _ROUTER, f"{at}.regex": pattern, f"{at}.replacement": topic}


def _signals(options: Options, capture: Capture) -> dict[str, Any]:
    """Snapshots are asked for through a topic; nothing is ever written to the ERP's database."""
    return {
        "signal.enabled.channels": "kafka",
        "signal.kafka.topic": options.signal_topic,
        "signal.kafka.bootstrap.servers": capture.brokers or options.bootstrap,
        "read.only": True,
    }


def _heartbeats(capture: Capture) -> dict[str, Any]:
    """While the captured tables rest and others do not, the slot would keep the log without end."""
    return {
        "heartbeat.interval.ms": int(capture.heartbeat_seconds * 1000),
        "heartbeat.action.query": f"SELECT pg_logical_emit_message(false, '{HEARTBEAT_PREFIX}', '')",
        "message.prefix.include.list": HEARTBEAT_PREFIX,
    }


def _converters(options: Options) -> dict[str, Any]:
    if options.format == "avro" and options.registry is not None:
        return {
            f"{side}.converter{name}": value
            for side in ("key", "value")
            for name, value in (("", _AVRO), (".schema.registry.url", options.registry.url))
        }
    return {
        f"{side}.converter{name}": value
        for side in ("key", "value")
        for name, value in (("", _JSON), (".schemas.enable", False))
    }


def _throughput() -> dict[str, Any]:
    return {
        "max.batch.size": 8192,
        "max.queue.size": 32_768,
        "max.queue.size.in.bytes": 128 * 1024 * 1024,
        "poll.interval.ms": 20,
        "snapshot.fetch.size": 10_000,
        # A lost connection is taken up again by the task itself, at the position that Connect has stored.
        "errors.max.retries": -1,
        "slot.retry.delay.ms": 1000,
        "producer.override.compression.type": "lz4",
        "producer.override.batch.size": 256 * 1024,
        "producer.override.linger.ms": 5,
        "producer.override.buffer.memory": 64 * 1024 * 1024,
        # One request at a time and no message passed over: the order of the log is the order of the topic.
        "producer.override.acks": "all",
        "producer.override.max.in.flight.requests.per.connection": 1,
    }


def _topics(capture: Capture) -> dict[str, Any]:
    return {
        "topic.creation.default.partitions": 1,
        "topic.creation.default.replication.factor": capture.replication_factor,
        "topic.creation.default.cleanup.policy": "delete",
        "topic.creation.default.retention.ms": capture.retention_hours * 3_600_000,
    }


def _patterns(names: Any) -> str:
    """Names as Debezium wants them: regular expressions, parted by commas."""
    return ",".join(re.sub(r"([^A-Za-z0-9_])", r"\\\1", name) for name in names)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
