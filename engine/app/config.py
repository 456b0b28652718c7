"""Reads `arsync.toml`. Every mistake is named with its place in the file and how to mend it.

Secrets never stand in the file: a setting `x` that is secret is given as `x_env` (an environment variable) or
`x_file` (a file that holds it), and is read when it is needed.
"""

import datetime as dt
import os
import re
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from engine.model.records import ConflictKind
from engine.ports.errors import ConfigError
from engine.rules.policy import POSSIBLE, Choice, Exemption, Naming, Policy

DEFAULT_FILE = "arsync.toml"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SECRETS = ("password", "token", "secret", "dsn", "owner_dsn")


class StoreConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where arsync keeps what it knows. Without a `dsn` it runs its own PostgreSQL in `folder`."""

    folder: str = ".arsync"
    dsn: str | None = None
    owner_dsn: str | None = None


class ExemptionConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A choice for some conflicts only: of these kinds, of a company, with so much money at stake in `currency`."""

    choice: Choice
    kinds: tuple[ConflictKind, ...] = ()
    company: str | None = None
    currency: str | None = None
    over: Decimal | None = None
    up_to: Decimal | None = None


class PolicyConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is done about conflicts, and the bounds of waiting; times in seconds.

    The first of `exemptions` that fits a conflict comes before `choices`. `undo_seconds` is how long a person's
    choice can be undone before it is carried out, `in_doubt_seconds` how long an outcome may stay unknown.
    """

    choices: dict[ConflictKind, Choice] = {}
    exemptions: tuple[ExemptionConfig, ...] = ()
    settle_seconds: float = 300
    unknown_document_seconds: float = 900
    retry_seconds: float = 2
    most_stales: int = 20
    most_retries: int = 3
    most_losses: int = 10
    undo_seconds: float = 30
    in_doubt_seconds: float = 900


class LimitsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What bounds writing back; none is no bound. Passing an hour's limit pauses the system until it is resumed."""

    per_second: float | None = None
    commands_per_hour: int | None = None
    money_per_hour: dict[str, Decimal] = {}


class ReconcileConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often the daemon holds the mirror against the ERP's API (`30m`, `6h`, `1d`; none is never), whether it lets
    the rows of what differs be read again, and how long it waits for the mirror each time."""

    every: str | None = None
    repair: bool = False
    patience_seconds: float = 60

    @property
    def seconds(self) -> float:
        """The time between two of them."""
        return _seconds(self.every)

    def __post_init__(self) -> None:
        _check_time("reconcile.every", self.every)


class JournalConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often the daemon takes a checkpoint of each system (`6h`, `1d`; none is never), the file to which it adds
    each one's line (keep it where the database's owner cannot write), and the Ed25519 key (PEM) that signs it."""

    checkpoint_every: str | None = None
    checkpoint_file: str | None = None
    checkpoint_key: str | None = None

    @property
    def seconds(self) -> float:
        """The time between two of them."""
        return _seconds(self.checkpoint_every)

    def __post_init__(self) -> None:
        _check_time("journal.checkpoint_every", self.checkpoint_every)


def _seconds(every: str | None) -> float:
    return float(every[:-1]) * _UNITS[every[-1]] if every else float("inf")


def _check_time(name: str, every: str | None) -> None:
    if every is not None and not re.fullmatch(r"\d+(\.\d+)?[smhd]", every):
        raise ValueError(f"{name} is {every!r}; write a number with s, m, h or d, as 6h")


class SystemConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One ERP: its connector, where its changes come from, and where commands go.

    `mode` is `write`, or `observe`: everything is read and decided, and nothing is written. Invoices of before
    `start_date` are mirrored, and no intent about them is carried out. `invoices_named_by` is what the AR side's
    intents call an invoice: its `key`, its `number`, or `either`.
    """

    connector: str
    source: dict[str, Any] = {}
    target: dict[str, Any] = {}
    policy: PolicyConfig = PolicyConfig()
    limits: LimitsConfig = LimitsConfig()
    reconcile: ReconcileConfig = ReconcileConfig()
    mode: Literal["write", "observe"] = "write"
    start_date: dt.date | None = None
    invoices_named_by: Naming = Naming.EITHER


class DaemonConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the daemon runs. `port` serves health and metrics on 127.0.0.1; 0 chooses a free one.

    `quiet_seconds` without a record close transactions whose end nobody announces; more than `brake` unreadable
    records or documents in a row stop the source, and so do more than `most_letters` open dead letters.
    """

    port: int = 9464
    batch_size: int = 5000
    quiet_seconds: float = 1.0
    brake: int = 100
    most_letters: int = 10_000


class LogConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where `run` logs: to standard error, or to a `file` that is set aside at `megabytes` and of which `keep` older
    ones stay."""

    format: Literal["console", "json"] = "console"
    file: str | None = None
    megabytes: float = 20
    keep: int = 5


class TokenConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A token with which the AR side may read, or also submit."""

    token: Annotated[str, msgspec.Meta(min_length=16, description="a token of at least 16 characters")]
    may: Literal["read", "submit"] = "submit"


class TlsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Files of PEM, relative to the configuration. With `client_ca` a client must show a certificate of that one."""

    certificate: str | None = None
    private_key: str | None = None
    client_ca: str | None = None


class HttpConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the AR side is served over HTTP: nowhere, unless there is a token. Port 0 chooses a free one.

    `max_body` bounds a request's body in bytes, `max_requests` those that are under way at once.
    """

    host: str = "127.0.0.1"
    port: int = 9465
    max_body: int = 1_048_576
    max_requests: int = 200
    tokens: dict[str, TokenConfig] = {}
    tls: TlsConfig = TlsConfig()


class OutboundConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long what the AR side was told is kept, once every feed has published it. `personal`: feeds publish the
    names and addresses of customers too."""

    keep_hours: Annotated[float, msgspec.Meta(gt=0)] = 168.0
    personal: bool = False


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole configuration. `ar` holds the settings of each feed to the AR side; an empty section is none."""

    store: StoreConfig = StoreConfig()
    daemon: DaemonConfig = DaemonConfig()
    systems: dict[str, SystemConfig] = {}
    log: LogConfig = LogConfig()
    http: HttpConfig = HttpConfig()
    outbound: OutboundConfig = OutboundConfig()
    journal: JournalConfig = JournalConfig()
    ar: dict[str, dict[str, Any]] = {}

    @property
    def feeds(self) -> dict[str, dict[str, Any]]:
        """The feeds to the AR side that are configured."""
        return {name: options for name, options in self.ar.items() if options}

    @property
    def tells_ar(self) -> bool:
        """Whether anybody is to be told what happens."""
        return bool(self.http.tokens or self.feeds)


def load_config(path: str | None) -> tuple[Config, Path]:
    """The configuration and the folder that its relative paths start from.

    Looks at `path`, else at $ARSYNC_CONFIG, else at `arsync.toml` here. Where no file was named and none is here,
    the defaults hold: a store in `.arsync` and no systems.

    Raises:
        ConfigError: the file is missing, is no TOML, or has a wrong or unknown setting.
    """
    named = path or os.environ.get("ARSYNC_CONFIG")
    file = Path(named or DEFAULT_FILE)
    if not file.exists():
        if named is None:
            return Config(), Path.cwd()
        raise ConfigError(f"there is no configuration file {file}; `arsync init` writes one")
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not valid TOML: {error}") from None
    try:
        config = msgspec.convert(_secrets_read(raw, file.parent, ""), Config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{file}: {error}", "`arsync init --print` shows every setting") from None
    for name in config.systems:
        if not name.replace("-", "").replace("_", "").isalnum():
            raise ConfigError(f"{file}: system name {name!r} may hold letters, digits, - and _ only")
        _check_policy(config.systems[name].policy, f"{file}: systems.{name}.policy")
    return config, file.resolve().parent


def _check_policy(policy: PolicyConfig, where: str) -> None:
    """Refuse what no policy can do by itself, and bounds that mean nothing."""
    asked = [(f"choices.{kind}", kind, choice) for kind, choice in policy.choices.items()]
    for place, one in enumerate(policy.exemptions):
        spot = f"exemptions[{place}]"
        bounds = [bound for bound in (one.over, one.up_to) if bound is not None]
        if bounds and one.currency is None:
            raise ConfigError(f"{where}.{spot}: an amount means nothing without its currency", 'add currency = "EUR"')
        if any(not bound.is_finite() or bound < 0 for bound in bounds):
            raise ConfigError(f"{where}.{spot}: over and up_to must be amounts, zero or more")
        if one.over is not None and one.up_to is not None and one.over >= one.up_to:
            raise ConfigError(f"{where}.{spot}: over {one.over} and up_to {one.up_to} leave nothing between them")
        if not one.kinds and one.choice in (Choice.REBASE, Choice.RETRY):
            raise ConfigError(f"{where}.{spot}: {one.choice} does not fit every kind; name the kinds that it is for")
        asked += [(f"{spot}.choice", kind, one.choice) for kind in one.kinds]
    for spot, kind, choice in asked:
        if choice not in POSSIBLE[kind]:
            known = ", ".join(POSSIBLE[kind])
            raise ConfigError(f"{where}.{spot}: a policy cannot {choice} a conflict {kind}; possible are: {known}")


def policy_of(system: SystemConfig) -> Policy:
    """A system's policy as a value for the rules."""
    config = system.policy
    return Policy(
        choices=config.choices,
        exemptions=tuple(Exemption(**msgspec.structs.asdict(one)) for one in config.exemptions),
        settle_time=dt.timedelta(seconds=config.settle_seconds),
        unknown_for=dt.timedelta(seconds=config.unknown_document_seconds),
        retry_after=dt.timedelta(seconds=config.retry_seconds),
        most_stales=config.most_stales,
        start_date=system.start_date,
        invoices_named_by=system.invoices_named_by,
        most_retries=config.most_retries,
        most_losses=config.most_losses,
        undo_for=dt.timedelta(seconds=config.undo_seconds),
        in_doubt_for=dt.timedelta(seconds=config.in_doubt_seconds),
    )


def _secrets_read(value: Any, folder: Path, place: str) -> Any:
    """The same settings with `x_env` and `x_file` replaced by `x`, for settings that are secret."""
    if not isinstance(value, dict):
        return value
    read: dict[str, Any] = {}
    for name, item in value.items():
        where = f"{place}.{name}" if place else name
        stem, _, way = name.rpartition("_")
        if stem in _SECRETS and way in ("env", "file"):
            read[stem] = _secret(item, way, folder, where)
        elif name in ("password", "token") and not isinstance(item, dict):
            raise ConfigError(f"{where}: a {name} does not belong in the file; use {name}_env or {name}_file")
        else:
            read[name] = _secrets_read(item, folder, where)
    return read


def _secret(name: Any, way: str, folder: Path, where: str) -> str:
    if not isinstance(name, str):
        raise ConfigError(f"{where} must be text: the name of {'a variable' if way == 'env' else 'a file'}")
    if way == "env":
        if name not in os.environ:
            raise ConfigError(f"{where} names the environment variable {name}, which is not set")
        return os.environ[name]
    file = folder / name
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"{where} names the file {file}, which cannot be read: {error.strerror}") from None
