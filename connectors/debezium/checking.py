"""Looks at all that an embedded Debezium needs, and at what will need somebody's care. Changes nothing.

The same questions stand before each opening (`connectors.debezium.preflight`, `connectors.debezium.resuming`); here
they are asked to the end, also after one that went wrong.
"""

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any, Final

import psycopg

from connectors.debezium.preflight import Server, publication_mode, set_up, whereabouts
from connectors.debezium.process import check_programs
from connectors.debezium.resuming import where_to_go_on
from connectors.debezium.server import Slot, connection, held_by_another, one, place, read_slot
from connectors.debezium.settings import Options, read_options
from engine.ports.errors import ConnectorError, SourceRefused
from engine.ports.finding import Finding, Grade
from engine.ports.source import SourceSetup

_SKEW: Final = dt.timedelta(seconds=2)
_MUCH_LOG: Final = 1 << 30
"""Bytes of log kept for the slot from which on it is worth a word, where the server has no bound of its own."""


def check(setup: SourceSetup, clock: Callable[[], dt.datetime], *, in_use: bool) -> list[Finding]:
    """Every point; what cannot be asked ends it. `in_use`: a daemon of ours reads the slot at this moment."""
    found: list[Finding] = []
    try:
        options = read_options(setup)
        check_programs()
        with connection(options) as server:
            found.append(Finding.well("source login", f"{options.user} on {place(options)}/{options.database}"))
            found += _in_short(set_up(server, options, setup.tables))
            found.append(_asked("publication", lambda: _publication(server, options, setup)))
            found.append(_clock(server, clock))
            found += _reading(server, setup, options, in_use=in_use)
    except ConnectorError as error:
        found.append(Finding.of("source", error))
    return found


def _in_short(findings: Iterator[Finding]) -> list[Finding]:
    """One line for all tables that are as they should be."""
    held = list(findings)
    well = [one for one in held if one.ok and one.subject.startswith("table ")]
    rest = [one for one in held if one not in well]
    return [*rest, *([Finding.well("tables", f"{len(well)} readable, REPLICA IDENTITY FULL")] if well else [])]


def _asked(subject: str, ask: Callable[[], str]) -> Finding:
    try:
        return Finding.well(subject, ask())
    except ConnectorError as error:
        return Finding.of(subject, error)


def _publication(server: psycopg.Connection[Any], options: Options, setup: SourceSetup) -> str:
    made = publication_mode(server, options, setup.tables) == "filtered"
    return f"{options.publication} is {'made and kept fit by this login' if made else 'there, with all tables'}"


def _clock(server: psycopg.Connection[Any], clock: Callable[[], dt.datetime]) -> Finding:
    """The engine's clock against the ERP's, within what the question itself takes."""
    before = clock()
    theirs: dt.datetime = one(server, "SELECT clock_timestamp()")[0]
    after = clock()
    skew = max(before - theirs, theirs - after, dt.timedelta(0))
    if skew <= _SKEW:
        return Finding.well("clock", "goes with the ERP's")
    detail = f"the ERP's clock says {theirs.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC, this one {skew} off it"
    fix = "set both by the same time service; until then lags, dates and waiting times are wrong by as much"
    return Finding.warning("clock", detail, fix)


def _reading(
    server: psycopg.Connection[Any], setup: SourceSetup, options: Options, *, in_use: bool
) -> Iterator[Finding]:
    """The right to replicate, the slot, and whether what was read goes on from there."""
    try:
        epoch, end = whereabouts(server, options)
    except SourceRefused as error:
        yield Finding.of("replication right", error)
        return
    yield Finding.well("replication right", f"{options.user} may replicate")
    name, slot = str(options.slot), read_slot(server, str(options.slot))
    if in_use:
        yield Finding.well("position", "a daemon goes on from it at this moment")
        if slot is not None:
            yield _kept(name, slot, in_use=True)
        return
    try:
        offset = where_to_go_on(setup, options, Server(epoch, end, slot, ""))
    except SourceRefused as error:
        yield Finding.of("position", error)
        return
    yield Finding.well("position", "goes on where it was" if offset is not None else "begins with a snapshot")
    if slot is None:
        return
    if slot.reader is not None:
        yield Finding.of("slot", held_by_another(name, slot.reader))
        return
    yield _kept(name, slot, in_use=False)


def _kept(name: str, slot: Slot, *, in_use: bool) -> Finding:
    """How much log the server keeps for the slot, against how much it may."""
    detail = f"{name} makes the ERP's server keep {_size(slot.kept)} of log"
    if slot.left is not None:
        detail += f"; after {_size(max(0, slot.left))} more the server throws it away, and changes are lost"
    elif slot.kept >= _MUCH_LOG:
        detail += ", without a bound: it can fill the server's disk"
    behind = slot.kept >= _MUCH_LOG if slot.left is None else slot.left < slot.kept
    if not behind:
        return Finding("slot", Grade.OK, detail)
    start = "look in the daemon's log why it falls behind" if in_use else "start `arsync run`"
    given_up = f"if this system is given up: SELECT pg_drop_replication_slot('{name}')"
    return Finding.warning("slot", detail, f"{start}; {given_up}")


def _size(octets: int) -> str:
    return f"{octets / (1 << 20):.0f} MiB" if octets < _MUCH_LOG else f"{octets / (1 << 30):.1f} GiB"
