"""What the demo prints at its end: tables of documents and intents, conflicts, and the one line that counts.

Called by `demo.verb` alone; it decides nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from demo.agreement import Pair
from demo.ledger import Difference, Entry, Line


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything that was compared, and all that differs."""

    invoices: Sequence[Pair]
    customers: Sequence[Pair]
    intents: Sequence[Line]
    conflicts: Sequence[Mapping[str, Any]]
    differences: Sequence[Difference]


def verdict(outcome: Outcome) -> str:
    """The last line."""
    word = "disagree" if outcome.differences else "agree"
    return (
        f"{word}: {len(outcome.invoices)} invoices, {len(outcome.customers)} customers, "
        f"{len(outcome.intents)} intents, {len(outcome.differences)} differences"
    )


def show(outcome: Outcome, console: Console) -> None:
    """Print all but the last line."""
    numbers = {pair.key: str(pair.erp["number"]) for pair in outcome.invoices if pair.erp is not None}
    console.print(_documents(outcome.invoices))
    console.print(_customers(outcome.customers))
    console.print(_ledger(outcome.intents, numbers))
    console.print("Conflicts, each as arsync explains it:")
    for conflict in outcome.conflicts:
        choice = conflict.get("choice") or conflict["state"]
        console.print(f"  {conflict['kind']} ({choice}): {conflict['sentence']}", soft_wrap=True, markup=False)
    if outcome.differences:
        console.print("Differences:")
    for difference in outcome.differences:
        console.print(f"  {difference}", soft_wrap=True, markup=False)


def _documents(pairs: Sequence[Pair]) -> Table:
    table = Table("Invoice", "Tryton", title="Invoices", title_justify="left")
    for name in ("open", "open in arsync"):
        table.add_column(name, justify="right")
    for name in ("arsync", "life", "agree"):
        table.add_column(name)
    for pair in pairs:
        erp, engine = pair.erp or {}, pair.engine or {}
        row = (
            erp.get("number") or pair.key,
            erp.get("state"),
            _money(erp.get("amount_to_pay"), erp.get("currency")),
            _money(engine.get("open_amount"), engine.get("currency")),
            engine.get("erp_state"),
            engine.get("state"),
            _agree(pair.differences),
        )
        table.add_row(*(str(cell) if cell is not None else "-" for cell in row))
    return table


def _customers(pairs: Sequence[Pair]) -> Table:
    table = Table("Customer", title="Customers", title_justify="left")
    for name in ("owes", "owes in arsync", "limit", "limit in arsync"):
        table.add_column(name, justify="right")
    table.add_column("agree")
    for pair in pairs:
        erp, engine = pair.erp or {}, pair.engine or {}
        limits = (erp.get("credit_limit_amount"), engine.get("credit_limit"))
        row = (
            str(erp.get("name") or pair.key),
            _money(erp.get("receivable"), ""),
            _money(engine.get("receivable"), ""),
            *("none" if limit is None else _money(limit, "") for limit in limits),
            _agree(pair.differences),
        )
        table.add_row(*row)
    return table


def _ledger(lines: Sequence[Line], numbers: Mapping[str, str]) -> Table:
    table = Table("Intent", "Story", "Expected", "Found", "agree", title="Intents", title_justify="left")
    for line in lines:
        entry = line.entry
        expected = _what(entry.effects, entry.shows, entry.conflicts, numbers)
        found = _what(line.effects, line.shown, line.conflicts, numbers)
        state = "" if line.state == entry.state else f"{line.state}: "
        table.add_row(_short(entry), entry.story, expected, state + found, _agree(line.differences))
    return table


def _what(
    effects: Sequence[tuple[Any, Any]], shown: str, conflicts: Sequence[str], numbers: Mapping[str, str]
) -> str:
    places = [(amount, "account" if i is None else numbers.get(str(i), i)) for i, amount in effects]
    parts = [f"{amount} on {place}" for amount, place in places]
    return "; ".join([*parts, *([shown] if shown else []), *conflicts]) or "nothing"


def _short(entry: Entry) -> str:
    return entry.intent.split("-", 1)[-1]


def _money(amount: object, currency: object) -> str:
    return "-" if amount is None else f"{amount} {currency}".strip()


def _agree(differences: Sequence[Difference]) -> str:
    return "NO" if differences else "yes"
