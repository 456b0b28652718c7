"""The comparison at the end of the day: waits until nothing changes any more, then says what differs.

Called by `demo.verb`. What happened to the money is asked of Tryton; arsync is asked for what it shows, never for
what is in its tables.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from demo.agreement import compare_customers, compare_invoices
from demo.analyst import changes
from demo.books import Books, Receipt
from demo.day import Day
from demo.ledger import Difference
from demo.report import Outcome
from engine.model.commands import command_key

LISTS = {
    "invoices": (),
    "customers": (),
    "intents": (),
    "conflicts": ("--state", "all", "--limit", "0"),
}


def compare(books: Books, day: Day) -> Outcome:
    """Look at both sides again and again, until they agree or have stood still for long enough."""
    day.tally.expect(day.analyst.ledger.entries)
    for found in changes(lambda: _look(books, day), day.analyst.patience):
        day.engine.check()
        if not found.differences:
            break
    return found


def _look(books: Books, day: Day) -> Outcome:
    ledger = day.analyst.ledger
    with ThreadPoolExecutor(len(LISTS)) as pool:
        asked = {name: pool.submit(day.engine.ask, name, "list", *words) for name, words in LISTS.items()}
        listed = {name: answer.result() for name, answer in asked.items()}
    invoices = books.invoices()
    documents = compare_invoices(invoices, books.instalments(), listed["invoices"])
    parties = compare_customers(books.customers(), listed["customers"], books.own_party)
    totals = day.tally.compare(invoices, books.bank_total(), books.receivable_total())
    system = day.analyst.system
    receipts = _receipts(books, system, [entry.intent for entry in ledger.entries])
    shown = {
        e.intent: e.proof(books, command_key(system, e.intent, 0)) for e in ledger.entries if e.proof is not None
    }
    lines, wrong = ledger.compare(receipts, listed["intents"], listed["conflicts"], shown)
    apart = [difference for pair in (*documents, *parties) for difference in pair.differences]
    missed = [Difference("the day", what, "there", "never seen by the proxy") for what in day.stage.missed()]
    return Outcome(documents, parties, lines, listed["conflicts"], [*wrong, *totals, *apart, *missed])


def _receipts(books: Books, system: str, intents: list[str]) -> dict[str, list[Receipt]]:
    """Tryton's receipts by intent: each intent of the day is written by one command, its first."""
    keys: dict[str, Any] = {command_key(system, intent, 0): intent for intent in intents}
    found: dict[str, list[Receipt]] = {}
    for receipt in books.payments(keys):
        found.setdefault(keys[receipt.key], []).append(receipt)
    return found
