"""The records that a pipeline remembers between its batches, for as long as nobody else has written any.

Every unit of work of a system takes the next batch number under the head lock. When a pipeline's number follows the
one of its own last unit, no other unit was committed between them, and what it remembers is what the store holds.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar

from psycopg import Cursor

from engine.model.canonical import short_digest
from engine.model.records import CustomerRecord, InvoiceRecord
from engine.rules.desk import Decision, View
from engine.store import records
from engine.store.personal import load_personal, save_personal

MOST_RECORDS = 5_000
"""Records of a kind that are remembered as recent; about as many older ones beside them. A record of an invoice takes
about five kilobytes of memory."""

T = TypeVar("T")


class Recent(Generic[T]):
    """Values by key, of which those that nobody has asked for lately are dropped: bounded, however many come by.

    They stand in two halves. When the younger one is full it becomes the older one, and what was the older one is
    dropped; what is asked for in the older one moves to the younger. Nothing is dropped but by `age`.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._young: dict[str, T] = {}
        self._old: dict[str, T] = {}

    def __contains__(self, key: str) -> bool:
        if key in self._young:
            return True
        if key not in self._old:
            return False
        self._young[key] = self._old.pop(key)
        return True

    def __getitem__(self, key: str) -> T:
        if key in self:
            return self._young[key]
        raise KeyError(key)

    def __setitem__(self, key: str, value: T) -> None:
        self._old.pop(key, None)
        self._young[key] = value

    def get(self, key: str) -> T | None:
        """The value, or None where there is none."""
        return self._young[key] if key in self else None

    def update(self, values: Mapping[str, T]) -> None:
        """Set many."""
        if self._old:
            for key in values:
                self._old.pop(key, None)
        self._young.update(values)

    def age(self) -> None:
        """Between two batches: drop the older half when the younger one is full."""
        if len(self._young) > self._most:
            self._old, self._young = self._young, {}


class Recall:
    """Invoices, customers and personal data of one system by key. None stands for what the store does not have."""

    def __init__(self, system: str, most: int = MOST_RECORDS) -> None:
        self._system = system
        self._most = most
        self._batch = -1
        self.forget()

    def forget(self) -> None:
        """Remember nothing."""
        self._invoices: Recent[InvoiceRecord | None] = Recent(self._most)
        self._customers: Recent[CustomerRecord | None] = Recent(self._most)
        self._personal: Recent[tuple[int, Any]] = Recent(self._most)
        self._told: dict[str, None] = {}
        self._some_wait: bool | None = None
        self._some_disagree: bool | None = None

    def begin(self, batch: int) -> None:
        """A unit of work has begun with this batch number."""
        if batch != self._batch + 1:
            self.forget()
        self._batch = batch
        for held in (self._invoices, self._customers, self._personal):
            held.age()

    def learn(self, cursor: Cursor[Any], invoices: Iterable[str], customers: Iterable[str]) -> None:
        """Have these records at hand, with the personal data of the customers."""
        new = [key for key in invoices if key not in self._invoices]
        if new:
            found = records.load_invoices(cursor, self._system, new, lock=False)
            self._invoices.update({key: found.get(key) for key in new})
        customers = list(customers)
        new = [key for key in customers if key not in self._customers]
        if new:
            whose = records.load_customers(cursor, self._system, new)
            self._customers.update({key: whose.get(key) for key in new})
        new = [key for key in customers if key not in self._personal]
        if new:
            self._personal.update(dict.fromkeys(new, (0, None)))
            self._personal.update(load_personal(cursor, self._system, new))

    def waiting(self, cursor: Cursor[Any], names: Iterable[str], customers: Iterable[str]) -> set[str]:
        """Ids of the intents that wait for an invoice of these keys or numbers, or for one of these customers."""
        if self._some_wait is None:
            self._some_wait = records.some_wait(cursor, self._system)
        return records.waiting_for(cursor, self._system, names, customers) if self._some_wait else set()

    def some_disagree(self, cursor: Cursor[Any]) -> bool:
        """Whether there is any conflict about which something can still be chosen."""
        if self._some_disagree is None:
            self._some_disagree = records.some_disagree(cursor, self._system)
        return self._some_disagree

    def view(self, invoices: Iterable[str], customers: Iterable[str]) -> View:
        """These records, as far as they exist."""
        return View(
            invoices={key: invoice for key in invoices if (invoice := self._invoices.get(key)) is not None},
            customers={key: customer for key in customers if (customer := self._customers.get(key)) is not None},
        )

    def absorb(self, decision: Decision) -> None:
        """Remember what was decided."""
        self._invoices.update(decision.invoices)
        self._customers.update(decision.customers)
        if decision.intents:
            self._some_wait = None
        if decision.conflicts:
            self._some_disagree = None

    def number_personal(self, key: str, data: dict[str, Any]) -> int:
        """The number of a customer's personal data, which rises with every change of them.

        What was erased is not stored again as long as the ERP says nothing else.
        """
        number, held = self._personal[key]
        erased = held.get("erased") if isinstance(held, dict) else None
        if held != data and (erased is None or erased != short_digest(data)):
            number += 1
            self._personal[key] = (number, data)
            self._told[key] = None
        return number

    def save(self, cursor: Cursor[Any]) -> None:
        """Write the personal data that were told anew, beside the journal."""
        if self._told:
            save_personal(cursor, self._system, [(key, *self._personal[key]) for key in self._told])
            self._told.clear()
