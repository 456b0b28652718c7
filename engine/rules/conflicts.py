"""Raises conflicts: once each, explained in one sentence, with the policy's choice carried out at once.

The same disagreement that is still open is not raised again: what is on record learns the ERP's latest word.
"""

import datetime as dt
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import msgspec

from engine.model.canonical import short_digest
from engine.model.commands import SetCreditLimit as LimitWrite
from engine.model.events import Raised
from engine.model.intents import Allocation, SetCreditLimit
from engine.model.records import CommandRecord, ConflictKind, ConflictRecord, IntentRecord, InvoiceRecord
from engine.rules.desk import Desk, plain
from engine.rules.facts import erp_side, facts_at
from engine.rules.naming import invoices_of
from engine.rules.policy import Choice

_EACH_TIME = (ConflictKind.ERP_REVERSED,)
"""What happened is told each time that it happens: it is another amount, and the earlier one is gone all the same."""
_PRECEDENCE = {kind: place for place, kind in enumerate(ConflictKind)}


class Problem(msgspec.Struct, frozen=True):
    """Why an allocation cannot be written as asked, or what the ERP did to it since.

    `occasion` tells apart what happens more than once to the same version of a document. `subject` is the document,
    as `kind/key`, of a problem that is about no invoice.
    """

    kind: ConflictKind
    rule: str
    sentence: str
    invoice: InvoiceRecord | None = None
    fields: tuple[str, ...] = ()
    amount: Decimal | None = None
    occasion: int = 0
    subject: str | None = None
    erp: dict[str, Any] = {}
    ar: dict[str, Any] = {}


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
    made = _conflict(desk, problem, at, intent, command, tags)
    while (known := desk.conflict(made.id)) is not None and not known.open and known.chosen_by != "policy":
        # It was settled, and has come up again since.
        problem = msgspec.structs.replace(problem, occasion=problem.occasion + 1)
        made = _conflict(desk, problem, at, intent, command, tags)
    wanted = Choice(made.default_choice)
    choice = wanted if wanted in able else Choice.HOLD
    if known is not None:
        return Choice.HOLD if known.open else choice
    same = None if problem.kind in _EACH_TIME else _still_open(desk, made)
    if same is not None:
        _refresh(desk, same, made)
        return Choice.HOLD
    desk.put_conflict(made)
    desk.say(Raised(made.id, str(problem.kind), problem.rule, problem.sentence, str(choice)))
    if choice is Choice.HOLD:
        desk.move_conflict(made.id, "hold")
    else:
        why = f"policy for {problem.kind}"
        desk.move_conflict(made.id, "choose", choice=str(choice), chosen_by="policy", why=why, chosen_at=at)
        desk.move_conflict(made.id, "apply", ended_at=at)
    return choice


def open_conflicts(desk: Desk) -> list[ConflictRecord]:
    """Every conflict at hand about which something can still be chosen, by id."""
    if not desk.view.conflicts and not desk.out.conflicts:
        return []
    known = (desk.conflict(name) for name in sorted({*desk.view.conflicts, *desk.out.conflicts}))
    return [conflict for conflict in known if conflict is not None and conflict.open]


def dismiss(desk: Desk, conflicts: Iterable[ConflictRecord], why: str, at: dt.datetime) -> None:
    """Close conflicts that the ERP's later word, or another choice, has made moot."""
    for conflict in conflicts:
        desk.move_conflict(conflict.id, "dismiss", why, why=why, ended_at=at)


def _still_open(desk: Desk, made: ConflictRecord) -> ConflictRecord | None:
    same = (made.kind, made.intent, made.command, made.document)
    return next((c for c in open_conflicts(desk) if (c.kind, c.intent, c.command, c.document) == same), None)


def _refresh(desk: Desk, known: ConflictRecord, made: ConflictRecord) -> None:
    """It was told before: only the ERP's side is newer."""
    tags = tuple(dict.fromkeys((*known.tags, *made.tags)))
    fields = tuple(dict.fromkeys((*known.fields, *made.fields)))
    newer = msgspec.structs.replace(
        known, sentence=made.sentence, rule=made.rule, amount=made.amount, erp=made.erp, told=made.told,
        fields=fields, tags=tags,
    )  # fmt: skip
    if newer != known:
        desk.put_conflict(newer)


def _conflict(
    desk: Desk,
    problem: Problem,
    at: dt.datetime,
    intent: IntentRecord | None,
    command: CommandRecord | None,
    tags: tuple[str, ...],
) -> ConflictRecord:
    record = problem.invoice
    identity = short_digest((
        "conflict/1", desk.system, problem.kind, intent.id if intent else None, command.key if command else None,
        command.revision if command else None, record.key if record else problem.subject,
        record.version if record else None, problem.occasion,
    ))  # fmt: skip
    allocation = _allocation(intent, record)
    amount = problem.amount if problem.amount is not None else (allocation.taken_off if allocation else None)
    base = _base_side(intent, command, record, allocation)
    erp = problem.erp or (erp_side(record) if record else _customer_side(desk, intent))
    company = record.doc.company if record else _company(intent, command)
    currency = record.doc.currency if record else _currency(intent)
    return ConflictRecord(
        id=identity,
        kind=problem.kind,
        state="detected",
        sentence=problem.sentence,
        rule=problem.rule,
        default_choice=str(desk.policy.choice(problem.kind, company=company, amount=amount, currency=currency)),
        detected_at=at,
        intent=intent.id if intent else None,
        command=command.key if command else None,
        document=f"invoice/{record.key}" if record else problem.subject,
        customer=record.doc.customer if record else (intent.intent.customer if intent else None),
        company=company,
        amount=amount,
        currency=currency,
        base=base,
        ar=problem.ar or _ar_side(intent, allocation),
        erp=erp,
        told=record.told if record else None,
        fields=_differing(problem, base, erp),
        tags=tags,
        documents=_documents(desk, problem, intent, command),
        commands=_commands(problem, intent, command),
    )


def _allocation(intent: IntentRecord | None, record: InvoiceRecord | None) -> Allocation | None:
    if intent is None or record is None:
        return None
    parts = intent.intent.parts
    pinned = [part for key, part in zip(intent.invoices, parts, strict=False) if key == record.key]
    named = [part for part in parts if part.invoice in (record.key, record.doc.number)]
    return next(iter(pinned or named), None)


def _base_side(
    intent: IntentRecord | None,
    command: CommandRecord | None,
    record: InvoiceRecord | None,
    allocation: Allocation | None,
) -> dict[str, Any]:
    """What the decision rested on: the version that it named, with the facts of that version where they are known."""
    if intent is not None and isinstance(intent.intent, SetCreditLimit):
        replaces = command.write.replaces if command and isinstance(command.write, LimitWrite) else None
        return plain({"credit_limit": replaces if command else intent.intent.replaces})
    if record is None:
        return {}
    decided = [a.version for a in command.write.allocations if a.invoice == record.key] if command else []
    version = decided[0] if decided else (allocation.basis if allocation else None)
    return facts_at(record, version) if version is not None else {}


def _customer_side(desk: Desk, intent: IntentRecord | None) -> dict[str, Any]:
    if intent is None or not isinstance(intent.intent, SetCreditLimit):
        return {}
    asked = intent.intent
    customer = desk.customer(asked.customer)
    account = next((a for a in customer.doc.accounts if a.company == asked.company), None) if customer else None
    return plain({"credit_limit": account.credit_limit, "receivable": account.receivable}) if account else {}


def _ar_side(intent: IntentRecord | None, allocation: Allocation | None) -> dict[str, Any]:
    if intent is None:
        return {}
    asked = intent.intent
    amount = allocation.taken_off if allocation else (asked.money or (None,))[0]
    further = ("date", "reference", "reason_code", "dispute", "memo", "receipt", "item", "limit", "replaces")
    said = {name: getattr(asked, name) for name in further if getattr(asked, name, None) is not None}
    return plain({
        "intent": asked.id, "customer": asked.customer, "amount": amount, "currency": _currency(intent), **said,
    })  # fmt: skip


def _differing(problem: Problem, base: dict[str, Any], erp: dict[str, Any]) -> tuple[str, ...]:
    """The fields that the rule names, then every further fact that is another one than it was."""
    other = [name for name in erp if name in base and base[name] != erp[name]]
    return tuple(dict.fromkeys((*problem.fields, *other)))


def _documents(
    desk: Desk, problem: Problem, intent: IntentRecord | None, command: CommandRecord | None
) -> tuple[str, ...]:
    """All that the ERP's later word about can make it moot: what it is about, and what else its intent names."""
    own = [f"invoice/{problem.invoice.key}"] if problem.invoice else []
    named = [f"invoice/{record.key}" for record in invoices_of(desk, intent)]
    named += [f"invoice/{key}" for key in intent.invoices] if intent else []
    promised = [f"invoice/{a.invoice}" for a in command.write.allocations] if command else []
    further = [problem.subject] if problem.subject else []
    return tuple(dict.fromkeys((*own, *further, *named, *promised)))


def _commands(problem: Problem, intent: IntentRecord | None, command: CommandRecord | None) -> tuple[str, ...]:
    own = [command.key] if command else []
    others = problem.invoice.under_way if problem.invoice else ()
    return tuple(dict.fromkeys((*own, *(intent.commands if intent else ()), *others)))


def _company(intent: IntentRecord | None, command: CommandRecord | None) -> str | None:
    if command is not None:
        return command.write.company
    return getattr(intent.intent, "company", None) if intent else None


def _currency(intent: IntentRecord | None) -> str | None:
    if intent is None:
        return None
    return intent.intent.money[1] if intent.intent.money else getattr(intent.intent, "currency", None)
