"""What another mapping would have made of a recorded capture: the real pipeline reads it twice, once with each.

`arsync replay diff --mapping` calls it. Both readings go into a store of their own that lasts as long as the
question; what they came to is compared document by document and field by field, and life by life.
"""

import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from threading import Event
from typing import Any, cast

import msgspec
import psycopg
import structlog

from engine.app import registry
from engine.app.config import SystemConfig, policy_of
from engine.app.wiring import enter_system, now
from engine.flow.reader import Reader, Reading, source_setup
from engine.flow.vitals import Vitals
from engine.model.canonical import to_plain
from engine.ports.errors import ConfigError
from engine.ports.mapping import ErpMapping
from engine.ports.source import Resume, Source
from engine.store import schema
from engine.store.unit import Connection

MAPPINGS = "arsync.mappings"
"""Entry points of further versions of a connector's mapping, named `CONNECTOR-VERSION`."""


class Apart(msgspec.Struct, frozen=True):
    """One field of a document (or `life`, its steps) that comes out otherwise."""

    document: str
    field: str
    now: str | None
    then: str | None


def mapping_of(connector: str, version: str) -> ErpMapping:
    """A mapping by its version, or by `module:name` where it is not installed as one.

    Raises:
        ConfigError: there is none.
    """
    if ":" in version:
        module, _, name = version.partition(":")
        try:
            found = getattr(import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"mapping {version} cannot be loaded: {error}") from None
        return cast("ErpMapping", found() if isinstance(found, type) else found)
    present = registry.connector(connector).mapping
    if str(present.version) == version:
        return present
    known = {entry.name: entry for entry in entry_points(group=MAPPINGS)}
    if f"{connector}-{version}" in known:
        return cast("ErpMapping", known[f"{connector}-{version}"].load())
    there = [str(present.version), *(n.rpartition("-")[2] for n in known if n.startswith(f"{connector}-"))]
    raise ConfigError(
        f"connector {connector} has no mapping of version {version}; installed: {', '.join(there)}",
        "a mapping that is not installed is named as module:name",
    )


def under_mapping(chosen: SystemConfig, capture: Path, other: ErpMapping) -> Iterator[Apart]:
    """Every field of every document that the other mapping makes otherwise of a capture."""
    from engine.store.embedded import Cluster

    mine = registry.connector(chosen.connector).mapping
    with (
        _only_warnings(),
        tempfile.TemporaryDirectory(prefix="arsync-mapping-") as place,
        Cluster(Path(place) / "postgres", settings={"fsync": "off"}) as cluster,
    ):
        cluster.ensure_database("mapping")
        dsn = cluster.dsn("mapping")
        schema.migrate(dsn, None)
        made = [
            _read(name, mapping, chosen, capture, Path(place), lambda: psycopg.connect(dsn, autocommit=True))
            for name, mapping in (("now", mine), ("then", other))
        ]
    yield from compared(*made)


@contextmanager
def _only_warnings() -> Iterator[None]:
    """The pipeline's reports of its progress belong to a daemon's log."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    try:
        yield
    finally:
        structlog.configure(**before)


def compared(now: dict[str, dict[str, str]], then: dict[str, dict[str, str]]) -> Iterator[Apart]:
    """Two readings, each field of each document as text."""
    for name in sorted({*now, *then}):
        one, two = now.get(name, {}), then.get(name, {})
        for field in sorted({*one, *two}):
            if one.get(field) != two.get(field):
                yield Apart(name, field, one.get(field), two.get(field))


def _read(
    system: str,
    mapping: ErpMapping,
    chosen: SystemConfig,
    capture: Path,
    place: Path,
    connect: Callable[[], Connection],
) -> dict[str, dict[str, str]]:
    options: dict[str, Any] = {"type": "capture", "path": str(capture.resolve())}
    kind = registry.source(options, "capture")

    def open_source(resume: Resume | None, _first: bool) -> Source:  # noqa: FBT001 - the reader's own call
        return kind.open(source_setup(system, options, mapping, resume, place / system, 5000))

    with connect() as connection:
        enter_system(connection, system, chosen.connector)
        reading = Reading(system, mapping, policy_of(chosen), open_source, connect, now, until_end=True)
        Reader(reading, Vitals(system), ready=lambda: None, wake=lambda: None).run(Event())
        return _made(connection, system)


def _made(connection: Connection, system: str) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for table in ("invoice", "customer"):
        rows = connection.execute(
            f"SELECT key, record -> 'doc', record ->> 'state', record ->> 'deleted' FROM {table} WHERE system = %s",  # noqa: S608
            (system,),
        )
        for key, doc, state, deleted in rows.fetchall():
            plain = {name: to_plain(value) for name, value in doc.items() if name != "personal"}
            fields = {name: value if isinstance(value, str) else msgspec.json.encode(value).decode()
                      for name, value in plain.items()}  # fmt: skip
            found[f"{table}/{key}"] = {**fields, "deleted": str(deleted), **({"state": state} if state else {})}
    moves = connection.execute(
        """SELECT e ->> 'subject', string_agg(e ->> 'trigger', ' ' ORDER BY batch, place, n)
           FROM journal, jsonb_array_elements(body::jsonb -> 'effects') WITH ORDINALITY AS u (e, n)
           WHERE system = %s AND e ->> 'type' = 'moved' AND e ->> 'machine' = 'invoice' GROUP BY 1""",
        (system,),
    )
    for key, life in moves.fetchall():
        found.setdefault(f"invoice/{key}", {})["life"] = life
    return found
