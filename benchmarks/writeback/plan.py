"""What is paid, by whom and in which order: pure, so that both sides of the comparison do the same.

`run` carries it out. A block is a run of equal payments by one side in one way; blocks of both sides alternate, and
which side begins changes from round to round, so that a machine or a Tryton that becomes slower slows both.
"""

from collections.abc import Iterator
from decimal import Decimal
from enum import StrEnum

import msgspec


class Side(StrEnum):
    """Who pays."""

    BARE = "bare"
    ARSYNC = "arsync"


class Way(StrEnum):
    """How Tryton takes the money: the pay wizard for one invoice, a bank statement for several."""

    WIZARD = "wizard"
    STATEMENT = "statement"


class Size(msgspec.Struct, frozen=True):
    """How much is measured.

    Each side pays `intents` invoices one by one, and books `receipts` receipts over `lines` invoices each, in
    `rounds` rounds.
    """

    intents: int
    receipts: int
    lines: int
    rounds: int


class Due(msgspec.Struct, frozen=True):
    """An open invoice in Tryton: its id, its customer's, and what it comes to."""

    invoice: int
    customer: int
    amount: Decimal


class Receipt(msgspec.Struct, frozen=True):
    """Money of one customer that pays these invoices in full. `name` is the intent's id."""

    name: str
    dues: tuple[Due, ...]

    @property
    def amount(self) -> Decimal:
        return sum((due.amount for due in self.dues), Decimal(0))


class Block(msgspec.Struct, frozen=True):
    """Receipts that one side books in one go."""

    side: Side
    way: Way
    receipts: tuple[Receipt, ...]

    @property
    def payments(self) -> int:
        """Invoices paid."""
        return sum(len(receipt.dues) for receipt in self.receipts)


def shares(total: int, parts: int) -> list[int]:
    """`total` in nearly equal parts, none of them empty; fewer parts where there is not enough."""
    parts = min(parts, total)
    return [total // parts + (place < total % parts) for place in range(parts)] if parts else []


def shapes(size: Size) -> Iterator[tuple[Side, Way, int, int]]:
    """Every block in its order: who, how, how many receipts, and over how many invoices each."""
    wizard, statement = shares(size.intents, size.rounds), shares(size.receipts, size.rounds)
    for number in range(size.rounds):
        sides = (Side.BARE, Side.ARSYNC) if number % 2 == 0 else (Side.ARSYNC, Side.BARE)
        for way, counts, lines in ((Way.WIZARD, wizard, 1), (Way.STATEMENT, statement, size.lines)):
            if number < len(counts):
                yield from ((side, way, counts[number], lines) for side in sides)


def customers(size: Size, parties: list[int]) -> Iterator[int]:
    """Whom each invoice is for, in the order in which the invoices are made and `blocks` takes them."""
    for _, _, count, lines in shapes(size):
        for place in range(count):
            yield from [parties[place % len(parties)]] * lines


def blocks(size: Size, dues: list[Due]) -> list[Block]:
    """The blocks over these invoices, made for the customers that `customers` named."""
    left = iter(dues)
    made = []
    for place, (side, way, count, lines) in enumerate(shapes(size)):
        names = [f"{side}-{place}-{number}" for number in range(count)]
        receipts = tuple(Receipt(name, tuple(next(left) for _ in range(lines))) for name in names)
        made.append(Block(side, way, receipts))
    return made
