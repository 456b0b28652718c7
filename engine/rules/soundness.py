"""Holds each invoice that an intent names against the ERP's present word: what stands in the way of it."""

from decimal import Decimal

import msgspec

from engine.model.commands import is_command_key
from engine.model.documents import Application, Phase
from engine.model.intents import Allocation, ApplyPayment, ApplyReceipt, Intent
from engine.model.records import ConflictKind, InvoiceRecord
from engine.rules.conflicts import Problem
from engine.rules.desk import Desk
from engine.rules.under_way import NOT_SENT


class Checked(msgspec.Struct, frozen=True):
    """One invoice of an intent, and what stands in the way of it."""

    asked: Allocation
    record: InvoiceRecord
    problems: tuple[Problem, ...]


def check_part(
    desk: Desk,
    intent: Intent,
    allocation: Allocation,
    record: InvoiceRecord,
    command: str | None,
    *,
    accept_stale: bool,
) -> Checked:
    """Check one invoice. `command` and `accept_stale` are those of `plan_intent`."""
    doc = record.doc
    name = doc.number or record.key
    currency = intent.money[1] if intent.money else doc.currency
    fresh = allocation.basis == record.version or allocation.basis in record.ancestors
    problems: list[Problem] = []

    def add(kind: ConflictKind, rule: str, sentence: str, *fields: str) -> None:
        problems.append(Problem(kind, rule, sentence, record, fields, allocation.taken_off))

    if record.deleted or doc.phase is Phase.VOID:
        add(ConflictKind.VOIDED_TARGET, "plan.void",
            f"Invoice {name} was cancelled in the ERP; {allocation.taken_off} {currency} cannot go to it.",
            "phase")  # fmt: skip
    if doc.customer != intent.customer:
        add(ConflictKind.CUSTOMER_MISMATCH, "plan.customer",
            f"Invoice {name} belongs to customer {doc.customer} in the ERP, the intent names {intent.customer}.",
            "customer")  # fmt: skip
    if doc.currency != currency:
        add(ConflictKind.PRECONDITION_FAILED, "plan.currency",
            f"Invoice {name} is in {doc.currency}, the intent in {currency}; ask for it in {doc.currency}.",
            "currency")  # fmt: skip
    if doc.phase is Phase.DRAFT:
        add(ConflictKind.PRECONDITION_FAILED, "plan.draft",
            f"Invoice {name} is still a draft in the ERP; it must be posted first.", "phase")  # fmt: skip
    start = desk.policy.start_date
    if start is not None and doc.invoice_date is not None and doc.invoice_date < start:
        add(ConflictKind.PRECONDITION_FAILED, "plan.before_start",
            f"Invoice {name} is of {doc.invoice_date}; arsync acts on invoices from {start} on.",
            "invoice_date")  # fmt: skip
    if isinstance(intent, ApplyPayment | ApplyReceipt):
        problems += _money_problems(desk, intent, allocation, record, command, fresh=fresh)
    if not fresh and not accept_stale:
        add(ConflictKind.STALE_BASIS, "plan.basis",
            f"Invoice {name} has changed in the ERP since the AR side decided on it.", "content_version")  # fmt: skip
    return Checked(allocation, record, tuple(problems))


def _money_problems(
    desk: Desk,
    intent: ApplyPayment | ApplyReceipt,
    allocation: Allocation,
    record: InvoiceRecord,
    command: str | None,
    *,
    fresh: bool,
) -> list[Problem]:
    """What stands in the way of money that is to be applied."""
    doc, name = record.doc, record.doc.number or record.key
    problems: list[Problem] = []

    def add(kind: ConflictKind, rule: str, sentence: str, *fields: str) -> None:
        problems.append(Problem(kind, rule, sentence, record, fields, allocation.taken_off))

    twin = None
    if isinstance(intent, ApplyPayment) and (desk.rules > 1 or not fresh):
        twin = _booked_by_hand(intent, allocation, doc.applications, fresh=fresh)
    if twin is not None:
        add(ConflictKind.DUPLICATE_RECEIPT, "plan.booked_by_hand",
            f"Somebody already booked this receipt in the ERP: {twin.amount} {doc.currency} of {twin.date} "
            f"stands applied to invoice {name}.", "applications", "open_amount")  # fmt: skip
    if doc.phase in (Phase.CLEARED, Phase.FINAL):
        add(ConflictKind.ALREADY_CLEARED, "plan.cleared",
            f"Invoice {name} is already cleared in the ERP; {allocation.taken_off} {intent.currency} "
            "was not applied.", "open_amount", "phase")  # fmt: skip
    elif doc.phase is Phase.OPEN:
        problems += _amount_problems(desk, allocation, record, command)
    return problems


def _amount_problems(desk: Desk, allocation: Allocation, record: InvoiceRecord, command: str | None) -> list[Problem]:
    doc, name = record.doc, record.doc.number or record.key
    claimed = _claimed(desk, record, command)
    if allocation.taken_off > doc.balance:
        sentence = (
            f"{allocation.taken_off} {doc.currency} was to be applied to invoice {name}, "
            f"of which only {doc.balance} is open in the ERP."
        )
        return [
            Problem(
                ConflictKind.OVER_APPLICATION,
                "plan.balance",
                sentence,
                record,
                ("open_amount",),
                allocation.taken_off,
            )
        ]
    if allocation.taken_off > doc.balance - claimed:
        sentence = (
            f"{allocation.taken_off} {doc.currency} was to be applied to invoice {name}: {doc.balance} is open, "
            f"but {claimed} of it is already promised to payments on their way."
        )
        return [
            Problem(
                ConflictKind.CONCURRENT_CLAIMS,
                "plan.claims",
                sentence,
                record,
                ("open_amount",),
                allocation.taken_off,
            )
        ]
    return []


def _claimed(desk: Desk, record: InvoiceRecord, command: str | None) -> Decimal:
    """Money in flight that comes before this command's: all but what was decided later and waits to be sent.

    What waits behind is decided again before it leaves, and then finds this command ahead of it.
    """
    claimed, behind = Decimal(0), False
    for match in record.matches:
        if match.command == command:
            behind = True
            continue
        other = desk.command(match.command)
        if not (behind and other is not None and other.state in NOT_SENT):
            claimed += match.amount
    return claimed


def _booked_by_hand(
    intent: ApplyPayment, allocation: Allocation, applications: tuple[Application, ...], *, fresh: bool
) -> Application | None:
    """An application that is this very receipt: same amount, and the same reference or value date. Where the basis is
    `fresh` both must be the same, for its author may have seen the other one."""
    for application in applications:
        if is_command_key(application.text):
            continue
        same_text = intent.reference is not None and application.text == intent.reference
        same_amount = application.amount in (allocation.amount, allocation.taken_off)
        same_date = application.date == intent.date
        if same_amount and (same_text and same_date if fresh else same_text or same_date):
            return application
    return None
