"""What our other commands about an invoice may still come to, or have come to: asked before anything is planned.

What is only on its way may arrive or not, and what looks alike in the ERP cannot be told apart there; so a decision
holds whichever of them arrives.
"""

from decimal import Decimal

from engine.model import intents as asked
from engine.model.canonical import money
from engine.model.commands import ApplyReceipt, IssueMemo, Memo, PostPayment, SetBlock
from engine.model.records import CommandRecord, InvoiceRecord
from engine.rules.desk import Desk
from statemachines import CommandState

_NOTHING = money(Decimal(0))
_IN_FLIGHT = (
    CommandState.SENT,
    CommandState.UNKNOWN,
    CommandState.ACCEPTED,
    CommandState.PART_DONE,
    CommandState.OVERDUE,
)
"""States in which the ERP may have done something that it has not told yet."""

NOT_SENT = (CommandState.PENDING, CommandState.STALE)
"""States in which a command is decided again before it leaves."""

ENDED = (CommandState.SUPERSEDED, CommandState.WITHDRAWN, CommandState.REJECTED)
"""States in which nothing more comes of a command, and nothing has."""


def commands_under_way(desk: Desk, record: InvoiceRecord, *, besides: str | None) -> list[CommandRecord]:
    """The commands that have a hand on an invoice, in the order in which they were decided, without one of them."""
    found = [command for key in record.under_way if key != besides and (command := desk.command(key)) is not None]
    return sorted(found, key=lambda command: command.place)


def commands_in_flight(desk: Desk, record: InvoiceRecord, *, besides: str | None) -> list[CommandRecord]:
    """Those of them that may have reached the ERP. What only waits to be sent is decided again before."""
    return [one for one in commands_under_way(desk, record, besides=besides) if one.state in _IN_FLIGHT]


def may_be_blocked(desk: Desk, record: InvoiceRecord, command: str | None) -> set[bool]:
    """Whether the invoice's open items are held back, whichever of our other commands on their way arrive."""
    flying = [one.write for one in commands_in_flight(desk, record, besides=command)] if desk.rules > 1 else []
    led_to = [write.blocked for write in flying if isinstance(write, SetBlock)]
    led_to += [False for write in flying if isinstance(write, IssueMemo) and write.lift_block]
    return {record.doc.blocked, *led_to}


def credited_before(desk: Desk, record: InvoiceRecord, command: str | None) -> Decimal:
    """What our credit memos have come to so far, with those under way that were decided before or have left."""
    if desk.rules == 1:
        return _NOTHING
    mine = desk.command(command)
    before = [
        max(other.write.amount - _memo_shown(other), _NOTHING)
        for other in commands_under_way(desk, record, besides=command)
        if isinstance(other.write, IssueMemo) and other.write.memo is Memo.CREDIT
        if mine is None or other.place < mine.place or other.state not in NOT_SENT
    ]
    return sum(before, record.credit - (_memo_shown(mine) if mine is not None else _NOTHING))


def _memo_shown(command: CommandRecord) -> Decimal:
    """What of a memo stands in the ERP."""
    return sum((amount for key, amount in command.echoed.items() if key not in command.write.promise), _NOTHING)


def earlier_items(desk: Desk, receipt: str, record: InvoiceRecord) -> tuple[str, ...]:
    """The items by the name of a receipt that stand applied to the invoice already."""
    lines = record.doc.applications if desk.rules > 1 else ()
    return tuple(one.item for one in lines if receipt in (one.text, one.item))


def mixed_up(desk: Desk, intent: asked.ApplyReceipt, record: InvoiceRecord, command: str | None) -> str | None:
    """The key of a command under way that applies as much to this invoice, if what it applies cannot be told from
    the receipt by its name: it is by name and amount that either is known again. One under way itself came first."""
    if command in record.under_way or desk.rules == 1:
        return None
    for other in commands_under_way(desk, record, besides=None):
        named = other.write.receipt if isinstance(other.write, ApplyReceipt) else other.key
        if not isinstance(other.write, ApplyReceipt | PostPayment):
            continue
        apart = named != intent.receipt and named.isdecimal() == intent.receipt.isdecimal()
        if other.promised(record.key) == intent.amount and not apart:
            return other.key
    return None
