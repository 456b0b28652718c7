"""What a command under way has a hand on: the money that it takes off invoices, and the documents that it changes."""

from decimal import Decimal

import msgspec

from engine.model.commands import SetCreditLimit
from engine.model.records import CommandRecord, Match
from engine.rules.desk import Desk
from statemachines import InvoiceTrigger


def put_claims(desk: Desk, command: CommandRecord) -> None:
    """Note a command at everything that it will change. A rebased one keeps its place ahead of what came later."""
    for allocation in command.write.allocations:
        record = desk.invoice(allocation.invoice)
        if record is None:
            continue
        if not command.write.claims:
            changes = tuple(dict.fromkeys((*record.changes, command.key)))
            desk.put_invoice(msgspec.structs.replace(record, changes=changes))
        elif all(match.command != command.key for match in record.matches):
            matches = (*record.matches, Match(command.key, allocation.amount))
            desk.put_invoice(msgspec.structs.replace(record, matches=matches))
            desk.move_invoice(record.key, InvoiceTrigger.MATCH)
    customer = desk.customer(command.customer) if isinstance(command.write, SetCreditLimit) else None
    if customer is not None:
        changes = tuple(dict.fromkeys((*customer.changes, command.key)))
        desk.put_customer(msgspec.structs.replace(customer, changes=changes))


def end_claims(desk: Desk, command: CommandRecord, reason: str) -> None:
    """Take a command off everything that it had a hand on."""
    for allocation in command.write.allocations:
        end_match(desk, allocation.invoice, command.key, reason)
        record = desk.invoice(allocation.invoice)
        if record is not None and command.key in record.changes:
            changes = tuple(key for key in record.changes if key != command.key)
            desk.put_invoice(msgspec.structs.replace(record, changes=changes))
    customer = desk.customer(command.customer) if isinstance(command.write, SetCreditLimit) else None
    if customer is not None and command.key in customer.changes:
        left = tuple(key for key in customer.changes if key != command.key)
        desk.put_customer(msgspec.structs.replace(customer, changes=left))


def lower_match(desk: Desk, invoice: str, command: str, left: Decimal) -> None:
    """A part of a command's money has arrived: only the rest is still on its way."""
    record = desk.invoice(invoice)
    if record is not None:
        matches = tuple(Match(command, left) if m.command == command else m for m in record.matches)
        desk.put_invoice(msgspec.structs.replace(record, matches=matches))


def end_match(desk: Desk, invoice: str, command: str, reason: str) -> None:
    """Take one match off; the last one's end is a step of the invoice."""
    record = desk.invoice(invoice)
    if record is None or all(match.command != command for match in record.matches):
        return
    left = tuple(match for match in record.matches if match.command != command)
    desk.put_invoice(msgspec.structs.replace(record, matches=left))
    if not left:
        desk.move_invoice(record.key, InvoiceTrigger.MATCH_ENDED, reason)
