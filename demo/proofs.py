"""What Tryton's own books show of a decision that is no receipt, in a few words; `demo.ledger` compares the words.

`demo.evening` names one with each of its intents, `demo.closing` asks it. The key is that of the intent's command.
"""

from collections.abc import Callable
from decimal import Decimal

from demo.books import Books

Proof = Callable[[Books, str], str]
NOTHING = "nothing"


def memo(books: Books, key: str) -> str:
    """Totals and states of all invoices and credit notes that carry the key."""
    return " and ".join(f"{row['total_amount']} {row['state']}" for row in books.with_reference(key)) or NOTHING


def entry(books: Books, key: str) -> str:
    """What the posted entries with the key come to."""
    return " and ".join(str(amount) for amount in books.entries(key)) or NOTHING


def blocked(invoice: int) -> Proof:
    """Whether the open items of an invoice are blocked."""
    return lambda books, _: "blocked" if books.is_blocked(invoice) else "free"


def limit(party: int) -> Proof:
    """A customer's credit limit."""

    def shown(books: Books, _: str) -> str:
        found = {row["id"]: row["credit_limit_amount"] for row in books.customers()}
        return str(found.get(party))

    return shown


def order(number: int) -> Proof:
    """Whether an order has gone on."""
    return lambda books, _: "released" if books.order_state(number) not in ("draft", "quotation") else "held"


def applied(invoice: int, amount: Decimal) -> Proof:
    """How often an amount stands applied to an invoice."""
    return lambda books, _: f"{books.applied(invoice).count(amount)} of {amount}"
