"""From what an event names to every record that deciding on it can touch.

There is one walk, over whatever knows the records: the store, when something happens (`engine.flow.entering` and
`engine.flow.assembly`), and a state in memory, when it is decided on again (`engine.flow.replay.narrowing`). So both
decide on the same records. A record more than these changes no decision.
"""

from collections.abc import Iterable
from typing import Protocol

from engine.model.commands import is_command_key
from engine.model.documents import Invoice, LedgerEntry, Paper, SalesOrder
from engine.model.intents import SetCreditLimit, Withdraw
from engine.model.records import CommandRecord, ConflictRecord, CustomerRecord, IntentRecord, InvoiceRecord
from engine.rules.desk import View


class Known(Protocol):
    """Finds records. Each call gives those that exist, by their keys."""

    def invoices(self, keys: set[str]) -> dict[str, InvoiceRecord]:
        """Invoices by key."""

    def customers(self, keys: set[str]) -> dict[str, CustomerRecord]:
        """Customers by key."""

    def commands(self, keys: set[str]) -> dict[str, CommandRecord]:
        """The newest revision of commands by key."""

    def intents(self, ids: set[str]) -> dict[str, IntentRecord]:
        """Intents by id."""

    def conflicts(self, ids: set[str]) -> dict[str, ConflictRecord]:
        """Conflicts by id."""

    def conflicts_of(self, intents: set[str]) -> dict[str, ConflictRecord]:
        """Every conflict about one of these intents."""

    def open_conflicts_about(self, documents: set[str]) -> dict[str, ConflictRecord]:
        """Conflicts about one of these documents (`kind/key`) in which there is something to choose."""

    def numbered(self, names: set[str]) -> dict[str, tuple[str, ...]]:
        """By number, the keys of the invoices that have or had it."""


def reach(
    known: Known,
    *,
    invoices: Iterable[str] = (),
    customers: Iterable[str] = (),
    commands: Iterable[str] = (),
    intents: Iterable[str] = (),
    named: Iterable[str] = (),
    conflicts: Iterable[str] = (),
    about: Iterable[str] = (),
) -> View:
    """The records asked for, with everything that a decision on them can touch.

    `named` are invoices by key or number; `about` adds the open conflicts about documents (`kind/key`).
    """
    asked = known.conflicts(set(conflicts))
    asked.update(known.open_conflicts_about(set(about)))
    planned = known.commands({*commands, *(c.command for c in asked.values() if c.command)})
    ids = {*intents, *(c.intent for c in planned.values()), *(c.intent for c in asked.values() if c.intent)}
    wanted = known.intents(ids)
    withdrawn = {r.intent.intent for r in wanted.values() if isinstance(r.intent, Withdraw)} - set(wanted)
    wanted.update(known.intents(withdrawn))
    caused = {key for record in wanted.values() for key in record.commands}
    planned.update(known.commands(caused - set(planned)))
    names = {part.invoice for record in wanted.values() for part in record.intent.parts}.union(named)
    numbers = known.numbered(names)
    # A command may promise money to invoices that were not asked for, and show it on others.
    keys = {*invoices, *names, *(key for found in numbers.values() for key in found)}
    for command in planned.values():
        keys.update(command.echoed)
        keys.update(a.invoice for a in command.write.allocations)
    shown = (name for conflict in asked.values() for name in conflict.documents)
    keys.update(name.removeprefix("invoice/") for name in shown if "invoice/" in name)
    found = known.invoices(keys)
    # A dispute names the command that credits it also when that is over.
    others = {dispute.memo for record in found.values() for dispute in record.disputes if dispute.memo}
    others.update(key for record in found.values() for key in record.under_way)
    planned.update(known.commands(others - set(planned)))
    whose = {*customers, *(r.intent.customer for r in wanted.values() if isinstance(r.intent, SetCreditLimit))}
    return View(
        invoices=found,
        customers=known.customers(whose),
        intents=wanted,
        commands=planned,
        conflicts={**asked, **known.conflicts_of(set(wanted))},
        numbers=numbers,
    )


def commands_shown(
    told: Iterable[Invoice],
    invoices: Iterable[InvoiceRecord],
    customers: Iterable[CustomerRecord],
    papers: Iterable[Paper],
) -> set[str]:
    """Keys of the commands that what is `told` can be about: they stand in it, or in the records before it.

    Commands that let an order go on are found by the order, `orders_shown`.
    """
    invoices, told = list(invoices), list(told)
    texts = (a.text for doc in (*told, *(record.doc for record in invoices)) for a in doc.applications)
    keys = {text for text in texts if text is not None and is_command_key(text)}
    keys.update(doc.reference for doc in told if doc.reference is not None and is_command_key(doc.reference))
    keys.update(key for record in invoices for key in record.under_way)
    keys.update(dispute.memo for record in invoices for dispute in record.disputes if dispute.memo)
    keys.update(key for record in customers for key in record.changes)
    entries = (paper.text for paper in papers if isinstance(paper, LedgerEntry))
    keys.update(text for text in entries if text is not None and is_command_key(text))
    return keys


def orders_shown(papers: Iterable[Paper]) -> set[str]:
    """Keys and numbers of the orders that are told of."""
    orders = (paper for paper in papers if isinstance(paper, SalesOrder))
    return {name for order in orders for name in (order.key, order.number) if name is not None}


def with_numbers(view: View, told: Iterable[Invoice]) -> View:
    """The same view, in which invoices that an intent names by number are found by those that are told now."""
    named = {part.invoice for record in view.intents.values() for part in record.intent.parts}
    for doc in told:
        if doc.number is not None and doc.number in named:
            view.numbers[doc.number] = tuple(dict.fromkeys((*view.numbers.get(doc.number, ()), doc.key)))
    return view
