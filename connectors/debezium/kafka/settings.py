"""The settings of a source of the type `kafka`: the system's `source` section, checked. Pure.

Everything of this package is opened with them. Secrets come in already read; none is ever shown.
"""

import re
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import msgspec

from engine.ports.errors import ConfigError
from engine.ports.source import SourceSetup

_OWN: Final = {"kind", "type"}
BOOTSTRAP_MS: Final = 15_000
"""How long a client looks for a broker that answers before it says that there is none."""


class Security(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the brokers are spoken to. `ca`, `certificate` and `key` are PEM files; with the latter two the client
    shows a certificate of its own (mTLS). `mechanism` counts where a `user` is named."""

    tls: bool = False
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    check_hostname: bool = True
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    user: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        """Without the password."""
        return f"Security(tls={self.tls}, user={self.user!r})"


class Registry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The schema registry of messages in Avro."""

    url: str
    user: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        """Without the password."""
        return f"Registry(url={self.url!r}, user={self.user!r})"


class Capture(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The Debezium connector that `arsync connect-config` describes: how Kafka Connect reaches the ERP's database.

    `connect` is the URL of Kafka Connect's REST API. `secret` is what Connect reads the password from, as
    `${file:/run/secrets/erp.properties:password}`; without it the password itself is sent to Connect. `brokers` is
    how Connect reaches Kafka for the signals, where that is another way than ours. `properties` are laid over all.
    """

    database: str
    user: str
    password: str | None = None
    secret: str | None = None
    host: str = "127.0.0.1"
    port: int = 5432
    sslmode: str = "prefer"
    slot: str | None = None
    publication: str | None = None
    connect: str | None = None
    brokers: str | None = None
    replication_factor: int = -1
    retention_hours: int = 168
    heartbeat_seconds: float = 10
    properties: dict[str, str | int | bool] = {}

    def __repr__(self) -> str:
        """Without the password."""
        return f"Capture(host={self.host!r}, port={self.port}, database={self.database!r}, user={self.user!r})"


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the `source` section says.

    `topic` holds every change of the system in commit order, in one partition. `transactions` is the topic of
    transaction borders, where they do not stand in `topic` itself. `instance` makes the worker a static member of the
    consumer group. `whole_log` says that the topic begins with the ERP's very first change, so that no snapshot must
    stand at its beginning. `new_epoch` gives up what was read and waits for a new snapshot.
    """

    bootstrap: str
    topic: str
    transactions: str | None = None
    signals: str | None = None
    group: str = "arsync"
    instance: str | None = None
    session_seconds: float = 30
    whole_log: bool = False
    format: Literal["json", "avro"] = "json"
    routing: Literal["total", "by_key"] = "total"
    new_epoch: bool = False
    security: Security = Security()
    registry: Registry | None = None
    capture: Capture | None = None

    @property
    def signal_topic(self) -> str:
        """Where Debezium looks for signals."""
        return self.signals or f"{self.topic}.signals"


def read_options(setup: SourceSetup) -> Options:
    """The options of this system. ConfigError when one is missing or wrong."""
    held = {name: value for name, value in setup.options.items() if name not in _OWN}
    if not held.get("bootstrap"):
        raise ConfigError(
            f"system {setup.system}: its source lacks `bootstrap`", "name brokers as host:port,host:port"
        )
    held.setdefault("topic", f"{prefix_of(setup.system)}.changes")
    try:
        options = msgspec.convert(held, Options, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"system {setup.system}: its source cannot be understood: {error}") from error
    if options.routing == "by_key":
        # A routing value can be checked only where a connector declares one for each table, and none does.
        raise ConfigError(
            f"system {setup.system}: source.routing by_key is not supported: nothing proves that no transaction of "
            "this ERP crosses a routing value",
            'use routing = "total": one partition for the system; workers share systems, not documents',
        )
    if options.format == "avro" and options.registry is None:
        raise ConfigError(
            f"system {setup.system}: source.format avro needs a schema registry", "set source.registry.url"
        )
    security = options.security
    if security.user is not None and security.password is None:
        raise ConfigError(f"system {setup.system}: source.security names a user without a password",
                          "set source.security.password_env or password_file")  # fmt: skip
    for name in ("ca", "certificate", "key"):
        file = getattr(security, name)
        if file is not None and not Path(file).is_file():
            raise ConfigError(f"system {setup.system}: source.security.{name} names {file}, which is no file")
    return options


def prefix_of(system: str) -> str:
    """Debezium's topic prefix for a system, from letters that Kafka takes."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", system)


class Brokers(Protocol):
    """Which brokers, and how they are spoken to: a part of every section that names some."""

    @property
    def bootstrap(self) -> str: ...

    @property
    def security(self) -> Security: ...


def addresses(bootstrap: str) -> list[tuple[str, int]]:
    """Host and port of every broker that is named; Kafka's own port where none is."""
    found = []
    for one in bootstrap.split(","):
        host, _, port = one.strip().rpartition(":")
        found.append((host.strip("[]"), int(port)) if host and port.isdigit() else (one.strip(), 9092))
    return found


def client_settings(options: Brokers, name: str) -> dict[str, Any]:
    """How every client of kafka-python is made: where the brokers are, and who we are."""
    security = options.security
    held: dict[str, Any] = {
        "bootstrap_servers": [one.strip() for one in options.bootstrap.split(",")],
        "client_id": name,
        "security_protocol": ("SASL_" if security.user else "") + ("SSL" if security.tls else "PLAINTEXT"),
        "bootstrap_timeout_ms": BOOTSTRAP_MS,
        "reconnect_backoff_max_ms": 2_000,
        "metrics_enabled": False,
    }
    if security.tls:
        held |= {"ssl_check_hostname": security.check_hostname, "ssl_cafile": security.ca,
                 "ssl_certfile": security.certificate, "ssl_keyfile": security.key}  # fmt: skip
    if security.user:
        held |= {"sasl_mechanism": security.mechanism, "sasl_plain_username": security.user,
                 "sasl_plain_password": security.password}  # fmt: skip
    return held
