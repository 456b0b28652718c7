"""Looks in the histories for disagreements that arsync ought to have reported, and did not."""

from engine.model import intents as asked
from tests.simulation.books import ZERO, Facts, Moment
from tests.simulation.evidence import Evidence, Json
from tests.simulation.verdict import Verdict


def judge_missed(evidence: Evidence, verdict: Verdict) -> None:
    """Every disagreement that nobody was told of."""
    by_intent: dict[str, list[Json]] = {}
    for conflict in evidence.conflicts:
        by_intent.setdefault(str(conflict["intent"]), []).append(conflict)
    for name in evidence.asked:
        told = by_intent.get(name, [])
        _judge_end(evidence, verdict, name, told)
        _judge_blind_writes(evidence, verdict, name, told)
        _judge_reversals(evidence, verdict, name, told)
    _judge_double_booking(evidence, verdict, by_intent)
    _judge_zero(evidence, verdict)


def _judge_zero(evidence: Evidence, verdict: Verdict) -> None:
    """More was applied to an invoice than was open, and nobody was told."""
    told = [conflict["document"] for conflict in evidence.conflicts if conflict["rule"] == "erp.below_zero"]
    for invoice in evidence.books.history:
        crossed, before = 0, None
        for moment in evidence.visible(invoice):
            now = moment.facts.balance if moment.facts and moment.facts.phase != "draft" else None
            crossed += before is not None and now is not None and before >= 0 > now
            before = now if now is not None else before
        if crossed and f"invoice/{invoice}" not in told:
            verdict.missed.append((f"its balance fell below zero {crossed} times", invoice, None))


def _judge_end(evidence: Evidence, verdict: Verdict, name: str, told: list[Json]) -> None:
    """Who does not get what he asked for is told why; what comes all the same is told as well."""
    record, intent = evidence.intents.get(name), evidence.asked[name].intent
    if record is None or record["state"] not in ("refused", "held", "withdrawn"):
        return
    if not told and record["state"] != "withdrawn" and not isinstance(intent, asked.Withdraw):
        verdict.missed.append((f"it is {record['state']}, and no conflict says why", None, name))
    if isinstance(intent, asked.Withdraw):
        return
    effects = [commit for commit in evidence.effects[evidence.key(name)] if _moves_money(commit.changes)]
    if effects and record["state"] in ("refused", "withdrawn") and not told:
        verdict.missed.append((f"it is {record['state']}, and the ERP has done it", None, name))


def _moves_money(changes: object) -> bool:
    return any(change.table in ("settle", "bill", "entry") for change in changes)  # type: ignore[attr-defined]


def _judge_blind_writes(evidence: Evidence, verdict: Verdict, name: str, told: list[Json]) -> None:
    """Invariant 4: what was written on facts that had changed since the AR side saw them was reported before."""
    key, item = evidence.key(name), evidence.asked[name]
    effects = evidence.effects[key]
    if not effects:
        return
    written = _written_at(evidence, key)
    for invoice, since in item.positions.items():
        seen = [position for _, position in evidence.rebased_at[name] if position < effects[0].lsn]
        if since is None and not seen:
            verdict.missed.append(("it was written on a version that nobody ever told", invoice, name))
        elif _is_blind(evidence, name, invoice, max([*seen, since or 0]), written):
            verdict.missed.append((f"the ERP's facts had changed at {written}, and it was written", invoice, name))


def _is_blind(evidence: Evidence, name: str, invoice: str, since: int, written: int) -> bool:
    """The facts were others than at `since`, and others than those on which it was decided last."""
    if not evidence.still_drifted(invoice, since, written):
        return False
    decided = evidence.planned_at.get(name, since)
    as_decided = since < decided <= written and evidence.same_facts(invoice, decided, written)
    return not as_decided or evidence.still_drifted(invoice, since, decided)


def _written_at(evidence: Evidence, key: str) -> int:
    """The last position of the ERP's log of which the write knew: of the ERP's own check, or of the target's look."""
    first = evidence.effects[key][0]
    if evidence.world.stage.temper.compares:
        return first.lsn - 1
    looks = [c.compared for c in evidence.calls if c.key == key and c.at <= first.at and c.compared is not None]
    started = [c.compared for c in evidence.calls if c.key == key and c.compared is not None]
    return (looks or started or [first.lsn - 1])[-1]


def _judge_reversals(evidence: Evidence, verdict: Verdict, name: str, told: list[Json]) -> None:
    """Each time that the ERP takes back what it had shown in full, one conflict says so."""
    key = evidence.key(name)
    if key not in evidence.confirmed or not isinstance(evidence.asked[name].intent, asked.ApplyPayment):
        return
    for invoice in _invoices_of(evidence, key):
        times, before = 0, None
        for moment in evidence.visible(invoice):
            shown = moment.facts.shown(key) if moment.facts else ZERO
            less = before is not None and shown < before.shown(key)
            by_us = moment.key is not None and not evidence.given_up(moment.key, moment.lsn)
            if less and moment.lsn > evidence.confirmed[key] and not by_us:
                times += not _asked_for(evidence, before, moment)
            before = moment.facts
        said = [c for c in told if c["kind"] == "erp_reversed" and c["document"] == f"invoice/{invoice}"]
        if len(said) != times:
            where = verdict.missed if len(said) < times else verdict.false
            where.append((f"taken back {times} times, told {len(said)} times", invoice, name))


def _asked_for(evidence: Evidence, before: Facts | None, moment: Moment) -> bool:
    """What is gone is what the AR side itself had asked to be taken off before it was told; somebody was quicker."""
    left = {line.item for line in moment.facts.lines} if moment.facts else set()
    gone = {line.item for line in before.lines} - left if before else set()
    return any(
        isinstance(item.intent, asked.ReverseApplication)
        and item.intent.item in gone
        and evidence.known(item.at) < moment.lsn
        and not evidence.given_up(evidence.key(item.intent.id), moment.lsn)
        for item in evidence.asked.values()
    )


def _invoices_of(evidence: Evidence, key: str) -> list[str]:
    found: dict[str, None] = {}
    for invoice, moments in evidence.books.history.items():
        if any(moment.facts and moment.facts.shown(key) for moment in moments):
            found[invoice] = None
    return list(found)


def _judge_double_booking(evidence: Evidence, verdict: Verdict, by_intent: dict[str, list[Json]]) -> None:
    """A receipt that somebody had booked by hand was written again."""
    for name, invoice, position, text in evidence.world.people.by_hand:
        key = evidence.key(name)
        effects = [c for c in evidence.effects[key] if any(change.table == "settle" for change in c.changes)]
        if not effects or (written := _written_at(evidence, key)) < position:
            continue
        facts = evidence.facts_at(str(invoice), written)
        if facts is None or all(line.text != text for line in facts.lines):
            continue  # it had been taken back
        kinds = {conflict["kind"] for conflict in by_intent.get(name, [])}
        if not kinds & {"duplicate_receipt", "stale_basis"}:
            verdict.missed.append((f"booked by hand at {position}, written all the same", str(invoice), name))
