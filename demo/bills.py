"""The invoices of the scripted day: who is billed what, and under which name the script speaks of it.

Data for `demo.day`; Tryton gives the ids and numbers. A customer whose payments must wait for one another is billed
all of them: arsync keeps the order of a customer's payments.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from demo.accountant import Bill, Item

BILLED = dt.date(2026, 10, 15)
PAID = dt.date(2026, 11, 20)
"""Between these two days the rate of the US dollar changes."""
OTHER_DAY = dt.date(2026, 11, 18)
NEW_DUE = dt.date(2027, 1, 15)
LONG_TERM = "Net 365"
"""Tryton asks about every due date that has passed, and the demo is played on any day: few of them may be near."""
TAX = Decimal("0.21")
CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Planned:
    """One invoice to be written; `net` in its currency."""

    customer: str
    net: Decimal
    currency: str = "EUR"
    term: str = LONG_TERM

    @property
    def total(self) -> Decimal:
        """What the customer will owe."""
        return self.net + (self.net * TAX).quantize(CENT, rounding=ROUND_HALF_EVEN)

    def bill(self, parties: Mapping[str, int], name: str) -> Bill:
        """As the accountant writes it; `parties` are Tryton's ids by customer."""
        items = (Item(f"Goods, {name}", self.net),)
        return Bill(parties[self.customer], items, BILLED, self.currency, self.term, f"PO-{name}")


def _planned(customer: str, net: str, currency: str = "EUR", term: str = LONG_TERM) -> Planned:
    return Planned(customer, Decimal(net), currency, term)


BEFORE: Mapping[str, Planned] = {
    "instalments": _planned("Havenstad Textiles", "640.00", term="Half in 20, rest in 40"),
    "full": _planned("Abbott Logistics", "100.00"),
    "first of three": _planned("Birkenau Foods", "200.00"),
    "second of three": _planned("Birkenau Foods", "300.00"),
    "third of three": _planned("Birkenau Foods", "50.05"),
    "in parts": _planned("Duinzicht Glass", "300.00"),
    "in dollars": _planned("Copper Hill Machines", "1000.00", "USD"),
    "bouncing": _planned("Escaut Energie", "150.00"),
    "paid early": _planned("Havenstad Textiles", "500.00"),
}
"""Written before arsync starts: it finds them in its first snapshot."""

AFTER: Mapping[str, Planned] = {
    "two parts": _planned("Fjordline Shipping", "400.00"),
    "rivals": _planned("Abbott Logistics", "250.00"),
    "due date": _planned("Birkenau Foods", "80.00"),
    "printed": _planned("Duinzicht Glass", "90.00"),
    "cancelled": _planned("Escaut Energie", "60.00"),
    "twice": _planned("Fjordline Shipping", "70.00"),
    "too much": _planned("Granite Retail", "20.00", "USD"),
    "held up": _planned("Havenstad Textiles", "110.00"),
    "cleared": _planned("Havenstad Textiles", "120.00"),
    "same receipt": _planned("Havenstad Textiles", "130.00"),
    "printed in line": _planned("Havenstad Textiles", "140.00"),
    "overtaken": _planned("Escaut Energie", "160.00"),
    "beaten": _planned("Birkenau Foods", "165.00"),
    "still fits": _planned("Fjordline Shipping", "170.00"),
    "printed on the way": _planned("Duinzicht Glass", "180.00"),
    "lost answer": _planned("Abbott Logistics", "190.00"),
    "withdrawn": _planned("Havenstad Textiles", "50.00"),
    "deducted": _planned("Abbott Logistics", "200.00"),
    "overpaid": _planned("Havenstad Textiles", "100.00"),
    "receiving": _planned("Havenstad Textiles", "110.00"),
    "disputed": _planned("Birkenau Foods", "120.00"),
    "claimed": _planned("Escaut Energie", "130.00"),
    "credited": _planned("Duinzicht Glass", "140.00"),
    "debited": _planned("Fjordline Shipping", "150.00"),
}
"""Written while arsync reads."""
