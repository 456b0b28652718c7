"""An order or entry of which only a snapshot tells: the command about it is confirmed all the same."""

import datetime as dt
from decimal import Decimal
from random import Random

from engine.app.wiring import enter_system
from engine.flow.intake import submit
from engine.flow.pipeline import Pipeline
from engine.model.commands import command_key
from engine.model.intents import PostEntry, ReleaseOrder, Side
from engine.rules.policy import Policy
from engine.store import records
from engine.store.unit import Connection
from tests.simulation.books import DAY, Books
from tests.simulation.clock import Clock
from tests.simulation.mapping import SimMapping
from tests.simulation.wire import Stream, Wire

SYSTEM = "papers-in-snapshots"


def test_what_only_a_snapshot_shows_confirms_a_release_and_an_entry(connection: Connection) -> None:
    clock = Clock()
    enter_system(connection, SYSTEM, "simulated")
    books = Books(Random(1), clock)
    wire = Wire(books.db, Random(2), dates="iso", borders=True)
    with books.db.transaction("setup", "company") as tx:
        tx.insert("currency", code="EUR")
        order = books.open_order(tx, 1, numbered=True)
    wire.snapshot(skip=True)
    pipeline = Pipeline(connection, SYSTEM, SimMapping(), Policy(), clock, epoch="e1")
    source = Stream(wire, 0, lambda _count: None)
    take(pipeline, source)
    lines = (Side("4000", debit=Decimal("1.00")), Side("1200", credit=Decimal("1.00")))
    whose = {"system": SYSTEM, "customer": "1", "company": "1", "currency": "EUR"}
    release = ReleaseOrder(id="o", order=str(order), amount=Decimal("1.00"), **whose)
    entry = PostEntry(id="e", date=dt.date(2026, 11, 23), lines=lines, **whose)
    submit(connection, SYSTEM, [release, entry], Policy(), clock, {})
    key = command_key(SYSTEM, "e", 0)
    with books.db.transaction("arsync", "both", None) as tx:
        tx.update("sorder", order, held=False)
        tx.insert("entry", text=key, day=DAY, amount=Decimal("1.00"), posted=True)
    wire.snapshot(skip=True)
    take(pipeline, source)
    with connection.cursor() as cursor:
        known = records.load_intents(cursor, SYSTEM, ["o", "e"])
    assert {name: record.state for name, record in known.items()} == {"o": "done", "e": "done"}


def take(pipeline: Pipeline, source: Stream) -> None:
    """Everything that is on the wire."""
    batch = source.poll(10_000)
    assert batch is not None
    pipeline.take(batch)
