"""Whether what was measured has happened: every payment once, by Tryton's own books, and nothing else."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal

from benchmarks.writeback.bare import bare_key
from benchmarks.writeback.plan import Block, Receipt, Side
from benchmarks.writeback.synced import arsync_key
from demo.books import Books

CHUNK = 200

_KEYS: dict[Side, Callable[[Receipt], str]] = {Side.BARE: bare_key, Side.ARSYNC: arsync_key}


def differences(books: Books, blocks: Iterable[Block]) -> list[str]:
    """What Tryton's books say otherwise than it should be, a sentence each; empty when all is well.

    Each receipt of the blocks must stand under its key exactly once on each of its invoices, with its amount; these
    invoices must have nothing left to pay; and the bank must have received that much and no more.
    """
    made = list(blocks)
    promised: Counter[tuple[str, int, Decimal]] = Counter()
    for block in made:
        for receipt in block.receipts:
            key = _KEYS[block.side](receipt)
            promised.update((key, due.invoice, due.amount) for due in receipt.dues)
    said = [*_receipts(books, promised), *_left_open(books, {invoice for _, invoice, _ in promised})]
    total = sum((amount * count for (_, _, amount), count in promised.items()), Decimal(0))
    if (bank := books.bank_total()) != total:
        said.append(f"the bank has received {bank}, and {total} was paid")
    return said


def _receipts(books: Books, promised: Counter[tuple[str, int, Decimal]]) -> list[str]:
    keys = sorted({key for key, _, _ in promised})
    booked: Counter[tuple[str, int | None, Decimal]] = Counter()
    for part in _chunks(keys):
        booked.update((one.key, one.invoice, one.amount) for one in books.payments(part))
    said = [
        f"invoice {invoice}: {amount} under {key} stands {booked[key, invoice, amount]} times"
        for (key, invoice, amount), count in promised.items()
        if booked[key, invoice, amount] != count
    ]
    strange = [one for one in booked if one not in promised]
    return said + [f"invoice {invoice}: {amount} under {key} was never asked for" for key, invoice, amount in strange]


def _left_open(books: Books, paid: set[int]) -> list[str]:
    left = {row["id"]: row["amount_to_pay"] for row in books.invoices()}
    return [f"invoice {number} has {left.get(number)} to pay" for number in sorted(paid) if left.get(number) != 0]


def _chunks(keys: Sequence[str]) -> Iterable[Sequence[str]]:
    return (keys[start : start + CHUNK] for start in range(0, len(keys), CHUNK))
