"""Leads disputes through their life, and the invoice with them. A dispute is known by the intent that raised it."""

from decimal import Decimal

import msgspec

from engine.model.canonical import money
from engine.model.commands import IssueMemo as MemoWrite
from engine.model.commands import Memo
from engine.model.intents import Intent, IssueMemo, RaiseDispute, RejectDispute
from engine.model.records import CommandRecord, Dispute, IntentRecord
from engine.rules.desk import Desk
from engine.rules.under_way import ENDED
from statemachines import DisputeState, DisputeTrigger, InvoiceState, InvoiceTrigger


def begin_dispute_step(desk: Desk, intent: Intent, invoices: tuple[str, ...], command: str) -> None:
    """What an intent that can be carried out means for a dispute. `command` is the key of its write, if any."""
    if not invoices:
        return
    invoice = invoices[0]
    if isinstance(intent, RaiseDispute):
        _raise(desk, intent, invoice)
    elif isinstance(intent, RejectDispute):
        desk.move_dispute(invoice, intent.dispute, DisputeTrigger.REJECT, intent.reason_code)
        _end(desk, invoice, intent.dispute)
    elif isinstance(intent, IssueMemo) and intent.dispute is not None:
        record = desk.invoice(invoice)
        known = record.dispute(intent.dispute) if record else None
        if record is not None and known is not None and known.state == DisputeState.APPROVED:
            # Its first credit memo came to nothing.
            again = msgspec.structs.replace(known, memo=command)
            disputes = tuple(again if one.id == known.id else one for one in record.disputes)
            desk.put_invoice(msgspec.structs.replace(record, disputes=disputes))
        else:
            desk.move_dispute(invoice, intent.dispute, DisputeTrigger.APPROVE, intent.reason_code, memo=command)


def end_credited(desk: Desk, command: CommandRecord) -> None:
    """The ERP shows a memo: the dispute that it was to settle is over."""
    if not isinstance(command.write, MemoWrite):
        return
    for allocation in command.write.allocations:
        record = desk.invoice(allocation.invoice)
        for dispute in record.disputes if record else ():
            if dispute.memo == command.key and dispute.alive:
                desk.move_dispute(allocation.invoice, dispute.id, DisputeTrigger.CREDIT)
                _end(desk, allocation.invoice, dispute.id)


def add_credit(desk: Desk, command: CommandRecord, amount: Decimal) -> None:
    """So much more of a memo of ours stands in the ERP now, or (negative) is gone again."""
    if not isinstance(command.write, MemoWrite) or command.write.memo is not Memo.CREDIT or desk.rules == 1:
        return
    for allocation in command.write.allocations:
        record = desk.invoice(allocation.invoice)
        if record is not None:
            desk.put_invoice(msgspec.structs.replace(record, credited=money(record.credit + amount)))


def drop_dispute(desk: Desk, intent: IntentRecord, reason: str) -> None:
    """The dispute that an intent has raised is none any more, unless a memo is on its way to settle it."""
    for invoice in intent.invoices if isinstance(intent.intent, RaiseDispute) else ():
        record = desk.invoice(invoice)
        known = record.dispute(intent.id) if record else None
        memo = desk.command(known.memo) if known is not None else None
        if known is None or not known.alive or (memo is not None and memo.state not in ENDED):
            continue
        if desk.move_dispute(invoice, intent.id, DisputeTrigger.REJECT, reason):
            _end(desk, invoice, intent.id)


def _raise(desk: Desk, intent: RaiseDispute, invoice: str) -> None:
    record = desk.invoice(invoice)
    if record is None:
        return
    raised = Dispute(intent.id, str(DisputeState.RAISED), money(intent.amount), intent.reason_code, holds=intent.hold)
    desk.put_invoice(msgspec.structs.replace(record, disputes=(*record.disputes, raised)))
    desk.move_invoice(record.key, InvoiceTrigger.DISPUTE, intent.reason_code)


def _end(desk: Desk, invoice: str, dispute: str) -> None:
    """Nothing is left to do about a dispute; the last one's end is a step of the invoice."""
    desk.move_dispute(invoice, dispute, DisputeTrigger.CLOSE)
    record = desk.invoice(invoice)
    if record is None:
        return
    # One that is cleared meanwhile stays so, also while money that comes too late is still on its way to it.
    back = record.matches and record.state == InvoiceState.DISPUTED
    trigger = InvoiceTrigger.RESOLVE_MATCHED if back else InvoiceTrigger.RESOLVE
    if record.disputed:
        trigger = InvoiceTrigger.DISPUTE_ENDED
    desk.move_invoice(record.key, trigger, f"dispute {dispute} ended")
