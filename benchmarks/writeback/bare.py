"""The loop that arsync is held against: the same client of Tryton, one payment after the other and nothing else.

What arsync has at hand is given to the loop for nothing: what to write is made, and the guards of a whole block are
read, before its clock starts. It keeps no record, looks nothing up, and learns nothing of what it has not done.
"""

import datetime as dt
import time
from collections.abc import Callable

from benchmarks.writeback.plan import Block, Receipt
from connectors.tryton.rpc import Session
from connectors.tryton.target import TrytonTarget
from engine.model.commands import OutcomeKind, PostPayment, PromisedAllocation, command_key
from engine.ports.target import Guard

SYSTEM = "bare"
MOST_TRIES = 20


class BareFailed(RuntimeError):
    """Tryton did not take a payment; the text has its answer."""


def bare_key(receipt: Receipt) -> str:
    """The key under which the loop books a receipt."""
    return command_key(SYSTEM, receipt.name, 0)


class BareLoop:
    """Pays blocks through `target`; `session` reads the guards."""

    def __init__(self, target: TrytonTarget, session: Session, day: dt.date) -> None:
        self._target, self._session, self._day = target, session, day
        self._company = str(session.call("model.company.company.search", [], 0, 1, None)[0])

    def pay(self, block: Block, told: Callable[[float], None]) -> float:
        """Pay a block; gives the seconds that it took. `told` hears those of each send."""
        guards = self._guards(block)
        writes = [(bare_key(receipt), self._write(receipt), guards[receipt.name]) for receipt in block.receipts]
        began = time.monotonic()
        for key, write, guard in writes:
            sent = time.monotonic()
            self._send(key, write, guard)
            told(time.monotonic() - sent)
        return time.monotonic() - began

    def _send(self, key: str, write: PostPayment, guard: Guard) -> None:
        for _ in range(MOST_TRIES):
            outcome = self._target.send(key, write, guard)
            if outcome.kind is OutcomeKind.ACCEPTED:
                return
            if outcome.kind is not OutcomeKind.THROTTLED:
                break
        raise BareFailed(f"Tryton's answer to {write.title} for customer {write.customer}: {outcome}")

    def _write(self, receipt: Receipt) -> PostPayment:
        allocations = tuple(PromisedAllocation(str(due.invoice), due.amount, None, "") for due in receipt.dues)
        return PostPayment(
            company=self._company,
            customer=str(receipt.dues[0].customer),
            currency="EUR",
            amount=receipt.amount,
            date=self._day,
            allocations=allocations,
            reference=receipt.name,
        )

    def _guards(self, block: Block) -> dict[str, Guard]:
        """The tokens of each receipt's invoices and their open items."""
        ids = [due.invoice for receipt in block.receipts for due in receipt.dues]
        rows = self._session.call("model.account.invoice.read", ids, ["_timestamp", "lines_to_pay"])
        lines = [line for row in rows for line in row["lines_to_pay"]]
        items = self._session.call("model.account.move.line.read", lines, ["_timestamp"])
        tokens = {row["id"]: str(row["_timestamp"]) for row in items}
        of_invoice = {
            row["id"]: {
                f"account.invoice,{row['id']}": str(row["_timestamp"]),
                **{f"account.move.line,{line}": tokens[line] for line in row["lines_to_pay"]},
            }
            for row in rows
        }
        return {
            receipt.name: {k: v for due in receipt.dues for k, v in of_invoice[due.invoice].items()}
            for receipt in block.receipts
        }
