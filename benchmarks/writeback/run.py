"""Carries the plan out: one Tryton in a folder of its own, one arsync on it, and the blocks in their order."""

import datetime as dt
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from pathlib import Path

import psycopg

from benchmarks.writeback.bare import BareLoop
from benchmarks.writeback.figures import Measured
from benchmarks.writeback.plan import Block, Due, Side, Size, blocks, customers
from benchmarks.writeback.synced import Synced
from connectors.tryton.rpc import Session
from connectors.tryton.target import open_target
from demo.accountant import Accountant, Bill, Item
from demo.engine import Engine, Target
from demo.erp import DATABASE, DemoErp

DAY = dt.date(2026, 11, 20)
PRICE = Decimal("100.00")
BULK = 25
"""Invoices that are written and posted in one call: within the client's patience also on a slow machine."""

Tell = Callable[[str], None]


class House:
    """The running parts. Made by `open_house`."""

    def __init__(
        self, accountant: Accountant, engine: Engine, bare: BareLoop, synced: Synced, plan: list[Block]
    ) -> None:
        self.accountant, self.engine, self.bare, self.synced, self.plan = accountant, engine, bare, synced, plan

    def measure(self, tell: Tell) -> list[Measured]:
        """Run every block; the daemon stands still while the bare loop has its turn."""
        measured = []
        for block in self.plan:
            one = self._bare(block) if block.side is Side.BARE else self._arsync(block)
            tell(f"{block.side:7} {block.way:9} {block.payments:5} payments, {one.rate:6.2f}/s")
            measured.append(one)
        return measured

    def _bare(self, block: Block) -> Measured:
        sends: list[float] = []
        with self.synced.frozen():
            seconds = self.bare.pay(block, sends.append)
        self.synced.await_cleared([due.invoice for receipt in block.receipts for due in receipt.dues])
        return Measured(block.side, block.way, block.payments, seconds, seconds, sends=tuple(sends))

    def _arsync(self, block: Block) -> Measured:
        took = self.synced.pay(block)
        self.synced.await_cleared([due.invoice for receipt in block.receipts for due in receipt.dues])
        return Measured(block.side, block.way, block.payments, took.confirmed, took.accepted, took.call)


@contextmanager
def open_house(folder: Path, cache: Path, size: Size, tell: Tell) -> Iterator[House]:
    """A Tryton with all invoices posted, an arsync that has read them, and both sides ready to pay."""
    with ExitStack() as stack:
        erp = stack.enter_context(DemoErp(folder / "erp", cache, tell))
        accountant = stack.enter_context(erp.accountant())
        plan = blocks(size, _write_invoices(accountant, size, tell))
        # The reader of this log will stand still for longer than PostgreSQL would wait for it.
        with psycopg.connect(erp.cluster.dsn(DATABASE), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET wal_sender_timeout = 0")
            connection.execute("SELECT pg_reload_conf()")
        tell("Starting arsync")
        home = folder / "arsync"
        engine = stack.enter_context(
            Engine(home, erp.postgres_dsn, Target(erp.url, erp.database, erp.user, erp.password))
        )
        login = {"url": erp.url, "database": erp.database, "user": erp.user, "password": erp.password}
        target = open_target(login)
        stack.callback(target.close)
        session = stack.enter_context(Session(erp.url, erp.database, erp.user, erp.password))
        engine.start()
        engine.await_ready()
        yield House(accountant, engine, BareLoop(target, session, DAY), Synced(engine, home, DAY), plan)


def _write_invoices(accountant: Accountant, size: Size, tell: Tell) -> list[Due]:
    """Post an invoice for every payment, in the order of the plan."""
    whose = list(customers(size, [int(row["id"]) for row in accountant.customers()]))
    began = time.monotonic()
    made: list[int] = []
    for start in range(0, len(whose), BULK):
        bills = [Bill(party, (Item("Pallets", PRICE),), DAY, term="Net 365") for party in whose[start : start + BULK]]
        made += accountant.create_invoices(bills)
        tell(f"{len(made)} of {len(whose)} invoices posted, {len(made) / (time.monotonic() - began):.1f}/s")
    total = {row["id"]: row["amount_to_pay"] for row in accountant.invoices()}
    return [Due(number, party, total[number]) for number, party in zip(made, whose, strict=True)]
