"""What a store must hold once a workload was read to its end: every benchmark that times arsync asks it."""

from typing import Any, Self

import msgspec
import psycopg

from benchmarks.workload.stream import Workload


class Expected(msgspec.Struct, frozen=True):
    """How many invoices end in each state, and the sum of what is open."""

    states: dict[str, int]
    open_total: str

    @classmethod
    def of(cls, workload: Workload) -> Self:
        """After the transactions that were taken from it so far."""
        return cls(workload.states(), workload.open_total())

    def difference(self, dsn: str, system: str, below: int | None = None) -> str | None:
        """What is otherwise in the store, as a sentence; None when nothing is.

        Only invoices whose number is lower than `below` are looked at, where it is given. Drafts that were dropped
        and drafts that are left look the same to the workload, so invoices in `new` are not counted.
        """
        wanted = {state: number for state, number in self.states.items() if state != "new"}
        query = """SELECT state, count(*), sum(open_amount) FROM invoice
                   WHERE system = %s AND NOT deleted AND (%s::bigint IS NULL OR key::bigint < %s) GROUP BY state"""
        with psycopg.connect(dsn, autocommit=True) as store:
            rows: list[Any] = store.execute(query, (system, below, below)).fetchall()
        found = {state: number for state, number, _ in rows if state != "new"}
        total = sum((amount for _, _, amount in rows[1:]), rows[0][2]) if rows else None
        if found == wanted and str(total) == self.open_total:
            return None
        return f"the store holds {found}, open {total}; the workload ended with {wanted}, open {self.open_total}"
