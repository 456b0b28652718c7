"""The other side: a running arsync that is handed the same payments as intents, and watched in its own store.

While the bare loop has its turn the daemon stands still, so that the loop has the machine to itself; its Tryton keeps
the log for it meanwhile, and it catches up before its own turn.
"""

import datetime as dt
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import psutil  # type: ignore[import-untyped]
import psycopg

from benchmarks.writeback.plan import Block, Receipt
from demo.engine import SYSTEM, Engine
from engine.model.commands import command_key
from engine.model.intents import Allocation, ApplyPayment
from engine.store.embedded import Cluster

LOOK_SECONDS = 0.05
QUIET_SECONDS = 0.6
PATIENCE = 60.0
"""Seconds without any progress after which a block has failed."""

# An answer that comes after its own echo changes nothing; that it came shows in the lease, which it gives back.
_STANDING = """
    SELECT count(*) FILTER (WHERE state IN ('accepted', 'confirmed') AND lease_until IS NULL),
           count(*) FILTER (WHERE state = 'confirmed'), count(*)
    FROM command WHERE system = %s AND current AND created_at >= %s"""


class SyncFailed(RuntimeError):
    """arsync did not bring a block to its end; the text says how its commands stand."""


class Timing(msgspec.Struct, frozen=True):
    """Seconds of one block from when its first intent was taken: to the last accepted answer, and to the last
    confirmation. `call` is what the command line took to hand the intents in, its own start included."""

    accepted: float
    confirmed: float
    call: float


def arsync_key(receipt: Receipt) -> str:
    """The key under which arsync books a receipt."""
    return command_key(SYSTEM, receipt.name, 0)


class Synced:
    """Pays blocks through a started `engine`, whose embedded store lies below `folder`."""

    def __init__(self, engine: Engine, folder: Path, day: dt.date) -> None:
        self._engine, self._folder, self._day = engine, folder, day

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let the daemon and what it has started stand still for the time of the block."""
        pid = int(json.loads((self._folder / "ready.json").read_text(encoding="utf-8"))["pid"])
        daemon = psutil.Process(pid)
        stopped: list[psutil.Process] = []
        try:
            for process in [daemon, *daemon.children(recursive=True)]:
                # Its PostgreSQL does only what it is asked; connections of it come and go.
                with suppress(psutil.NoSuchProcess):
                    if process.name() != "postgres":
                        process.suspend()
                        stopped.append(process)
            yield
        finally:
            for process in reversed(stopped):
                process.resume()

    def await_cleared(self, invoices: Sequence[int]) -> None:
        """Return when arsync has seen these invoices paid, and heard nothing more for a moment."""
        wanted = [str(number) for number in invoices]
        query = "SELECT count(*) FROM invoice WHERE system = %s AND key = ANY(%s) AND state IN ('cleared', 'posted')"
        with self._store() as store:
            self._until(lambda: _row(store, query, SYSTEM, wanted), lambda row: row[0] == len(wanted))
            # The last transaction of a payment (Tryton calls the invoice paid) changes nothing that this would show.
            query = "SELECT commit_lsn FROM source_position WHERE system = %s"
            at, since = _row(store, query, SYSTEM), time.monotonic()
            while time.monotonic() - since < QUIET_SECONDS:
                time.sleep(LOOK_SECONDS)
                if (now := _row(store, query, SYSTEM)) != at:
                    at, since = now, time.monotonic()

    def pay(self, block: Block) -> Timing:
        """Hand a block in, and wait until Tryton's own log has shown all of it."""
        lines = self._lines(block)
        called = time.time()
        taken = self._engine.submit(lines)
        call = time.time() - called
        refused = [one for one in taken if one["state"] != "planned"]
        if refused:
            raise SyncFailed(f"{len(refused)} of {len(taken)} intents were not planned, the first: {refused[0]}")
        since = dt.datetime.fromtimestamp(called, dt.UTC)
        with self._store() as store:
            taken_at = (
                "SELECT extract(epoch FROM min(received_at)) FROM intent WHERE system = %s AND received_at >= %s"
            )
            began = float(_row(store, taken_at, SYSTEM, since)[0])
            everything = len(block.receipts)
            accepted = confirmed = 0.0

            def ended(row: tuple[Any, ...]) -> bool:
                nonlocal accepted, confirmed
                if row[0] == everything and not accepted:
                    accepted = time.time() - began
                if row[1] == everything:
                    confirmed = time.time() - began
                return bool(accepted and confirmed)

            self._until(lambda: _row(store, _STANDING, SYSTEM, since), ended)
        return Timing(accepted, confirmed, call)

    def _lines(self, block: Block) -> list[str]:
        rows = {int(row["key"]): row for row in self._engine.ask("invoices", "list")}
        return [msgspec.json.encode(self._intent(receipt, rows)).decode() for receipt in block.receipts]

    def _intent(self, receipt: Receipt, rows: dict[int, dict[str, Any]]) -> ApplyPayment:
        return ApplyPayment(
            id=receipt.name,
            system=SYSTEM,
            customer=str(receipt.dues[0].customer),
            currency="EUR",
            amount=receipt.amount,
            date=self._day,
            allocations=tuple(
                Allocation(str(due.invoice), due.amount, str(rows[due.invoice]["content_version"]))
                for due in receipt.dues
            ),
            reference=receipt.name,
        )

    def _until(self, look: Any, enough: Any) -> None:
        before, since = None, time.monotonic()
        while not enough(found := look()):
            self._engine.check()
            if found != before:
                before, since = found, time.monotonic()
            elif time.monotonic() - since > PATIENCE:
                raise SyncFailed(f"nothing has moved for {PATIENCE:.0f} s; last seen: {found}")
            time.sleep(LOOK_SECONDS)

    def _store(self) -> psycopg.Connection[tuple[Any, ...]]:
        dsn = Cluster(self._folder / ".arsync" / "postgres").dsn("arsync")
        return psycopg.connect(dsn, autocommit=True)


def _row(store: psycopg.Connection[tuple[Any, ...]], query: str, *values: object) -> tuple[Any, ...]:
    found = store.execute(query.encode(), values).fetchone()
    return found or (None,)
