"""The settings of an embedded Debezium: from the system's `source` section to Debezium's properties. Pure.

Each property that differs from Debezium's default says what it is for.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from engine.ports.errors import ConfigError
from engine.ports.source import SourceSetup

HEARTBEAT_PREFIX: Final = "arsync"
OFFSETS: Final = "offsets.dat"
_NAME_LIMIT: Final = 63
# What the promises of this package hang on, or what has an option of its own.
_RESERVED: Final = re.compile(
    r"name|topic\.prefix|connector\.class|database\.(hostname|port|dbname|user|password|sslmode)|plugin\.name"
    r"|slot\.(name|drop\.on\.stop)|publication\.name|offset\..*|lsn\.flush\.mode|provide\.transaction\.metadata"
    r"|snapshot\.mode|table\..*list|column\..*list|errors\.max\.retries"
)


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the `source` section says. `properties` are laid over Debezium's own; `heap` is the JVM's, as `512m`.

    `slot` and `publication` are made by Debezium; their default is `arsync_` and the system's name. A slot belongs
    to one system alone. `new_epoch` gives up what was read before, and takes a new snapshot at the first opening.
    """

    database: str
    user: str
    password: str
    host: str = "127.0.0.1"
    port: int = 5432
    sslmode: str = "prefer"
    slot: str | None = None
    publication: str | None = None
    snapshot_mode: str = "initial"
    new_epoch: bool = False
    heap: str = "512m"
    properties: dict[str, str | int | bool] = {}

    def __repr__(self) -> str:
        """Without the password."""
        return f"Options(host={self.host!r}, port={self.port}, database={self.database!r}, user={self.user!r})"


def read_options(setup: SourceSetup) -> Options:
    """The options of this system, its names filled in. ConfigError when one is missing or wrong."""
    held = {name: value for name, value in setup.options.items() if name not in {"kind", "type"}}
    for name in ("database", "user", "password"):
        if not held.get(name):
            raise ConfigError(f"system {setup.system}: its source lacks `{name}`; set source.{name}")
    unknown = set(held) - set(Options.__struct_fields__)
    if unknown:
        raise ConfigError(f"system {setup.system}: its source has unknown settings: {', '.join(sorted(unknown))}")
    try:
        options = msgspec.convert(held, Options, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"system {setup.system}: its source cannot be understood: {error}") from error
    if not re.fullmatch(r"[1-9]\d*[kmgKMG]", options.heap):
        raise ConfigError(f"system {setup.system}: source.heap is {options.heap!r}; write a size like 512m")
    reserved = sorted(name for name in options.properties if _RESERVED.fullmatch(name))
    if reserved:
        raise ConfigError(f"system {setup.system}: source.properties may not set {', '.join(reserved)}; leave it out")
    if not setup.tables:
        raise ConfigError(f"system {setup.system}: no table is to be captured; its connector must name some")
    name = default_name(setup.system)
    return msgspec.structs.replace(
        options, slot=options.slot or name, publication=options.publication or options.slot or name
    )


def default_name(system: str) -> str:
    """The slot's and the publication's name, from letters that PostgreSQL takes."""
    return ("arsync_" + re.sub(r"[^a-z0-9_]", "_", system.lower()))[:_NAME_LIMIT]


def properties(setup: SourceSetup, options: Options, *, publication_mode: str) -> dict[str, str]:
    """Debezium's properties, the password among them: they go over the socket only."""
    prefix = re.sub(r"[^A-Za-z0-9._-]", "_", setup.system)
    held: dict[str, Any] = {
        "name": prefix,
        "topic.prefix": prefix,
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "database.hostname": options.host,
        "database.port": options.port,
        "database.dbname": options.database,
        "database.user": options.user,
        "database.password": options.password,
        "database.sslmode": options.sslmode,
        "plugin.name": "pgoutput",
        "slot.name": options.slot,
        "publication.name": options.publication,
        "publication.autocreate.mode": publication_mode,
        "table.include.list": _patterns(setup.tables),
        # One moment for all tables, without locks that would stand in the ERP's way.
        "snapshot.mode": options.snapshot_mode,
        "snapshot.isolation.mode": "repeatable_read",
        # Money as text; the borders of transactions; a truncated table must not go unnoticed.
        "decimal.handling.mode": "string",
        "provide.transaction.metadata": True,
        "skipped.operations": "none",
        "tombstones.on.delete": True,
        **_flow(setup),
        **_storage(setup.folder),
    }
    if setup.excluded:
        held["column.exclude.list"] = _patterns(setup.excluded)
    held |= options.properties
    return {name: _text(value) for name, value in held.items()}


def _flow(setup: SourceSetup) -> Mapping[str, Any]:
    return {
        "max.batch.size": setup.max_batch,
        "max.queue.size": max(8192, 4 * setup.max_batch),
        "max.queue.size.in.bytes": 64 * 1024 * 1024,
        "poll.interval.ms": 50,
        "slot.retry.delay.ms": 500,
        # A broken connection is ours to see: the server behind it may be another one afterwards.
        "errors.max.retries": 0,
        # The slot moves with what the engine has committed, and with nothing else.
        "lsn.flush.mode": "connector",
        # While the captured tables rest and others do not, the slot would keep the log without end.
        "heartbeat.interval.ms": 10_000,
        "heartbeat.action.query": f"SELECT pg_logical_emit_message(false, '{HEARTBEAT_PREFIX}', '')",
        "message.prefix.include.list": HEARTBEAT_PREFIX,
    }


def _storage(folder: Path) -> Mapping[str, Any]:
    return {
        "offset.storage": "org.apache.kafka.connect.storage.FileOffsetBackingStore",
        "offset.storage.file.filename": (folder / OFFSETS).resolve(),
        "offset.flush.interval.ms": 0,
        "key.converter.schemas.enable": False,
        "value.converter.schemas.enable": False,
        "converter.schemas.enable": False,
    }


def _patterns(names: Any) -> str:
    """Names as Debezium wants them: regular expressions, parted by commas."""
    return ",".join(re.sub(r"([^A-Za-z0-9_])", r"\\\1", name) for name in names)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
