"""Writes down what a reconcile has found, and lets the rows of what differs be read again.

`arsync reconcile` and the daemon's clock call it, each beside the pipeline, in units of work of their own.
"""

import datetime as dt
import time
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from engine.flow.comparing import Difference
from engine.flow.entering import load_view, take_event
from engine.flow.reconciling import Compared, Reconciler
from engine.model.canonical import to_plain
from engine.model.events import DocumentCompared, FieldDiffers
from engine.rules.policy import Policy
from engine.store import chores, drift
from engine.store.chores import ChoreKind
from engine.store.drift import Reconciliation
from engine.store.journal import Entry
from engine.store.unit import Connection, unit_of_work

_PART = 200
_LOOK_SECONDS = 0.2


class Report(msgspec.Struct, frozen=True):
    """What a reconcile came to. `found` differed at first, `left` differs still after the rows were read again."""

    invoices: int
    customers: int
    position: int | None
    found: tuple[Difference, ...]
    left: tuple[Difference, ...]
    unsettled: tuple[str, ...]
    seconds: float

    @property
    def proven(self) -> bool:
        """Whether the mirror is the ERP's word, all of it."""
        return not self.left and not self.unsettled

    def by_field(self) -> list[dict[str, Any]]:
        """What differs still, by field and currency: how many documents, how much money."""
        counted: dict[tuple[str, str | None], tuple[int, Decimal]] = {}
        for one in self.left:
            count, amount = counted.get((one.field, one.currency), (0, Decimal(0)))
            counted[one.field, one.currency] = (count + 1, amount + (one.amount or Decimal(0)))
        return [
            {"field": field, "documents": count, "amount": str(amount), "currency": currency}
            for (field, currency), (count, amount) in sorted(counted.items(), key=lambda item: str(item[0]))
        ]


class Bench:
    """One system's store, for one reconcile."""

    def __init__(
        self,
        connection: Connection,
        system: str,
        policy: Policy,
        clock: Callable[[], dt.datetime],
        versions: dict[str, Any],
        epoch: str | None,
    ) -> None:
        self._connection = connection
        self._system = system
        self._policy = policy
        self._clock = clock
        self._versions = versions
        self._epoch = epoch

    def carry_out(self, reconciler: Reconciler, *, repair: bool, by: str, patience: float) -> Report:
        """Compare everything, write down what differs, with `repair` read its rows again and look once more.

        Raises what `Reconciler.compare` raises; then nothing is written down.
        """
        began = time.monotonic()
        compared = reconciler.compare()
        self._write_down(compared.differences, compared, by)
        left, unsettled = list(compared.differences), list(compared.unsettled)
        if repair and left:
            names = list(dict.fromkeys(one.document for one in left))
            self._read_again(names, by, patience)
            left, moving = reconciler.compare_again(names)
            self._write_down(left, compared, by, only=set(names) - set(moving))
            unsettled += moving
        report = Report(compared.invoices, compared.customers, compared.position, compared.differences, tuple(left),
                        tuple(unsettled), time.monotonic() - began)  # fmt: skip
        with unit_of_work(self._connection, self._system, self._clock(), self._versions, self._policy) as work:
            done = Reconciliation(work.now, report.position, self._epoch, report.invoices, report.customers,
                                  len(left), len(unsettled), report.seconds)  # fmt: skip
            drift.save_reconciliation(work.cursor, self._system, done)
        return report

    def _write_down(
        self, differences: Sequence[Difference], compared: Compared, by: str, *, only: set[str] | None = None
    ) -> None:
        """One conflict for each document that differs; those of documents that are the same now are over."""
        found: dict[str, list[Difference]] = {}
        for one in differences:
            found.setdefault(one.document, []).append(one)
        with self._connection.cursor() as cursor:
            open_ = [name for name in drift.drifting(cursor, self._system) if name not in compared.unsettled]
        names = sorted({*found, *(name for name in open_ if only is None or name in only)})
        summary = {"compared": {"invoices": compared.invoices, "customers": compared.customers}, "by": by,
                   "position": compared.position, "differences": [to_plain(one) for one in differences],
                   "unsettled": list(compared.unsettled)}  # fmt: skip
        with unit_of_work(self._connection, self._system, self._clock(), self._versions, self._policy) as work:
            work.note(Entry(f"{self._system}/operators", "erp_read", work.now, summary, {}, []))
        for start in range(0, len(names), _PART):
            self._decide(names[start : start + _PART], found, compared.position)

    def _decide(self, names: Sequence[str], found: dict[str, list[Difference]], position: int | None) -> None:
        with unit_of_work(self._connection, self._system, self._clock(), self._versions, self._policy) as work:
            earlier = drift.drifts_about(work.cursor, self._system, names)
            view = load_view(
                work.cursor,
                self._system,
                invoices=_keys(names, "invoice"),
                customers=_keys(names, "customer"),
                conflicts=earlier,
            )
            for name in names:
                differing = found.get(name, [])
                fields = tuple(FieldDiffers(one.field, one.erp, one.arsync, one.amount) for one in differing)
                customer = next((one.customer for one in differing), None)
                event = DocumentCompared(name, fields, work.now, customer, position)
                take_event(work, view, event, self._policy)

    def _read_again(self, names: Sequence[str], by: str, patience: float) -> None:
        """Ask the daemon to read these documents' rows again, and wait until it has, or `patience` is over."""
        with unit_of_work(self._connection, self._system, self._clock(), self._versions, self._policy) as work:
            asked = chores.ask(work, ChoreKind.READ_AGAIN, list(names), by, "a reconcile found that it differs")
        until = time.monotonic() + patience
        while time.monotonic() < until:
            with self._connection.cursor() as cursor:
                if all(chore.state != "open" for chore in chores.by_id(cursor, asked)):
                    return
            time.sleep(_LOOK_SECONDS)


def _keys(names: Iterable[str], kind: str) -> list[str]:
    return [key for of, _, key in (name.partition("/") for name in names) if of == kind]
