"""Decides on what the ERP tells: leads each invoice through its life, recognises our own echoes, and looks again at
what was about to be written.

An echo is recognised by what it says, key and promise, never by who wrote it.
"""

import datetime as dt
from decimal import Decimal

import msgspec

from engine.model.documents import Application, Invoice, Phase
from engine.model.events import DocumentsTold, Echoed, Told
from engine.model.records import CommandRecord, ConflictKind, CustomerRecord, InvoiceRecord
from engine.rules.commands import confirm
from engine.rules.conflicts import Problem, raise_conflict
from engine.rules.desk import Desk
from engine.rules.intents import decide_intent, end_match, recheck_command
from statemachines import CommandState, IntentState, InvoiceState, InvoiceTrigger

_MOST_ANCESTORS = 16
_CLEARED = (Phase.CLEARED, Phase.FINAL)


def take_documents(desk: Desk, told: DocumentsTold) -> None:
    """Apply one ERP transaction to all the documents that it touched, as one decision."""
    for customer in told.customers:
        _take_customer(desk, customer)
    changed = [_take_invoice(desk, invoice, told.at) for invoice in told.invoices]
    for key in dict.fromkeys(key for keys in changed for key in keys):
        confirm(desk, key, told.at)
    for invoice in told.invoices:
        _look_again(desk, invoice.key, told.at)
    _wake_waiting(desk, told)


def _take_customer(desk: Desk, told: Told) -> None:
    old = desk.view.customers.get(told.key)
    if told.document is None:
        if old is not None:
            desk.out.customers[told.key] = msgspec.structs.replace(old, deleted=True)
        return
    if isinstance(told.document, Invoice):
        return
    version = told.document.content_version()
    desk.out.customers[told.key] = CustomerRecord(doc=told.document, version=version, guard=told.guard)


def _take_invoice(desk: Desk, told: Told, at: dt.datetime) -> list[str]:
    """Take an invoice's new facts; returns the keys of commands of which an echo was seen."""
    old = desk.invoice(told.key)
    doc = told.document
    if doc is None:
        if old is not None and not old.deleted:
            desk.put_invoice(msgspec.structs.replace(old, deleted=True))
            if old.state != InvoiceState.NEW:
                desk.move_invoice(told.key, InvoiceTrigger.ERP_VOIDED, "deleted in the ERP", clearing="void")
        return []
    if not isinstance(doc, Invoice):
        return []
    version = doc.content_version()
    echoes = _new_echoes(desk, old.doc if old else None, doc)
    record = InvoiceRecord(doc=doc, version=version, guard=told.guard)
    if old is not None:
        record = msgspec.structs.replace(
            old,
            doc=doc,
            version=version,
            guard=told.guard,
            deleted=False,
            ancestors=_ancestors(old, doc, version, echoes),
        )
    desk.put_invoice(record)
    _lead(desk, old, record)
    if old is not None:
        _notice_reversal(desk, old.doc, doc, record, at)
    return [command.key for command in _book_echoes(desk, doc, echoes, at)]


def _lead(desk: Desk, old: InvoiceRecord | None, record: InvoiceRecord) -> None:
    """Fire the triggers that lead from the old facts to the new, in the order of the machine's table."""
    doc, key = record.doc, record.key
    before = old.doc.phase if old and record.state != InvoiceState.NEW else None
    if record.state == InvoiceState.NEW:
        if doc.phase is Phase.DRAFT:
            return
        desk.move_invoice(key, InvoiceTrigger.ERP_OPENED)
    elif old is not None:
        if _facts_changed(old.doc, doc):
            desk.move_invoice(key, InvoiceTrigger.ERP_CHANGED)
        if doc.phase is Phase.OPEN and before is Phase.OPEN and doc.balance < old.doc.balance:
            desk.move_invoice(key, InvoiceTrigger.ERP_REDUCED)
    was_cleared = record.state in (InvoiceState.CLEARED, InvoiceState.POSTED)
    if doc.phase in _CLEARED and (not was_cleared or before not in _CLEARED):
        if was_cleared:
            _reopen(desk, record)
        desk.move_invoice(key, InvoiceTrigger.ERP_CLEARED, clearing="applied")
    if doc.phase is Phase.FINAL and _state(desk, key) == InvoiceState.CLEARED:
        desk.move_invoice(key, InvoiceTrigger.ERP_POSTED)
    if doc.phase is Phase.OPEN and was_cleared:
        _reopen(desk, record)
    if doc.phase is Phase.VOID and before is not Phase.VOID:
        desk.move_invoice(key, InvoiceTrigger.ERP_VOIDED, clearing="void")


def _state(desk: Desk, key: str) -> str | None:
    record = desk.invoice(key)
    return record.state if record else None


def _reopen(desk: Desk, record: InvoiceRecord) -> None:
    trigger = InvoiceTrigger.ERP_REOPENED
    if record.disputes:
        trigger = InvoiceTrigger.ERP_REOPENED_DISPUTED
    elif record.matches:
        trigger = InvoiceTrigger.ERP_REOPENED_MATCHED
    desk.move_invoice(record.key, trigger, clearing=None)


def _facts_changed(old: Invoice, new: Invoice) -> bool:
    """Amount, due date, terms or text changed; what clearing does to the open items is not meant."""
    same = (
        old.total_amount == new.total_amount
        and old.currency == new.currency
        and old.customer == new.customer
        and old.number == new.number
        and old.reference == new.reference
        and old.terms == new.terms
        and old.invoice_date == new.invoice_date
        and old.blocked == new.blocked
    )
    both_open = old.phase is Phase.OPEN and new.phase is Phase.OPEN
    days = [{day for day, _ in doc.due} for doc in (old, new)]
    grown = both_open and new.balance > old.balance
    return not same or grown or (both_open and bool(days[1] - days[0]))


def _keyed(doc: Invoice | None) -> dict[str, Application]:
    return {a.item: a for a in doc.applications} if doc else {}


def _new_echoes(desk: Desk, old: Invoice | None, new: Invoice) -> list[tuple[CommandRecord, Decimal]]:
    """Applications that were not there before and carry the key of one of our commands."""
    known = _keyed(old)
    found = []
    for item, application in _keyed(new).items():
        command = desk.command(application.text)
        if command is not None and item not in known:
            found.append((command, application.amount))
    return found


def _ancestors(
    old: InvoiceRecord, doc: Invoice, version: str, echoes: list[tuple[CommandRecord, Decimal]]
) -> tuple[str, ...]:
    """The versions from which this one differs only by what our own commands did."""
    if version == old.version:
        return old.ancestors
    ours = sum((amount for _, amount in echoes), Decimal(0))
    explained = bool(echoes) and doc.balance == old.doc.balance - ours and not _facts_changed(old.doc, doc)
    return (old.version, *old.ancestors)[:_MOST_ANCESTORS] if explained else ()


def _book_echoes(
    desk: Desk, doc: Invoice, echoes: list[tuple[CommandRecord, Decimal]], at: dt.datetime
) -> list[CommandRecord]:
    """Add what was seen to what was promised; an echo accumulates until it is whole or contradicts the promise."""
    touched = []
    for seen, amount in echoes:
        command = desk.command(seen.key) or seen
        total = command.echoed.get(doc.key, Decimal(0)) + amount
        command = msgspec.structs.replace(command, echoed={**command.echoed, doc.key: total})
        desk.put_command(command)
        desk.say(Echoed(command.key, doc.key, str(amount)))
        promised = command.promised(doc.key)
        touched.append(command)
        if promised is not None and total == promised:
            end_match(desk, doc.key, command.key, "used up")
        elif promised is None or total > promised or doc.customer != command.write.customer:
            _contradicted(desk, command, doc, total, at)
    return touched


def _contradicted(desk: Desk, command: CommandRecord, doc: Invoice, total: Decimal, at: dt.datetime) -> None:
    promised = command.promised(doc.key)
    sentence = (
        f"The ERP shows {total} {doc.currency} applied to invoice {doc.number or doc.key} under key {command.key}; "
        f"{'nothing' if promised is None else promised} was promised for it."
    )
    problem = Problem(
        ConflictKind.ECHO_MISMATCH, "echo.amount", sentence, desk.invoice(doc.key), ("applications",), total
    )
    desk.move_command(command.key, "mismatch")
    raise_conflict(desk, problem, at, intent=desk.intent(command.intent), command=command)
    end_match(desk, doc.key, command.key, "failed")


def _notice_reversal(desk: Desk, old: Invoice, new: Invoice, record: InvoiceRecord, at: dt.datetime) -> None:
    """Money of ours that the ERP had applied is gone again: somebody took it back."""
    left = _keyed(new)
    for item, application in _keyed(old).items():
        command = desk.command(application.text)
        if item in left or command is None or command.state != CommandState.CONFIRMED:
            continue
        sentence = (
            f"The ERP took back the {application.amount} {new.currency} that intent {command.intent} had applied "
            f"to invoice {new.number or new.key}; {new.balance} {new.currency} is open again."
        )
        problem = Problem(
            ConflictKind.ERP_REVERSED, "echo.taken_back", sentence, record, ("applications",), application.amount
        )
        raise_conflict(desk, problem, at, intent=desk.intent(command.intent), command=command)


def _look_again(desk: Desk, key: str, at: dt.datetime) -> None:
    """Decide anew on commands that wait to be sent to an invoice whose facts or guard have changed."""
    record = desk.invoice(key)
    for match in record.matches if record else ():
        command = desk.command(match.command)
        if command is not None and command.state in (CommandState.PENDING, CommandState.STALE):
            recheck_command(desk, command.key, at)


def _wake_waiting(desk: Desk, told: DocumentsTold) -> None:
    """Decide on intents that waited for one of these documents."""
    names = {name for t in told.invoices if isinstance(t.document, Invoice) for name in (t.key, t.document.number)}
    for intent_id, record in sorted(desk.view.intents.items()):
        waiting = record.state == IntentState.WAITING
        if waiting and any(a.invoice in names for a in record.intent.allocations):
            decide_intent(desk, intent_id, told.at)
