"""Recognises our own writes in what the ERP tells, by what they say, key and promise, never by who wrote them.

`invoices` calls it for each document told. What counts is how much a document shows under a key now: an ERP may write
a part first, or replace the lines that carry the key, and nothing of it was done twice. A promise is fulfilled when
all documents show exactly what was promised, and contradicted when one shows more, or another one shows anything.
"""

import datetime as dt
from decimal import Decimal

import msgspec

from engine.model.commands import (
    ApplyReceipt,
    IssueMemo,
    Memo,
    PostEntry,
    PostPayment,
    ReleaseOrder,
    ReverseApplication,
    SetBlock,
    SetCreditLimit,
    Write,
)
from engine.model.documents import Customer, Invoice, InvoiceType, LedgerEntry, Paper, Phase, SalesOrder
from engine.model.events import Echoed
from engine.model.records import CommandRecord, ConflictKind, CustomerRecord, InvoiceRecord
from engine.rules.claims import end_claims, end_match, lower_match
from engine.rules.conflicts import Problem, dismiss, open_conflicts, raise_conflict
from engine.rules.desk import Desk
from engine.rules.disputes import add_credit, end_credited
from engine.rules.intents import stop_intent
from engine.rules.under_way import ENDED, NOT_SENT, commands_in_flight
from statemachines import CommandState, IntentState

_CLEARED = (Phase.CLEARED, Phase.FINAL)
_STANDING = (Phase.OPEN, Phase.CLEARED, Phase.FINAL)
_MOOT_BY_CONFIRMING = (
    ConflictKind.PARTLY_DONE,
    ConflictKind.ECHO_MISMATCH,
    ConflictKind.OUTCOME_UNKNOWN,
    ConflictKind.ECHO_MISSING,
    ConflictKind.ERP_REJECTED,
)


class Shift(msgspec.Struct, frozen=True):
    """A document shows `shown` under a command's key now, `by` more than before (negative: less).

    `as_promised`: it shows more than before, and no more than was promised for it.
    """

    command: str
    shown: Decimal
    by: Decimal
    as_promised: bool


def shifts(desk: Desk, old: InvoiceRecord | None, new: Invoice) -> list[Shift]:
    """For which of our commands a document shows more or less than before."""
    before, now = _shown(desk, old.doc if old else None), _shown(desk, new)
    for key in old.under_way if old else ():
        command = desk.command(key)
        if command is not None and command.write.by_value:
            before[key] = command.echoed.get(new.key, Decimal(0))
            now[key] = before[key] if old and _is_opposed(desk, old, command) else _by_value(desk, command.write, new)
    moved = []
    for key in dict.fromkeys([*before, *now]):
        command = desk.command(key)
        shown = now.get(key, Decimal(0))
        by = shown - before.get(key, Decimal(0))
        if command is not None and by:
            moved.append(Shift(key, shown, by, by > 0 and shown <= (command.promised(new.key) or 0)))
    return moved


def _is_opposed(desk: Desk, record: InvoiceRecord, command: CommandRecord) -> bool:
    """Whether the state that it is to lead to may still be the one from before another command of ours, which is on
    its way and leads away from it. One that is overdue the change stream has not shown in time: what has left after
    it is not kept waiting by it."""
    write, has_left = command.write, command.state not in NOT_SENT
    if not isinstance(write, SetBlock) or desk.rules == 1:
        return False
    return any(
        isinstance(other.write, SetBlock) and other.write.blocked != write.blocked
        for other in commands_in_flight(desk, record, besides=command.key)
        if other.place < command.place
        if not (has_left and other.state == CommandState.OVERDUE)
    )


def made_final(desk: Desk, old: Invoice | None, new: Invoice) -> list[str]:
    """The keys of our receipts on a document whose entries have become final, or are so no longer."""
    before, now = ({one.text for one in doc.applications if not one.final} if doc else set() for doc in (old, new))
    return sorted(key for key in before ^ now if key is not None and desk.command(key) is not None)


def _shown(desk: Desk, doc: Invoice | None) -> dict[str, Decimal]:
    """By key, what of a receipt stands applied to the document; and of a memo, the document itself."""
    amounts: dict[str, Decimal] = {}
    for application in doc.applications if doc else ():
        command = desk.command(application.text)
        if application.text is not None and command is not None and isinstance(command.write, PostPayment):
            amounts[application.text] = amounts.get(application.text, Decimal(0)) + application.amount
    memo = desk.command(doc.reference) if doc else None
    if doc is not None and memo is not None and isinstance(memo.write, IssueMemo) and doc.phase in _STANDING:
        wanted = InvoiceType.CREDIT_MEMO if memo.write.memo is Memo.CREDIT else InvoiceType.INVOICE
        amounts[memo.key] = doc.total_amount * doc.direction * (1 if doc.type is wanted else -1)
    return amounts


def _by_value(desk: Desk, write: Write, doc: Invoice) -> Decimal:
    """How much of a write without a key an invoice shows."""
    amount = write.promise.get(doc.key, Decimal(0))
    match write:
        case SetBlock():
            fulfilled = doc.blocked == write.blocked
        case IssueMemo():
            fulfilled = not (write.lift_block and doc.blocked) and (not write.clears or doc.phase in _CLEARED)
        case ApplyReceipt():
            # What somebody has applied too much besides keeps it from being cleared; that is told by itself.
            too_much = doc.balance < 0 and desk.rules > 1
            fulfilled = (not write.clears or doc.phase in _CLEARED or too_much) and any(
                write.is_item(one.item, one.text, one.amount) for one in doc.applications
            )
        case ReverseApplication():
            fulfilled = all(one.item != write.item for one in doc.applications)
        case _:
            fulfilled = False
    return amount if fulfilled else Decimal(0)


def customer_shifts(desk: Desk, old: CustomerRecord | None, new: Customer) -> list[str]:
    """Note which of our commands a customer shows now; returns their keys."""
    moved = []
    for key in old.changes if old else ():
        command = desk.command(key)
        if command is None or not isinstance(command.write, SetCreditLimit):
            continue
        write = command.write
        limits = {account.company: account.credit_limit for account in new.accounts}
        shown = Decimal(int(write.company in limits and limits[write.company] == write.limit))
        (name,) = write.promise
        if shown != command.echoed.get(name, Decimal(0)):
            desk.put_command(msgspec.structs.replace(command, echoed={name: shown} if shown else {}))
            desk.say(Echoed(key, name, str(shown)))
            moved.append(key)
    return moved


def paper_shift(desk: Desk, paper: Paper) -> list[str]:
    """Note which of our commands an order or an entry shows now; returns their keys."""
    moved = []
    name = f"{'entry' if isinstance(paper, LedgerEntry) else 'order'}/{paper.key}"
    for key in _about(desk, paper):
        command = desk.command(key)
        shown = Decimal(int(paper.final if isinstance(paper, LedgerEntry) else not paper.held))
        if command is not None and shown != command.echoed.get(name, Decimal(0)):
            echoed = {other: amount for other, amount in command.echoed.items() if other != name}
            echoed |= {name: shown} if shown else {}
            desk.put_command(msgspec.structs.replace(command, echoed=echoed))
            desk.say(Echoed(key, name, str(shown)))
            moved.append(key)
    return moved


def _about(desk: Desk, paper: Paper) -> list[str]:
    if isinstance(paper, LedgerEntry):
        entry = desk.command(paper.text)
        return [entry.key] if entry and isinstance(entry.write, PostEntry) else []
    return [
        key
        for key, command in sorted(desk.view.commands.items())
        if isinstance(command.write, ReleaseOrder) and _is_of(paper, command.write)
        if command.state not in (*ENDED, CommandState.CONFIRMED) or _is_refused_and_held(desk, command)
    ]


def _is_of(order: SalesOrder, write: ReleaseOrder) -> bool:
    """Whether it is the order that was to be released. Another customer's may have its number as its key."""
    return (
        write.order in (order.key, order.number)
        and order.customer in (None, write.customer)
        and order.company in (None, write.company)
    )


def _is_refused_and_held(desk: Desk, command: CommandRecord) -> bool:
    """The ERP has said no, and people are to say what now: that it is so after all is the answer, whoever did it."""
    intent = desk.intent(command.intent)
    return command.state == CommandState.REJECTED and intent is not None and intent.state == IntentState.HELD


def book_shifts(desk: Desk, old: Invoice | None, doc: Invoice, moved: list[Shift], at: dt.datetime) -> None:
    """Note what a document shows of each command, and what of it is still on its way to it."""
    reversed_keys = _reversed_by_us(desk, old, doc)
    for shift in moved:
        command = desk.command(shift.command)
        if command is None:
            continue
        echoed = {key: amount for key, amount in command.echoed.items() if key != doc.key}
        if shift.shown:
            echoed[doc.key] = shift.shown
        desk.put_command(msgspec.structs.replace(command, echoed=echoed))
        desk.say(Echoed(command.key, doc.key, str(shift.by)))
        promised = command.promised(doc.key)
        if doc.key not in command.write.promise:
            add_credit(desk, command, shift.shown - command.echoed.get(doc.key, Decimal(0)))
        if shift.by > 0 and command.state == CommandState.CONFIRMED and shift.as_promised:
            back = [c for c in open_conflicts(desk) if c.command == command.key]
            undone = [c for c in back if c.kind is ConflictKind.ERP_REVERSED and c.document == f"invoice/{doc.key}"]
            dismiss(desk, undone, "the ERP has applied it again", at)
        if shift.by < 0 and shift.command in reversed_keys:
            continue
        if shift.by < 0 and command.state == CommandState.CONFIRMED:
            _taken_back(desk, command, doc, -shift.by, at)
        elif not command.write.claims:
            continue
        elif promised is not None and shift.shown >= promised:
            end_match(desk, doc.key, command.key, "used up")
        elif promised is not None:
            lower_match(desk, doc.key, command.key, promised - shift.shown)


def _reversed_by_us(desk: Desk, old: Invoice | None, doc: Invoice) -> set[str | None]:
    """The receipts of which a command of ours takes something off this invoice."""
    record = desk.invoice(doc.key)
    reversals = [command.write for key in record.changes if (command := desk.command(key))] if record else []
    items = {write.item for write in reversals if isinstance(write, ReverseApplication)}
    left = {one.item for one in doc.applications}
    return {one.text for one in old.applications if one.item in items - left} if old else set()


def judge(desk: Desk, key: str, at: dt.datetime) -> None:
    """Hold what all documents show of a command against its promise, once a whole ERP transaction is taken in."""
    _note_sequel(desk, key)
    command = desk.command(key)
    if command is None:
        return
    whose, is_done = (command.write.customer, command.write.currency), command.state == CommandState.CONFIRMED
    for invoice, shown in sorted(command.echoed.items()):
        record = desk.invoice(invoice)
        promised = command.promised(invoice)
        # Once it is confirmed people may give the invoice to another customer: both are one by then.
        judged = record is not None and not (is_done and desk.rules > 1)
        elsewhere = judged and record is not None and (record.doc.customer, record.doc.currency) != whose
        twice = command.write.carried is not None and invoice not in command.write.promise
        if elsewhere or (command.excess and (twice or shown > (promised or 0))):
            _contradicted(desk, command, invoice, shown, at)
            return
    if is_done or not command.echoed:
        return
    _tell_if_late(desk, command, at)
    if command.echo_complete and _is_final(desk, command):
        _confirm(desk, command, at)
    elif command.write.by_value or command.write.carried is not None:
        return  # a part of what was wanted; the rest is another step of the same command
    elif command.state in NOT_SENT:
        # A part is there of what was thought not done: it is looked up, not sent or decided again.
        desk.move_command(command.key, "lose_answer", due_at=at)


def _is_final(desk: Desk, command: CommandRecord) -> bool:
    """Whether the ERP has booked for good what it shows; a receipt may be applied first and posted in a next step."""
    records = [desk.invoice(name) for name in command.echoed]
    lines = [one for record in records if record is not None for one in record.doc.applications]
    return all(one.final for one in lines if one.text == command.key)


def _note_sequel(desk: Desk, key: str) -> None:
    """Once the ERP shows the document that it made for a command, note what else was promised and is so by now."""
    command = desk.command(key)
    if command is None or command.write.carried is None or not command.write.promise:
        return
    made = {name: amount for name, amount in command.echoed.items() if name not in command.write.promise}
    shown = dict(made)
    for name in command.write.promise if made else ():
        record = desk.invoice(name)
        if record is not None and (amount := _by_value(desk, command.write, record.doc)):
            shown[name] = amount
    if shown != command.echoed:
        desk.put_command(msgspec.structs.replace(command, echoed=shown))


def _confirm(desk: Desk, command: CommandRecord, at: dt.datetime) -> None:
    """The promise is fulfilled: the command is done, whatever was thought before."""
    intent = desk.intent(command.intent)
    desk.move_command(command.key, "confirm")
    end_claims(desk, command, "used up")
    end_credited(desk, command)
    if intent is not None and intent.state in (IntentState.PLANNED, IntentState.HELD):
        done = [desk.command(name) for name in intent.commands]
        if all(c is not None and c.state == CommandState.CONFIRMED for c in done):
            desk.move_intent(intent.id, "finish")
    _dismiss_moot(desk, command.key, at)


def _tell_if_late(desk: Desk, command: CommandRecord, at: dt.datetime) -> None:
    """An effect of what had been given up, be it only a part of what was asked."""
    intent = desk.intent(command.intent)
    given_up = command.state in ENDED
    gone = intent is not None and intent.state in (IntentState.REFUSED, IntentState.WITHDRAWN)
    if not (given_up or gone) or (command.write.by_value and _is_refused_and_held(desk, command)):
        return
    was = f"the command had been {command.state}" if given_up or intent is None else f"it was {intent.state}"
    shown = sum(command.echoed.values(), Decimal(0))
    shown_now = f"{shown} {command.write.currency}" if not command.write.by_value else f"The {command.write.title}"
    sentence = f"{shown_now} under key {command.key} took effect in the ERP after {was}."
    problem = Problem(ConflictKind.LATE_EFFECT, "echo.late", sentence, amount=shown)
    raise_conflict(desk, problem, at, intent=intent, command=command)


def _dismiss_moot(desk: Desk, key: str, at: dt.datetime) -> None:
    """The echo has answered what was asked about this command."""
    moot = [c for c in open_conflicts(desk) if c.command == key and c.kind in _MOOT_BY_CONFIRMING]
    dismiss(desk, moot, "the ERP shows the whole effect", at)


def _contradicted(desk: Desk, command: CommandRecord, invoice: str, shown: Decimal, at: dt.datetime) -> None:
    """The ERP shows something else than was promised. A later echo that fulfils the promise still confirms."""
    record, promised = desk.invoice(invoice), command.promised(invoice)
    name = record.doc.number if record and record.doc.number else invoice
    write = command.write
    what = f"the {write.title}" if write.by_value else f"{shown} {write.currency}"
    sentence = f"The ERP shows {what} on invoice {name} under key {command.key}; "
    if record is not None and (record.doc.customer, record.doc.currency) != (write.customer, write.currency):
        sentence += (
            f"the invoice is customer {record.doc.customer}'s in {record.doc.currency}, "
            f"and it was meant for customer {write.customer} in {write.currency}."
        )
    else:
        sentence += f"{'nothing' if promised is None else promised} was promised for it to customer {write.customer}."
    if command.state not in (CommandState.CONFIRMED, CommandState.MISMATCHED):
        desk.move_command(command.key, "mismatch")
    problem = Problem(ConflictKind.ECHO_MISMATCH, "echo.amount", sentence, record, ("applications",), shown)
    choice = raise_conflict(desk, problem, at, intent=desk.intent(command.intent), command=command)
    end_claims(desk, command, "failed")
    stop_intent(desk, command.intent, choice, str(ConflictKind.ECHO_MISMATCH))


def _taken_back(desk: Desk, command: CommandRecord, doc: Invoice, amount: Decimal, at: dt.datetime) -> None:
    """Money of ours that the ERP had applied is gone again."""
    sentence = (
        f"The ERP took back the {amount} {doc.currency} that intent {command.intent} had applied "
        f"to invoice {doc.number or doc.key}; {doc.balance} {doc.currency} is open again."
    )
    kind = ConflictKind.ERP_REVERSED
    known = [desk.conflict(name) for name in sorted({*desk.view.conflicts, *desk.out.conflicts})]
    before = sum(c is not None and c.kind is kind and c.command == command.key for c in known)
    record = desk.invoice(doc.key)
    problem = Problem(kind, "echo.taken_back", sentence, record, ("applications",), amount, occasion=before)
    raise_conflict(desk, problem, at, intent=desk.intent(command.intent), command=command)
