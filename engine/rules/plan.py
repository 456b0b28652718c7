"""Turns an intent into a command, or into the reason why not. Looks only at the documents as they stand."""

from decimal import Decimal

import msgspec

from engine.model.canonical import money
from engine.model.commands import PostPayment, PromisedAllocation, is_command_key
from engine.model.documents import Application, Phase
from engine.model.intents import Allocation, ApplyPayment
from engine.model.records import ConflictKind, InvoiceRecord
from engine.rules.conflicts import Problem
from engine.rules.desk import Desk
from statemachines import CommandState


class Plan(msgspec.Struct, frozen=True):
    """What planning came to: a write, or problems, or documents that are not known yet."""

    write: PostPayment | None = None
    invoices: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    unknown: tuple[str, ...] = ()


def plan_payment(desk: Desk, intent: ApplyPayment, *, command: str | None, accept_stale: bool = False) -> Plan:
    """Check every allocation against the ERP's present word.

    `command` is the key of the command that the intent already has: its own money in flight is not counted against
    it. `accept_stale` leaves out the basis: the ERP's present version is what counts (a rebase).
    """
    records = [(allocation, desk.invoice(allocation.invoice)) for allocation in intent.allocations]
    unknown = tuple(a.invoice for a, record in records if record is None)
    if unknown:
        return Plan(unknown=unknown)
    problems: list[Problem] = []
    promised = []
    companies = set()
    for allocation, record in records:
        if record is None:
            continue
        problems += _problems(desk, intent, allocation, record, command, accept_stale=accept_stale)
        companies.add(record.doc.company)
        promised.append(PromisedAllocation(record.key, money(allocation.amount), record.doc.number, record.version))
    named = [promise.invoice for promise in promised]
    twice = sorted({key for key in named if named.count(key) > 1})
    if twice:
        problems.append(
            Problem(
                ConflictKind.PRECONDITION_FAILED,
                "plan.named_twice",
                f"Intent {intent.id} names invoice {twice[0]} twice, by key and by number; add its amounts together.",
            )
        )
    if len(companies) > 1:
        problems.append(
            Problem(
                ConflictKind.PRECONDITION_FAILED,
                "plan.one_company",
                f"Intent {intent.id} pays invoices of {len(companies)} companies with one receipt; "
                "an ERP books a receipt in one company.",
            )
        )
    if problems:
        return Plan(problems=tuple(problems))
    write = PostPayment(
        company=companies.pop(),
        customer=intent.customer,
        currency=intent.currency,
        amount=money(intent.amount),
        date=intent.date,
        allocations=tuple(promised),
        reference=intent.reference,
    )
    return Plan(write=write, invoices=tuple(p.invoice for p in promised))


def _problems(
    desk: Desk,
    intent: ApplyPayment,
    allocation: Allocation,
    record: InvoiceRecord,
    command: str | None,
    *,
    accept_stale: bool,
) -> list[Problem]:
    doc = record.doc
    name = doc.number or record.key
    fresh = allocation.basis == record.version or allocation.basis in record.ancestors
    problems: list[Problem] = []

    def add(kind: ConflictKind, rule: str, sentence: str, *fields: str) -> None:
        problems.append(Problem(kind, rule, sentence, record, fields, allocation.amount))

    if record.deleted or doc.phase is Phase.VOID:
        add(ConflictKind.VOIDED_TARGET, "plan.void",
            f"Invoice {name} was cancelled in the ERP; {allocation.amount} {intent.currency} cannot go to it.",
            "phase")  # fmt: skip
    if doc.customer != intent.customer:
        add(ConflictKind.CUSTOMER_MISMATCH, "plan.customer",
            f"Invoice {name} belongs to customer {doc.customer} in the ERP, the intent names {intent.customer}.",
            "customer")  # fmt: skip
    if doc.currency != intent.currency:
        add(ConflictKind.PRECONDITION_FAILED, "plan.currency",
            f"Invoice {name} is in {doc.currency}, the receipt in {intent.currency}; apply it in {doc.currency}.",
            "currency")  # fmt: skip
    if doc.phase is Phase.DRAFT:
        add(ConflictKind.PRECONDITION_FAILED, "plan.draft",
            f"Invoice {name} is still a draft in the ERP; it must be posted before a payment can be applied.",
            "phase")  # fmt: skip
    twin = None if fresh else _booked_by_hand(intent, allocation, doc.applications)
    if twin is not None:
        add(ConflictKind.DUPLICATE_RECEIPT, "plan.booked_by_hand",
            f"Somebody already booked this receipt in the ERP: {twin.amount} {doc.currency} of {twin.date} "
            f"stands applied to invoice {name}.", "applications", "open_amount")  # fmt: skip
    if doc.phase in (Phase.CLEARED, Phase.FINAL):
        add(ConflictKind.ALREADY_CLEARED, "plan.cleared",
            f"Invoice {name} is already cleared in the ERP; the receipt of {allocation.amount} {intent.currency} "
            "was not applied.", "open_amount", "phase")  # fmt: skip
    elif doc.phase is Phase.OPEN:
        problems += _amount_problems(desk, allocation, record, command)
    if not fresh and not accept_stale:
        add(ConflictKind.STALE_BASIS, "plan.basis",
            f"Invoice {name} has changed in the ERP since the AR side decided on it.", "content_version")  # fmt: skip
    return problems


def _amount_problems(desk: Desk, allocation: Allocation, record: InvoiceRecord, command: str | None) -> list[Problem]:
    doc, name = record.doc, record.doc.number or record.key
    claimed = _claimed(desk, record, command)
    if allocation.amount > doc.balance:
        sentence = (
            f"{allocation.amount} {doc.currency} was to be applied to invoice {name}, "
            f"of which only {doc.balance} is open in the ERP."
        )
        return [
            Problem(
                ConflictKind.OVER_APPLICATION, "plan.balance", sentence, record, ("open_amount",), allocation.amount
            )
        ]
    if allocation.amount > doc.balance - claimed:
        sentence = (
            f"{allocation.amount} {doc.currency} was to be applied to invoice {name}: {doc.balance} is open, "
            f"but {claimed} of it is already promised to payments on their way."
        )
        return [
            Problem(
                ConflictKind.CONCURRENT_CLAIMS, "plan.claims", sentence, record, ("open_amount",), allocation.amount
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
        if not (behind and other is not None and other.state in (CommandState.PENDING, CommandState.STALE)):
            claimed += match.amount
    return claimed


def _booked_by_hand(
    intent: ApplyPayment, allocation: Allocation, applications: tuple[Application, ...]
) -> Application | None:
    """An application that is this very receipt: same amount, and the same reference or value date."""
    for application in applications:
        if is_command_key(application.text):
            continue
        same_text = intent.reference is not None and application.text == intent.reference
        if application.amount == Decimal(allocation.amount) and (same_text or application.date == intent.date):
            return application
    return None
