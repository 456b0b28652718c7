"""Holds every conflict that arsync reported against the ERP's history: has it a true cause there?

One small check for each kind; a kind without a check has no cause that this world can give it.
"""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import NamedTuple

from engine.model import intents as asked
from engine.model.intents import Allocation, Intent
from tests.simulation.books import KEY_FORM, ZERO, Facts
from tests.simulation.evidence import Evidence, Json
from tests.simulation.settings import SETTLE
from tests.simulation.verdict import Verdict


class Case(NamedTuple):
    """A conflict with what was the case in the ERP when arsync decided on it."""

    evidence: Evidence
    conflict: Json
    intent: Intent
    key: str
    at: dt.datetime
    position: int
    invoice: str | None
    facts: Facts | None
    part: Allocation | None

    @property
    def rule(self) -> str:
        return str(self.conflict["rule"])

    @property
    def taken_off(self) -> Decimal:
        return self.part.taken_off if self.part else ZERO


def judge_conflicts(evidence: Evidence, verdict: Verdict) -> None:
    """Every conflict without a cause is a false one."""
    for conflict in evidence.conflicts:
        if conflict["rule"] == "erp.below_zero":
            _judge_below_zero(evidence, conflict, verdict)
            continue
        case = _case(evidence, conflict)
        if case is None:
            verdict.false.append((f"conflict {conflict['kind']} is about no intent", None, None))
            continue
        check = _CHECKS.get(conflict["kind"])
        if check is None or not check(case):
            sentence = f"{conflict['kind']} ({conflict['rule']}) at position {case.position}: {conflict['sentence']}"
            verdict.false.append((sentence, case.invoice, conflict["intent"]))


def _judge_below_zero(evidence: Evidence, conflict: Json, verdict: Verdict) -> None:
    """More was applied than was open; it may be about no intent of ours at all."""
    invoice = str(conflict["document"]).removeprefix("invoice/")
    facts = evidence.facts_at(invoice, evidence.raised_at.get(conflict["id"], 0))
    if facts is None or facts.balance >= 0:
        verdict.false.append((f"{conflict['kind']}: {conflict['sentence']}", invoice, conflict["intent"]))


def _case(evidence: Evidence, conflict: Json) -> Case | None:
    if conflict["intent"] not in evidence.asked:
        return None
    intent = evidence.asked[conflict["intent"]].intent
    at = dt.datetime.fromisoformat(conflict["detected_at"])
    position = evidence.raised_at.get(conflict["id"], 0)
    document = conflict["document"]
    invoice = document.removeprefix("invoice/") if document else None
    facts = evidence.facts_at(invoice, position) if invoice else None
    part = evidence.parts(intent).get(invoice) if invoice else None
    return Case(evidence, conflict, intent, evidence.key(intent.id), at, position, invoice, facts, part)


def _voided(case: Case) -> bool:
    return case.facts is None or case.facts.phase == "void"


def _wrong_customer(case: Case) -> bool:
    return case.facts is not None and case.facts.customer != case.intent.customer


def _booked_by_hand(case: Case) -> bool:
    intent, part = case.intent, case.part
    if case.facts is None or not isinstance(intent, asked.ApplyPayment) or part is None:
        return False
    return any(
        line.amount in (part.amount, part.taken_off)
        and not (line.text and KEY_FORM.fullmatch(line.text))
        and (line.day == intent.date or (intent.reference is not None and line.text == intent.reference))
        for line in case.facts.lines
    )


def _refused_as(reason: str) -> Callable[[Case], bool]:
    return lambda case: case.evidence.call(case.key, case.at, "rejected", reason=reason)


def _cleared(case: Case) -> bool:
    if case.rule.startswith("outcome."):
        return _refused_as("already_cleared")(case)
    return case.facts is not None and case.facts.phase in ("cleared", "final")


def _too_much(case: Case) -> bool:
    if case.rule.startswith("outcome."):
        return _refused_as("over_application")(case)
    if case.facts is None:
        return False
    if case.rule == "plan.memo_amount":
        return case.taken_off > case.facts.total - _credited(case)
    return case.taken_off > case.facts.balance


def _credited(case: Case) -> Decimal:
    """What other intents have had credited about the invoice, be it after they were refused, or are about to."""
    return sum(
        (
            other.intent.amount
            for name, other in case.evidence.asked.items()
            if isinstance(other.intent, asked.IssueMemo) and other.intent.memo == "credit" and other.at <= case.at
            if name != case.intent.id and case.invoice in case.evidence.parts(other.intent)
            if case.evidence.state_at(name, case.at) in ("planned", "done", "held")
            or any(commit.lsn <= case.position for commit in case.evidence.effects[case.evidence.key(name)])
        ),
        ZERO,
    )


def _claimed_by_others(case: Case) -> bool:
    """Other payments on their way, asked for before, leave too little."""
    evidence, invoice = case.evidence, case.invoice
    if case.facts is None or invoice is None:
        return False
    claimed = ZERO
    for name, other in evidence.asked.items():
        part = evidence.parts(other.intent).get(invoice)
        takes = isinstance(other.intent, asked.ApplyPayment | asked.ApplyReceipt)
        if name == case.intent.id or part is None or not takes or other.at > case.at:
            continue
        if evidence.state_at(name, case.at) in ("planned", "held"):
            claimed += max(part.taken_off - case.facts.shown(evidence.key(name)), ZERO)
    return case.taken_off > case.facts.balance - claimed


def _partly(case: Case) -> bool:
    refused = case.evidence.call(case.key, case.at, "rejected")
    begun = any(commit.lsn <= case.position or commit.at <= case.at for commit in case.evidence.effects[case.key])
    return begun and (refused or case.rule == "echo.overdue")


def _late(case: Case) -> bool:
    """It took effect, and before arsync saw it, it had been refused or given up."""
    effects = [commit for commit in case.evidence.effects[case.key] if commit.lsn <= case.position]
    ended = any(
        at <= case.at and state in ("refused", "withdrawn", "held")
        for at, state in case.evidence.ends[case.intent.id]
    )
    return bool(effects) and (ended or case.evidence.call(case.key, case.at, "rejected"))


def _contradicted(case: Case) -> bool:
    if case.facts is None:
        return False
    if case.facts.ref == case.key:  # the memo itself
        return (case.facts.total, case.facts.customer) != (getattr(case.intent, "amount", None), case.intent.customer)
    shown = case.facts.shown(case.key)
    done = shown > 0 or any(commit.lsn <= case.position for commit in case.evidence.effects[case.key])
    return shown > case.taken_off or (done and case.facts.customer != case.intent.customer)


def _missing(case: Case) -> bool:
    """The ERP said that it took it, and when the time for its effect was over, the effect did not stand there: not
    that arsync had not read it yet."""
    said = [c.at for c in case.evidence.calls if c.key == case.key and c.said in ("accepted", "found")]
    before = [at for at in said if at <= case.at - SETTLE]
    if not before:
        return False
    until = max(before) + SETTLE
    match case.intent:
        case asked.ApplyPayment():
            shown = {
                invoice: facts.shown(case.key) if (facts := case.evidence.facts_then(invoice, until)) else ZERO
                for invoice in case.evidence.parts(case.intent)
            }
            return any(
                shown[invoice] < part.taken_off for invoice, part in case.evidence.parts(case.intent).items()
            ) or not _posted(case)
        case asked.IssueMemo() | asked.PostEntry():
            done = [commit for commit in case.evidence.effects[case.key] if commit.at <= until]
            return not done or not _memo_whole(case)
        case asked.ApplyReceipt():
            done = [commit for commit in case.evidence.effects[case.key] if commit.at <= until]
            return not done or _settled_and_not_cleared(case, done[0].lsn, until)
        case asked.ReleaseOrder():
            done = [commit for commit in case.evidence.effects[case.key] if commit.at <= until]
            return not done or _held_again_unseen(case, done[0].lsn, case.intent)
        case _:
            return not any(commit.at <= until for commit in case.evidence.effects[case.key])


def _settled_and_not_cleared(case: Case, applied: int, until: dt.datetime) -> bool:
    """A receipt over all that is open is to clear the invoice as well: that nothing is left is not that yet."""
    facts = case.evidence.facts_at(case.invoice, applied) if case.invoice is not None else None
    if case.invoice is None or facts is None or facts.balance != ZERO:
        return False
    since = [
        moment for moment in case.evidence.moments(case.invoice, applied - 1, case.position) if moment.at <= until
    ]
    return all(moment.facts is not None and moment.facts.phase == "open" for moment in since)


def _held_again_unseen(case: Case, released: int, asked_for: asked.ReleaseOrder) -> bool:
    """The order was held again before the change stream told of its release: a snapshot told of what came after."""
    later = (
        change.row
        for commit in case.evidence.books.db.log
        for change in commit.changes
        if released < commit.lsn <= case.position and change.table == "sorder"
    )
    mine = {row["id"] for row in case.evidence.books.orders(asked_for.customer, asked_for.order)}
    held = any(row["held"] for row in later if row["id"] in mine)
    return held and not case.evidence.was_told(released)


def _posted(case: Case) -> bool:
    rows = case.evidence.books.db.where("receipt", "memo", case.key)
    return bool(rows) and all(row["posted"] for row in rows)


def _memo_whole(case: Case) -> bool:
    """The memo stands with all that it was to bring about."""
    rows = case.evidence.books.db.where("bill", "ref", case.key)
    return not isinstance(case.intent, asked.IssueMemo) or any(row["step"] == 2 for row in rows)


def _in_doubt(case: Case) -> bool:
    """An answer was lost: on its way, or with the process that waited for it."""
    died = any(at <= case.at for at, _ in case.evidence.world.crashes)
    return died or case.evidence.call(case.key, case.at, "unknown", "late")


def _rejected(case: Case) -> bool:
    return case.evidence.call(case.key, case.at, "rejected")


def _stale(case: Case) -> bool:
    """Somebody else changed a fact of the invoice after the AR side, or the last conflict about it, had seen it."""
    evidence, invoice = case.evidence, case.invoice
    if invoice is None:
        return False
    since = evidence.asked[case.intent.id].positions.get(invoice)
    rebased = evidence.rebased_at[case.intent.id]
    before = [position for at, position in rebased if (at, position) < (case.at, case.position)]
    if since is None and not before:
        return True  # the author named a version that nobody ever told
    return bool(evidence.drift(invoice, max([*before, since or 0]), case.position, refused_too=True))


def _reversed(case: Case) -> bool:
    """The ERP's people took money of ours off the invoice, or lowered or voided a memo of ours; or that was done for
    us, and the ERP had said that it was not."""
    if case.invoice is None:
        return False
    before = ZERO
    for moment in case.evidence.moments(case.invoice, 0, case.position):
        shown = moment.facts.shown(case.key) if moment.facts else ZERO
        if moment.facts and moment.facts.ref == case.key and moment.facts.phase != "void":
            shown = moment.facts.total
        if shown < before and (moment.key is None or case.evidence.given_up(moment.key, moment.lsn)):
            return True
        before = shown
    return False


def _limit_moved(case: Case) -> bool:
    if not isinstance(case.intent, asked.SetCreditLimit):
        return False
    evidence, customer = case.evidence, case.intent.customer
    limits = [limit for lsn, limit in evidence.books.limits[customer] if lsn <= case.position]
    on_its_way = any(
        isinstance(other.intent, asked.SetCreditLimit)
        and name != case.intent.id
        and (other.intent.customer, evidence.state_at(name, case.at)) in ((customer, "planned"), (customer, "held"))
        for name, other in evidence.asked.items()
    )
    return on_its_way or (bool(limits) and limits[-1] != case.intent.replaces)


def _unheard_of(case: Case) -> bool:
    names = case.evidence.parts(case.intent)
    if isinstance(case.intent, asked.SetCreditLimit):
        return True
    told = {name: case.evidence.visible(name) for name in names}
    return any(not moments or moments[0].lsn > case.position for moments in told.values())


def _precondition(case: Case) -> bool:
    evidence, intent, facts = case.evidence, case.intent, case.facts
    match case.rule:
        case "plan.draft":
            return facts is not None and facts.phase == "draft"
        case "plan.currency":
            return getattr(intent, "currency", "EUR") != "EUR"
        case "plan.dispute_amount":
            return facts is not None and case.taken_off > facts.total
        case "plan.no_application":
            item = getattr(intent, "item", None)
            amounts = [line.amount for line in facts.lines if line.item == item] if facts else []
            return amounts != [case.taken_off]
        case "plan.no_dispute":
            return evidence.state_at(str(getattr(intent, "dispute", "")), case.at) in (
                "received",
                "waiting",
                "refused",
                "held",
                "withdrawn",
            )
        case "plan.dispute_over" | "plan.dispute_approved":
            return _dispute_settled(case)
        case "plan.same_receipt":
            return _applied_by_others(case)
        case "plan.ambiguous":
            return any(_cannot_be_told(case, meant, part) for meant, part in evidence.parts(intent).items())
    return False


def _applied_by_others(case: Case) -> bool:
    """As much was on its way to the same invoice, under the receipt's name or under one that may be the same."""
    evidence = case.evidence
    return any(
        isinstance(other.intent, asked.ApplyReceipt | asked.ApplyPayment)
        and name != case.intent.id
        and case.invoice in (parts := evidence.parts(other.intent))
        and parts[case.invoice].taken_off == case.taken_off
        and evidence.state_at(name, case.at) in ("planned", "held")
        for name, other in evidence.asked.items()
    )


def _cannot_be_told(case: Case, meant: str, part: Allocation) -> bool:
    """Another invoice has the name, or may come to have it, and the basis is none that only the one that is meant
    has."""
    evidence = case.evidence
    others = {part.invoice, *map(str, evidence.books.numbered[part.invoice])}
    if others <= {meant} and not evidence.books.plain_numbers:
        return False
    since = evidence.asked[case.intent.id].positions[meant]
    if since is None or evidence.drift(meant, since, case.position, refused_too=True):
        return True
    mine = evidence.facts_at(meant, since)
    return any(_alike(mine, moment.facts) for other in others - {meant} for moment in evidence.visible(other))


def _alike(one: Facts | None, other: Facts | None) -> bool:
    """Whether two invoices have the same content version."""
    if one is None or other is None:
        return False
    names = ("phase", "customer", "total", "balance", "blocked", "schedule")
    return all(getattr(one, name) == getattr(other, name) for name in names)


def _dispute_settled(case: Case) -> bool:
    """It was withdrawn, or another intent about it was carried out, or is under way."""
    dispute = getattr(case.intent, "dispute", None)
    if dispute is not None and case.evidence.was(dispute, case.at, "withdrawn"):
        return True
    return any(
        getattr(other.intent, "dispute", None) == dispute
        and name != case.intent.id
        and case.evidence.was(name, case.at, "planned", "done", "held")
        for name, other in case.evidence.asked.items()
    )


_CHECKS: dict[str, Callable[[Case], bool]] = {
    "voided_target": _voided,
    "customer_mismatch": _wrong_customer,
    "duplicate_receipt": _booked_by_hand,
    "already_cleared": _cleared,
    "over_application": _too_much,
    "concurrent_claims": _claimed_by_others,
    "period_closed": _refused_as("period_closed"),
    "partly_done": _partly,
    "late_effect": _late,
    "echo_mismatch": _contradicted,
    "echo_missing": _missing,
    "outcome_unknown": _in_doubt,
    "erp_rejected": _rejected,
    "precondition_failed": _precondition,
    "stale_basis": _stale,
    "erp_reversed": _reversed,
    "credit_limit_race": _limit_moved,
    "unknown_document": _unheard_of,
}
