"""Raises conflicts: once each, explained in one sentence, with the policy's choice carried out at once."""

import datetime as dt
from decimal import Decimal
from typing import Any

import msgspec

from engine.model.canonical import short_digest
from engine.model.documents import Invoice
from engine.model.events import Raised
from engine.model.records import CommandRecord, ConflictKind, ConflictRecord, IntentRecord, InvoiceRecord
from engine.rules.desk import Desk, plain
from engine.rules.policy import Choice

_PRECEDENCE = {kind: place for place, kind in enumerate(ConflictKind)}


class Problem(msgspec.Struct, frozen=True):
    """Why an allocation cannot be written as asked, or what the ERP did to it since.

    `occasion` tells apart what happens more than once to the same version of a document.
    """

    kind: ConflictKind
    rule: str
    sentence: str
    invoice: InvoiceRecord | None = None
    fields: tuple[str, ...] = ()
    amount: Decimal | None = None
    occasion: int = 0


def first_by_precedence(problems: list[Problem]) -> tuple[Problem, tuple[str, ...]]:
    """The primary problem, and the kinds of the others as tags."""
    ordered = sorted(problems, key=lambda problem: _PRECEDENCE[problem.kind])
    tags = dict.fromkeys(str(p.kind) for p in ordered[1:] if p.kind is not ordered[0].kind)
    return ordered[0], tuple(tags)


def raise_conflict(
    desk: Desk,
    problem: Problem,
    at: dt.datetime,
    *,
    intent: IntentRecord | None = None,
    command: CommandRecord | None = None,
    tags: tuple[str, ...] = (),
    able: tuple[Choice, ...] = (Choice.ACCEPT_ERP,),
) -> Choice:
    """Store the disagreement, unless it is on record already, and say what is done about it.

    `able` is what the caller can carry out by itself. A policy that chooses anything else leaves it to people.
    """
    wanted = desk.policy.choice(problem.kind)
    choice = wanted if wanted in able else Choice.HOLD
    record = problem.invoice
    identity = short_digest((
        "conflict/1", desk.system, problem.kind, intent.id if intent else None, command.key if command else None,
        command.revision if command else None, record.key if record else None, record.version if record else None,
        problem.occasion,
    ))  # fmt: skip
    if desk.conflict(identity) is not None:
        return choice
    allocation = (
        next((a for a in intent.intent.parts if record and _names(a.invoice, record)), None) if intent else None
    )
    desk.put_conflict(
        ConflictRecord(
            id=identity,
            kind=problem.kind,
            state="detected",
            sentence=problem.sentence,
            rule=problem.rule,
            default_choice=str(wanted),
            detected_at=at,
            intent=intent.id if intent else None,
            command=command.key if command else None,
            document=f"invoice/{record.key}" if record else None,
            customer=record.doc.customer if record else (intent.intent.customer if intent else None),
            amount=problem.amount if problem.amount is not None else (allocation.taken_off if allocation else None),
            currency=record.doc.currency if record else _currency(intent),
            base={"basis": allocation.basis} if allocation else {},
            ar=_ar_side(intent, allocation),
            erp=erp_side(record.doc, record.version) if record else {},
            fields=problem.fields,
            tags=tags,
        )
    )
    desk.say(Raised(identity, str(problem.kind), problem.rule, problem.sentence, str(choice)))
    if choice is Choice.HOLD:
        desk.move_conflict(identity, "hold")
    else:
        why = f"policy for {problem.kind}"
        desk.move_conflict(identity, "choose", choice=str(choice), chosen_by="policy", why=why)
        desk.move_conflict(identity, "apply")
    return choice


def erp_side(doc: Invoice, version: str) -> dict[str, Any]:
    """The ERP's word on an invoice, as a conflict keeps it."""
    return plain({
        "number": doc.number, "customer": doc.customer, "state": doc.erp_state, "phase": doc.phase,
        "total_amount": doc.total_amount, "open_amount": doc.open_amount, "currency": doc.currency,
        "due": ", ".join(str(day) for day, _ in doc.due) or None, "content_version": version,
    })  # fmt: skip


def _ar_side(intent: IntentRecord | None, allocation: Any) -> dict[str, Any]:
    if intent is None:
        return {}
    asked = intent.intent
    amount = allocation.taken_off if allocation else (asked.money or (None,))[0]
    further = ("date", "reference", "reason_code", "dispute", "memo", "receipt", "item", "limit", "replaces")
    said = {name: getattr(asked, name) for name in further if getattr(asked, name, None) is not None}
    return plain({
        "intent": asked.id, "customer": asked.customer, "amount": amount, "currency": _currency(intent), **said,
    })  # fmt: skip


def _currency(intent: IntentRecord | None) -> str | None:
    if intent is None:
        return None
    return intent.intent.money[1] if intent.intent.money else getattr(intent.intent, "currency", None)


def _names(name: str, record: InvoiceRecord) -> bool:
    return name in (record.key, record.doc.number)
