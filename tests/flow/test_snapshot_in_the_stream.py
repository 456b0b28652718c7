"""A snapshot that comes in the midst of the stream, in one batch with the transactions before it."""

from decimal import Decimal
from random import Random

import pytest

from engine.app.wiring import enter_system
from engine.flow.pipeline import Pipeline
from engine.rules.policy import Policy
from engine.store.unit import Connection
from tests.simulation.books import DAY, Books
from tests.simulation.clock import Clock
from tests.simulation.mapping import SimMapping
from tests.simulation.wire import Stream, Wire


@pytest.mark.parametrize("borders", [True, False])
def test_every_step_before_it_is_told_as_a_step_of_its_own(connection: Connection, *, borders: bool) -> None:
    system, clock = f"snapshot-in-the-stream-{borders}", Clock()
    enter_system(connection, system, "simulated")
    books = Books(Random(1), clock)
    books.db.bordered, books.db.overlap = borders, 0.0
    wire = Wire(books.db, Random(2), dates="iso", borders=borders)
    wire.calm = True
    with books.db.transaction("setup", "company") as tx:
        tx.insert("currency", code="EUR")
        partner = tx.insert("partner", name="A", active=True, note="")
        tx.insert("credit_limit", partner=partner, amount=None)
        bill = books.open_bill(tx, partner, Decimal("10.00"), day=DAY, dues=[DAY])
    wire.snapshot(skip=False)
    pipeline = Pipeline(connection, system, SimMapping(), Policy(), clock, epoch="e1")
    source = Stream(wire, wire.snapshots[0].start, lambda _count: None)
    first = source.poll(10_000)
    assert first is not None
    pipeline.take(first)
    for step in ("pay", "take back"):
        with books.db.transaction("accountant", step) as tx:
            if step == "pay":
                line = books.apply(
                    tx, bill, books.receive(tx, partner, Decimal("10.00"), "Bank", DAY), Decimal("10.00")
                )
            else:
                books.unapply(tx, line)
            books.settle_up(tx, bill)
    wire.snapshot(skip=False)
    both = source.poll(10_000)
    assert both is not None
    pipeline.take(both)
    told = connection.execute(
        "SELECT trigger, commit_lsn FROM transition WHERE system = %s ORDER BY seq", (system,)
    ).fetchall()
    paid, back = (commit.lsn for commit in books.db.log[-2:])
    assert told[1:] == [("erp_cleared", paid), ("erp_posted", paid), ("erp_reopened", back)]
