"""Says which versions of an invoice are not stale: those from which it differs only by what our own commands did.

`invoices` asks for each invoice told. A basis that names one of them is as good as the present version: what the AR
side asked for itself does not surprise it.
"""

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal

import msgspec

from engine.model.commands import ApplyReceipt, IssueMemo, ReverseApplication, SetBlock
from engine.model.documents import Application, Invoice, Phase
from engine.model.records import InvoiceRecord
from engine.rules.desk import Desk
from engine.rules.echoes import Shift
from engine.rules.under_way import NOT_SENT
from statemachines import CommandState

_MOST = 16
_CLEARED = (Phase.CLEARED, Phase.FINAL)
_STANDING = (Phase.OPEN, *_CLEARED)
_UNDER_WAY = (CommandState.SENT, CommandState.UNKNOWN, CommandState.ACCEPTED, CommandState.PART_DONE)
_ZERO = Decimal(0)


class _Ours(msgspec.Struct):
    """What our commands did to an invoice at once: money put on it, taken off it again, credited; its block."""

    blocked: bool
    paid: Decimal = _ZERO
    returned: Decimal = _ZERO
    credited: Decimal = _ZERO
    any: bool = False
    as_promised: bool = True

    @property
    def money(self) -> bool:
        return bool(self.paid or self.returned or self.credited)


def ancestors(
    desk: Desk, old: InvoiceRecord, doc: Invoice, version: str, moved: list[Shift], memos: Mapping[str, str | None]
) -> tuple[str, ...]:
    """The ancestors of an invoice that is `doc` now. `memos`: numbers of the documents told with it, by reference."""
    if version == old.version:
        return old.ancestors
    ours = _Ours(blocked=old.doc.blocked)
    reversed_lines = _reversals(desk, old.doc, doc, moved)
    ours.returned = sum((line.amount for line in reversed_lines), _ZERO)
    passed_on = _passed_on(desk, doc, moved)
    for shift in moved:
        if shift.command not in passed_on:
            _add_shift(desk, shift, reversed_lines, ours)
    for key in old.changes:
        command = desk.command(key)
        if command is None or command.state in NOT_SENT:
            continue  # if it was sent before, it was refused or proven absent: somebody else made the difference
        if command.sends and isinstance(command.write, IssueMemo):
            _add_memo(desk, key, command.write, old.doc, doc, memos, ours)
    _add_own_clearing(desk, old.doc, doc, ours)
    return (old.version, *old.ancestors)[:_MOST] if _explains(ours, old.doc, doc) else ()


def _add_own_clearing(desk: Desk, old: Invoice, new: Invoice, ours: _Ours) -> None:
    """A memo that a command of ours has made, and that the same command is to clear, is cleared."""
    command = desk.view.commands.get(old.reference or "")
    if command is None or not isinstance(command.write, IssueMemo) or not command.write.clears:
        return
    if command.state in _UNDER_WAY and old.phase is Phase.OPEN and new.phase in _CLEARED:
        ours.credited, ours.any = old.balance, True


def _reversals(desk: Desk, old: Invoice, new: Invoice, moved: list[Shift]) -> list[Application]:
    """The applications that our commands took off."""
    writes = [command.write for shift in moved if shift.by > 0 and (command := desk.command(shift.command))]
    items = {write.item for write in writes if isinstance(write, ReverseApplication)}
    left = {line.item for line in new.applications}
    return [line for line in old.applications if line.item in items - left]


def _passed_on(desk: Desk, doc: Invoice, moved: list[Shift]) -> set[str | None]:
    """Receipts of ours of which another command of ours applies what had stayed on account: counted once."""
    if desk.rules == 1:
        return set()
    writes = [command.write for shift in moved if shift.by > 0 and (command := desk.command(shift.command))]
    named = {write.receipt for write in writes if isinstance(write, ApplyReceipt)}
    return {one.text for one in doc.applications if one.text in named or one.item in named}


def _add_shift(desk: Desk, shift: Shift, reversed_lines: list[Application], ours: _Ours) -> None:
    command = desk.command(shift.command)
    write = command.write if command else None
    ours.any = True
    if write is not None and write.claims:
        taken = sum((line.amount for line in reversed_lines if line.text == shift.command), _ZERO)
        ours.paid += shift.by + taken
        ours.as_promised &= shift.as_promised or shift.by + taken == 0
        return
    ours.as_promised &= shift.as_promised
    if isinstance(write, SetBlock) and shift.by > 0:
        ours.blocked = write.blocked


def _add_memo(
    desk: Desk, key: str, write: IssueMemo, old: Invoice, new: Invoice, memos: Mapping[str, str | None], ours: _Ours
) -> None:
    """A memo of ours may have cleared the invoice and freed its items."""
    if write.lift_block and old.blocked and not new.blocked:
        ours.blocked, ours.any = False, True
    if not (write.clears and old.phase is Phase.OPEN and new.phase in _CLEARED):
        return
    known = {line.item for line in old.applications}
    added = [line for line in new.applications if line.item not in known]
    echoed = command.echoed if (command := desk.command(key)) else {}
    records = [desk.invoice(name) for name in echoed if name not in write.promise]
    numbers = {memos.get(key), *(record.doc.number for record in records if record is not None)}
    if all(line.text in numbers for line in added):
        ours.credited, ours.any = write.amount, True


def _explains(ours: _Ours, old: Invoice, new: Invoice) -> bool:
    """Whether that and nothing else became of the facts that a decision rests on."""
    names = ("company", "type", "customer", "currency", "total_amount", "invoice_date")
    same = all(getattr(old, name) == getattr(new, name) for name in names)
    if not (ours.any and ours.as_promised and same and new.blocked == ours.blocked):
        return False
    if not {old.phase, new.phase} <= set(_STANDING) or (old.phase is not new.phase and not ours.money):
        return False
    balance = old.balance - ours.paid - ours.credited + ours.returned
    return new.balance == balance and (bool(ours.returned) or _only_less_due(old, new))


def _only_less_due(old: Invoice, new: Invoice) -> bool:
    """A payment takes off the open items and moves none of them."""
    left: dict[dt.date | None, Decimal] = {}
    for items, sign in ((old.due, old.direction), (new.due, -new.direction)):
        for day, amount in items:
            left[day] = left.get(day, _ZERO) + sign * amount
    return all(amount >= 0 for amount in left.values())
