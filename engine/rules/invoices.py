"""Decides on what the ERP tells: leads each invoice through its life, and looks again at what was about to be
written. Our own echoes among it are recognised in `echoes`."""

import datetime as dt
from collections.abc import Iterable, Mapping

import msgspec

from engine.model.documents import Customer, Invoice, LedgerEntry, Phase, SalesOrder
from engine.model.events import DocumentsTold, Told
from engine.model.records import CustomerRecord, InvoiceRecord, Word
from engine.rules.ancestry import ancestors
from engine.rules.desk import Desk
from engine.rules.echoes import (
    book_shifts,
    customer_shifts,
    judge,
    made_final,
    paper_shift,
    shifts,
)
from engine.rules.facts import remembered
from engine.rules.intents import decide_intent, recheck_command
from engine.rules.later import close_moot, watch_zero
from engine.rules.under_way import NOT_SENT
from statemachines import IntentState, InvoiceState, InvoiceTrigger

_CLEARED = (Phase.CLEARED, Phase.FINAL)


def take_documents(desk: Desk, told: DocumentsTold) -> None:
    """Apply one ERP transaction to all the documents that it touched, as one decision."""
    changed = [_take_customer(desk, customer) for customer in told.customers]
    docs = [invoice.document for invoice in told.invoices if isinstance(invoice.document, Invoice)]
    memos = {doc.reference: doc.number for doc in docs if doc.reference is not None}
    word = Word(told.tx, told.commit, told.at)
    changed += [_take_invoice(desk, invoice, word, memos) for invoice in told.invoices]
    changed += [
        paper_shift(desk, paper.document)
        for paper in told.papers
        if isinstance(paper.document, SalesOrder | LedgerEntry)
    ]
    for key in dict.fromkeys(key for keys in changed for key in keys):
        judge(desk, key, told.at)
    for customer in told.customers:
        record = desk.customer(customer.key)
        _look_again(desk, record.changes if record else (), told.at)
    for invoice in told.invoices:
        seen = desk.invoice(invoice.key)
        _look_again(desk, seen.under_way if seen else (), told.at)
    _wake_waiting(desk, told)
    close_moot(desk, {invoice.key for invoice in told.invoices}, told.at)


def _take_customer(desk: Desk, told: Told) -> list[str]:
    """Take a customer's new facts; returns the keys of the commands of which it shows more or less than before."""
    old = desk.customer(told.key)
    if told.document is None:
        if old is not None:
            desk.put_customer(msgspec.structs.replace(old, deleted=True))
        return []
    if not isinstance(told.document, Customer):
        return []
    version = told.document.content_version()
    changes = old.changes if old else ()
    desk.put_customer(CustomerRecord(doc=told.document, version=version, guard=told.guard, changes=changes))
    return customer_shifts(desk, old, told.document)


def _take_invoice(desk: Desk, told: Told, word: Word, memos: Mapping[str, str | None]) -> list[str]:
    """Take an invoice's new facts; returns the keys of the commands of which it shows more or less than before."""
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
    version = doc.content_version() if old is None else doc.version_after(old.doc, old.version)
    moved = shifts(desk, old, doc)
    record = InvoiceRecord(doc=doc, version=version, guard=told.guard, told=word)
    if old is not None:
        same = version == old.version
        record = msgspec.structs.replace(
            old,
            doc=doc,
            version=version,
            guard=told.guard,
            deleted=False,
            ancestors=ancestors(desk, old, doc, version, moved, memos),
            told=old.told if same else word,
            past=old.past if same else remembered(old, doc),
        )
    desk.put_invoice(record)
    _lead(desk, old, record)
    book_shifts(desk, old.doc if old else None, doc, moved, word.at)
    watch_zero(desk, old, record, word.at)
    sequels = [
        key for key in (old.changes if old else ()) if (c := desk.command(key)) and c.write.carried is not None
    ]
    final = made_final(desk, old.doc if old else None, doc)
    return [*(shift.command for shift in moved), *final, *sequels]


def _lead(desk: Desk, old: InvoiceRecord | None, record: InvoiceRecord) -> None:
    """Fire the triggers that lead from the old facts to the new, in the order of the machine's table."""
    doc, key = record.doc, record.key
    before = old.doc.phase if old and record.state != InvoiceState.NEW else None
    if old is not None and old.deleted and before is not None:
        before = Phase.VOID  # it is back: deleting it had ended it as a void does
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
    undone = before is Phase.FINAL and doc.phase is Phase.CLEARED
    if doc.phase in _CLEARED and (not was_cleared or before not in _CLEARED or undone):
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
    if record.disputed:
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


def _look_again(desk: Desk, commands: Iterable[str], at: dt.datetime) -> None:
    """Decide anew on commands that wait to be sent to a document whose facts or guard have changed."""
    for key in commands:
        command = desk.command(key)
        if command is not None and command.state in NOT_SENT:
            recheck_command(desk, command.key, at, patient=True)


def _wake_waiting(desk: Desk, told: DocumentsTold) -> None:
    """Decide on intents that waited for one of these documents."""
    if not desk.view.intents:
        return
    names = {name for t in told.invoices if isinstance(t.document, Invoice) for name in (t.key, t.document.number)}
    customers = {t.key for t in told.customers}
    waiting = sorted(desk.view.intents.items())
    if desk.rules > 1:
        waiting.sort(key=lambda one: one[1].received_at)
    for intent_id, record in waiting:
        if record.state != IntentState.WAITING:
            continue
        of_customer = not record.intent.parts and record.intent.customer in customers
        if of_customer or any(part.invoice in names for part in record.intent.parts):
            decide_intent(desk, intent_id, told.at)
