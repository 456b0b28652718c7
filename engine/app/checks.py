"""Looks at a system from all sides: the store, the source, the target, and whether the two are one ERP.

`arsync check` prints what it finds, and `arsync run` logs what is not as it should be. What would lose data stops
`run` besides: the source refuses to open, by the same questions.
"""

import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psycopg

from engine.app import registry
from engine.app.config import Config, HttpConfig, SystemConfig
from engine.app.wiring import OpenStore, now, source_folder
from engine.flow.reader import source_setup
from engine.model.documents import DocumentKind
from engine.ports.connector import Connector
from engine.ports.errors import ConfigError, ConnectorError, Unavailable
from engine.ports.finding import Finding
from engine.ports.target import Target
from engine.store import records
from engine.store.position import load_position
from engine.store.unit import Connection

_SAMPLE: Final = 50
_SAFE_TOKEN: Final = 32


def look(
    store: OpenStore, config: Config, name: str, chosen: SystemConfig, folder: Path, *, in_use: bool
) -> Iterator[Finding]:
    """Everything about one system, in the order in which it is needed. Changes nothing.

    `in_use` says that a daemon works on it at this moment.

    Raises:
        ConfigError: its connector or its kind of source is not installed.
    """
    connector = registry.connector(chosen.connector)
    kind = registry.source(chosen.source, "debezium")
    with store.connect() as connection:
        if chosen.source:
            with connection.cursor() as cursor:
                stored = load_position(cursor, name)
            resume = stored.resume if stored else None
            work = source_folder(config, folder, name)
            setup = source_setup(name, dict(chosen.source), connector.mapping, resume, work, config.daemon.batch_size)
            yield from kind.check(setup, now, in_use=in_use)
        else:
            fix = f"add the section [systems.{name}.source]; `arsync init --print` shows it"
            yield Finding.warning("source", "none is configured: only recorded captures can be read", fix)
        if chosen.target:
            yield from _target(connection, name, connector, chosen)
        else:
            yield Finding.well("target", "none is configured: nothing is written back")


def look_at_ar_side(config: Config, folder: Path) -> Iterator[Finding]:
    """Who may ask over HTTP, whether tokens are safe on their way, and every feed. Changes nothing.

    Raises:
        ConfigError: a feed is not installed.
    """
    http = config.http
    if not config.tells_ar:
        yield Finding.well(
            "AR side", "neither tokens nor feeds are configured: intents come by `arsync intents submit`"
        )
    if http.tokens:
        yield from _http(http, folder)
    for name, options in config.feeds.items():
        yield from registry.feed(name).check(options, folder)


def _http(http: HttpConfig, folder: Path) -> Iterator[Finding]:
    from engine.app.http.serving import tls_context

    subject = "http"
    try:
        encrypted = tls_context(http, folder) is not None
    except ConfigError as error:
        yield Finding.of(subject, error)
        return
    names = ", ".join(sorted(http.tokens))
    if ip_loopback(http.host) or encrypted:
        yield Finding.well(subject, f"{http.host}:{http.port}, tokens: {names}")
    else:
        fix = "configure [http.tls], or bind 127.0.0.1 and let a proxy on this machine encrypt"
        yield Finding.warning(
            subject, f"it listens on {http.host} and tokens would cross the network unencrypted", fix
        )
    short = sorted(name for name, one in http.tokens.items() if len(one.token) < _SAFE_TOKEN)
    if short:
        fix = "make longer ones, for example by `openssl rand -hex 32`"
        yield Finding.warning(subject, f"tokens of {', '.join(short)} are shorter than {_SAFE_TOKEN} characters", fix)


def ip_loopback(host: str) -> bool:
    """Whether an address is one that only this machine reaches."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _target(connection: Connection, name: str, connector: Connector, chosen: SystemConfig) -> Iterator[Finding]:
    try:
        target = connector.open_target(chosen.target)
    except ConnectorError as error:
        yield Finding.of("target", error)
        return
    try:
        found = target.check()
        yield from found
        if found and found[0].ok:
            yield from _one_erp(connection, name, target)
    finally:
        target.close()


def _one_erp(connection: Connection, name: str, target: Target) -> Iterator[Finding]:
    """Whether the ERP that is written to is the one that was read: its API must know the invoices of the store."""
    sample = records.numbered_invoices(connection, name, _SAMPLE)
    if not sample:
        return
    try:
        told = {one.key: one.facts.get("number") for one in target.read(DocumentKind.INVOICE, keys=sorted(sample))}
    except Unavailable as error:
        yield Finding.error("one ERP", str(error), "see that the ERP answers, then check again")
        return
    alike = sum(told.get(key) == number for key, number in sample.items())
    if alike:
        yield Finding.well("one ERP", f"the target knows {alike} of {len(sample)} invoices that were read")
    else:
        yield Finding.error(
            "one ERP",
            f"the target knows none of {len(sample)} invoices that were read from the source by their numbers",
            "let source and target name the same ERP; until then nothing must be written: set mode to observe",
        )


def store_clock(connection: psycopg.Connection[tuple[object, ...]]) -> Finding:
    """The store's server is where leases of several daemons meet: its clock and this one must agree."""
    row = connection.execute(
        "SELECT abs(extract(epoch FROM clock_timestamp() - %s::timestamptz))", [now()]
    ).fetchone()
    skew = float(str(row[0])) if row else 0.0
    if skew <= 2:
        return Finding.well("store", "reached, its tables are current, its clock goes with this one")
    fix = "set both by the same time service: a lease must end at the same moment for all daemons"
    return Finding.warning("store", f"its clock is {skew:.0f} s off this one", fix)
