"""Turns an intent into a write, or into the reason why not. Looks only at the documents as they stand."""

from collections.abc import Sequence
from decimal import Decimal

import msgspec
from msgspec import UNSET

from engine.model import intents as asked
from engine.model.canonical import money
from engine.model.commands import (
    ApplyReceipt,
    EntryLine,
    IssueMemo,
    Memo,
    PostEntry,
    PostPayment,
    PromisedAllocation,
    ReleaseOrder,
    ReverseApplication,
    SetBlock,
    SetCreditLimit,
    Write,
)
from engine.model.documents import CreditAccount, Phase
from engine.model.intents import Allocation, ApplyPayment, Intent, Withdraw
from engine.model.records import ConflictKind, InvoiceRecord
from engine.rules.conflicts import Problem
from engine.rules.desk import Desk
from engine.rules.naming import Meant, meant
from engine.rules.soundness import Checked, check_part
from engine.rules.under_way import ENDED, credited_before, earlier_items, may_be_blocked, mixed_up

_NOTHING = money(Decimal(0))


class Plan(msgspec.Struct, frozen=True):
    """What planning came to: a write, or nothing to be written (`settled`), or problems, or documents that are not
    known yet. `invoices` are the keys of those that the intent names.
    """

    write: Write | None = None
    invoices: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def settled(self) -> bool:
        """The intent is to be carried out, and the ERP has nothing to do for it."""
        return self.write is None and not self.problems and not self.unknown


def plan_intent(
    desk: Desk, intent: Intent, *, command: str | None, accept_stale: bool = False, keys: Sequence[str] = ()
) -> Plan:
    """Check an intent against the ERP's present word.

    `command` is the key of the command that the intent already has: its own money in flight is not counted against
    it. `accept_stale` leaves out the basis: the ERP's present version is what counts (a rebase). `keys` are the
    invoices that its parts were found to mean, in their order; without them it is found out.
    """
    if isinstance(intent, asked.SetCreditLimit):
        return _plan_credit_limit(desk, intent, command, accept_stale=accept_stale)
    if isinstance(intent, asked.ReleaseOrder | asked.PostEntry):
        return Plan(write=_write_apart(desk, intent))
    if isinstance(intent, Withdraw):
        raise TypeError("a withdrawal is carried out at once; there is nothing to plan")
    found = [(part, _meant(desk, part, place, keys)) for place, part in enumerate(intent.parts)]
    unknown = tuple(part.invoice for part, named in found if not named.records)
    if unknown:
        return Plan(unknown=unknown)
    unclear = tuple(_unclear(part, named) for part, named in found if named.doubt is not None)
    if unclear:
        return Plan(problems=unclear)
    parts = [
        check_part(desk, intent, part, named.records[0], command, accept_stale=accept_stale) for part, named in found
    ]
    if isinstance(intent, ApplyPayment):
        return _plan_payment(intent, parts)
    return _plan_for_one(desk, intent, parts[0], command)


def _meant(desk: Desk, part: Allocation, place: int, keys: Sequence[str]) -> Meant:
    if not keys:
        return meant(desk, part)
    record = desk.invoice(keys[place])
    return Meant([] if record is None else [record])


def _unclear(part: Allocation, named: Meant) -> Problem:
    sentence = (
        f"By invoice {part.invoice} {named.doubt} can be meant, and the basis {part.basis} tells no single one. "
        "Ask again by a name that only one has, with its present content version; where the AR side always names "
        "invoices in one way, set `invoices_named_by` of the system."
    )
    return _problem("plan.ambiguous", sentence, named.records[0])


def _plan_payment(intent: ApplyPayment, parts: list[Checked]) -> Plan:
    problems = [problem for part in parts for problem in part.problems]
    keys = [part.record.key for part in parts]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        problems.append(
            _problem(
                "plan.named_twice",
                f"Intent {intent.id} names invoice {twice[0]} twice, by key and by number; add its amounts together.",
            )
        )
    companies = {part.record.doc.company for part in parts}
    if len(companies) > 1:
        problems.append(
            _problem(
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
        allocations=tuple(_promised(part.asked, part.record) for part in parts),
        on_account=money(intent.on_account or _NOTHING),
        reference=intent.reference,
    )
    return Plan(write=write, invoices=tuple(keys))


def _promised(part: Allocation, record: InvoiceRecord) -> PromisedAllocation:
    return PromisedAllocation(
        invoice=record.key,
        amount=money(part.taken_off),
        number=record.doc.number,
        version=record.version,
        written_off=money(part.write_off or _NOTHING),
    )


OneInvoiceIntent = (
    asked.RaiseDispute | asked.RejectDispute | asked.IssueMemo | asked.ApplyReceipt | asked.ReverseApplication
)


def _plan_for_one(desk: Desk, intent: OneInvoiceIntent, part: Checked, command: str | None) -> Plan:
    """An intent about one invoice."""
    record = part.record
    problems = [*part.problems, *_further_problems(desk, intent, record, command)]
    if problems:
        return Plan(problems=tuple(problems), invoices=(record.key,))
    return Plan(write=_write_for_one(desk, intent, record, command), invoices=(record.key,))


def _write_for_one(desk: Desk, intent: OneInvoiceIntent, record: InvoiceRecord, command: str | None) -> Write | None:
    doc = record.doc
    promised = _promised(intent.parts[0], record)
    company, customer, currency = doc.company, intent.customer, intent.currency
    match intent:
        case asked.IssueMemo():
            return IssueMemo(
                company=company, customer=customer, currency=currency, amount=money(intent.amount), date=intent.date,
                allocations=(promised,), reference=intent.reason_code, memo=intent.memo,
                clears=intent.memo is Memo.CREDIT and doc.phase is Phase.OPEN and doc.balance == intent.amount,
                lift_block=intent.dispute is not None and _frees(desk, record, intent.dispute, command),
            )  # fmt: skip
        case asked.ApplyReceipt():
            return ApplyReceipt(
                company=company, customer=customer, currency=currency, amount=money(intent.amount),
                allocations=(promised,), receipt=intent.receipt, clears=doc.balance == intent.amount,
                before=earlier_items(desk, intent.receipt, record) or UNSET,
            )  # fmt: skip
        case asked.ReverseApplication():
            return ReverseApplication(
                company=company, customer=customer, currency=currency, amount=money(intent.amount),
                allocations=(promised,), item=intent.item, reference=intent.reason_code,
            )  # fmt: skip
        case asked.RaiseDispute():
            known = record.dispute(intent.id)
            lasts = known is None or known.alive or desk.rules == 1
            free = False in may_be_blocked(desk, record, command)
            wanted = True if intent.hold and lasts and doc.phase is Phase.OPEN and free else None
        case asked.RejectDispute():
            wanted = False if _frees(desk, record, intent.dispute, command) else None
    if wanted is None:
        return None
    return SetBlock(
        company=company, customer=customer, currency=currency, amount=_NOTHING, allocations=(promised,),
        reference=intent.reason_code, blocked=wanted,
    )  # fmt: skip


def _further_problems(
    desk: Desk, intent: OneInvoiceIntent, record: InvoiceRecord, command: str | None
) -> list[Problem]:
    doc, name = record.doc, record.doc.number or record.key
    total = doc.total_amount * doc.direction
    match intent:
        case asked.RaiseDispute() if intent.amount > total:
            sentence = f"{intent.amount} {doc.currency} of invoice {name} is contested; it comes to {total} only."
            return [_problem("plan.dispute_amount", sentence, record)]
        case asked.IssueMemo() if intent.memo is Memo.CREDIT and intent.amount > total - (
            before := credited_before(desk, record, command)
        ):
            sentence = (
                f"{intent.amount} {doc.currency} of invoice {name} was to be credited; it comes to {total} only"
                f"{f', and {before} of it is credited already or about to be' if before else ''}."
            )
            return [Problem(ConflictKind.OVER_APPLICATION, "plan.memo_amount", sentence, record, ("total_amount",))]
        case asked.ApplyReceipt() if (other := mixed_up(desk, intent, record, command)) is not None:
            sentence = (
                f"Command {other} is about to apply {intent.amount} {doc.currency} to invoice {name} that may go by "
                f"the name of {intent.receipt} too; ask again when it is over, or name both by their open items."
            )
            return [_problem("plan.same_receipt", sentence, record, "applications")]
        case asked.IssueMemo() if intent.dispute is not None:
            return _dispute_problems(desk, record, intent.dispute, command)
        case asked.RejectDispute():
            return _dispute_problems(desk, record, intent.dispute, command)
        case asked.ReverseApplication():
            shown = {application.item: application.amount for application in doc.applications}
            if shown.get(intent.item) != intent.amount:
                sentence = f"Invoice {name} has no application {intent.item} of {intent.amount} {doc.currency}."
                return [_problem("plan.no_application", sentence, record, "applications")]
    return []


def _dispute_problems(desk: Desk, record: InvoiceRecord, dispute: str, command: str | None) -> list[Problem]:
    name = record.doc.number or record.key
    known = record.dispute(dispute)
    if known is None:
        return [_problem("plan.no_dispute", f"Invoice {name} has no dispute {dispute}.", record)]
    if command is not None and known.memo in (command, None):
        return []  # it was decided before, and is looked at again
    if not known.alive:
        return [_problem("plan.dispute_over", f"Dispute {dispute} of invoice {name} is {known.state}.", record)]
    credited = desk.command(known.memo)
    if credited is not None and credited.state not in ENDED:
        sentence = f"Dispute {dispute} of invoice {name} is approved already; its credit memo is {credited.state}."
        return [_problem("plan.dispute_approved", sentence, record)]
    return []


def _frees(desk: Desk, record: InvoiceRecord, dispute: str, command: str | None) -> bool:
    """Whether the end of this dispute frees the invoice's open items."""
    known = record.dispute(dispute)
    others = any(other.alive and other.holds for other in record.disputes if other.id != dispute)
    return known is not None and known.holds and not others and True in may_be_blocked(desk, record, command)


def _write_apart(desk: Desk, intent: asked.ReleaseOrder | asked.PostEntry) -> Write:
    """A write that rests on no document that is kept: the ERP itself holds it against its books."""
    company, customer, currency = intent.company, intent.customer, intent.currency
    if isinstance(intent, asked.ReleaseOrder):
        return ReleaseOrder(
            company=company, customer=customer, currency=currency, amount=_NOTHING, order=intent.order,
            at_most=money(intent.amount) if desk.rules > 1 else UNSET,
        )  # fmt: skip
    lines = tuple(
        EntryLine(line.account, money(line.debit or _NOTHING), money(line.credit or _NOTHING), line.customer)
        for line in intent.lines
    )
    return PostEntry(
        company=company, customer=customer, currency=currency, amount=sum((line.debit for line in lines), _NOTHING),
        date=intent.date, lines=lines, reference=intent.reference,
    )  # fmt: skip


def _plan_credit_limit(desk: Desk, intent: asked.SetCreditLimit, command: str | None, *, accept_stale: bool) -> Plan:
    record = desk.customer(intent.customer)
    if record is None or record.deleted:
        return Plan(unknown=(f"customer {intent.customer}",))
    if command is None and record.changes and desk.rules > 1:
        # What the ERP says now is not what the author saw, nor what will stand when this one arrives.
        return Plan(unknown=(f"customer {intent.customer} as command {record.changes[-1]} leaves it",))
    account = next((one for one in record.doc.accounts if one.company == intent.company), None)
    if account is None and desk.rules > 1:
        # An ERP of several companies tells only of those that have to do with the customer.
        account = CreditAccount(intent.company, intent.currency, _NOTHING, None)
    if account is None or account.currency != intent.currency:
        has = "no account" if account is None else f"an account in {account.currency}, not {intent.currency},"
        return Plan(
            problems=(_problem("plan.account", f"Customer {intent.customer} has {has} with {intent.company}."),)
        )
    wanted = None if intent.limit is None else money(intent.limit)
    if account.credit_limit == wanted:
        return Plan()
    if account.credit_limit != intent.replaces and not accept_stale:
        sentence = (
            f"The ERP limits customer {intent.customer} to {account.credit_limit} {account.currency}; "
            f"the AR side saw {intent.replaces} when it asked for {wanted}."
        )
        race = Problem(ConflictKind.CREDIT_LIMIT_RACE, "plan.credit_limit", sentence, fields=("credit_limit",))
        return Plan(problems=(race,))
    write = SetCreditLimit(
        company=intent.company, customer=intent.customer, currency=intent.currency, amount=_NOTHING, limit=wanted,
        replaces=account.credit_limit,
    )  # fmt: skip
    return Plan(write=write)


def _problem(rule: str, sentence: str, record: InvoiceRecord | None = None, *fields: str) -> Problem:
    return Problem(ConflictKind.PRECONDITION_FAILED, rule, sentence, record, fields)
