"""Judges a world by its histories: is the ERP's word kept, and was everything done that was asked, once?

`judge` is what `__main__` and the tests call. It reads what the ERP did, what the AR side asked and what arsync
reported, and knows nothing of how arsync decides.
"""

from collections import Counter
from decimal import Decimal
from typing import Any

from engine.model import intents as asked
from engine.model.intents import Intent
from engine.store.journal import verify_chain
from tests.simulation.books import ZERO, Facts
from tests.simulation.causes import judge_conflicts
from tests.simulation.disagreements import judge_missed
from tests.simulation.evidence import ENDED, Evidence
from tests.simulation.verdict import Verdict
from tests.simulation.world import World

_STATES = {
    "open": ("open", "matched", "disputed"),
    "cleared": ("cleared",),
    "final": ("posted",),
    "void": ("cleared",),
    "draft": ("new", "cleared"),
}
_CLASS_OF = {
    "erp_opened": "open", "erp_reopened": "open", "erp_reopened_matched": "open", "erp_reopened_disputed": "open",
    "erp_cleared": "cleared", "erp_posted": "final", "erp_voided": "void",
}  # fmt: skip


def judge(world: World) -> Verdict:
    """Everything that can be said against arsync after a world's end."""
    evidence, verdict = Evidence(world), Verdict()
    _judge_mirror(evidence, verdict)
    for invoice in sorted(evidence.books.history, key=int):
        _judge_invoice(evidence, verdict, invoice)
        _judge_life(evidence, verdict, invoice)
    _judge_customers(evidence, verdict)
    for name in evidence.asked:
        _judge_intent(evidence, verdict, name)
    _judge_credits(evidence, verdict)
    _judge_receipts(evidence, verdict)
    for invoice in sorted(evidence.invoices, key=int):
        _judge_block(evidence, verdict, invoice)
    judge_conflicts(evidence, verdict)
    judge_missed(evidence, verdict)
    _judge_journal(evidence, verdict)
    for wrong in world.ar.wrongs:
        verdict.lost.append((wrong, None, None))
    return verdict


# The ERP's word.


def _judge_mirror(evidence: Evidence, verdict: Verdict) -> None:
    """Invariant 1: the mirror equals the ERP's rows."""
    world = evidence.world
    rows = world.store.execute(
        "SELECT tbl, key, row FROM mirror WHERE system = %s AND NOT deleted", (world.system,)
    ).fetchall()
    mirrored: dict[tuple[str, str], Any] = {(str(table), str(key)): row for table, key, row in rows}
    for table, kept in world.books.db.tables.items():
        for key, row in kept.items():
            found = mirrored.pop((table, str(key)), None)
            if found != world.wire.encoded(row):
                bill = row.get("bill", key if table == "bill" else None)
                verdict.lost.append((f"the mirror's row {table}/{key} is {found}, the ERP's {row}",
                                     None if bill is None else str(bill), None))  # fmt: skip
    left = [f"{table}/{key}" for table, key in mirrored]
    if left:
        verdict.lost.append((f"the mirror still has rows that the ERP has deleted: {left}", None, None))


def _judge_invoice(evidence: Evidence, verdict: Verdict, invoice: str) -> None:
    facts, record = evidence.books.facts(int(invoice)), evidence.invoices.get(invoice)
    if record is None:
        if facts is not None:
            verdict.lost.append(("arsync does not know this invoice", invoice, None))
        return
    if facts is None:
        if not record["deleted"] or record["state"] not in ("cleared", "new"):
            verdict.lost.append((f"deleted in the ERP, {record['state']} in arsync", invoice, None))
        return
    told, mine = _reported(record), _own(facts)
    if told != mine:
        verdict.lost.append((f"arsync reports {told}, the ERP has {mine}", invoice, None))
    if record["state"] not in _STATES[facts.phase]:
        verdict.lost.append((f"{facts.phase} in the ERP, {record['state']} in arsync", invoice, None))
    if facts.phase == "void" and record["clearing"] != "void":
        verdict.lost.append(("void in the ERP, and arsync does not say so", invoice, None))


def _reported(record: dict[str, Any]) -> tuple[object, ...]:
    doc = record["doc"]
    sign = -1 if doc["type"] == "credit_memo" else 1
    lines = tuple((one["item"], Decimal(one["amount"]), one["text"]) for one in doc["applications"])
    return (doc["customer"], Decimal(doc["total_amount"]) * sign, Decimal(doc["open_amount"]) * sign, doc["phase"],
            doc["blocked"], lines)  # fmt: skip


def _own(facts: Facts) -> tuple[object, ...]:
    lines = tuple((line.item, line.amount, line.text) for line in facts.lines)
    return facts.customer, facts.total, facts.balance, facts.phase, facts.blocked, lines


def _judge_life(evidence: Evidence, verdict: Verdict, invoice: str) -> None:
    """Each step that the ERP took with an invoice is one step of its life, no more and no fewer."""
    expected: list[tuple[int, str]] = []
    state = "draft"
    for moment in evidence.visible(invoice):
        now = moment.facts.phase if moment.facts else "void" if state != "draft" else "draft"
        if now != state and not (now == "draft" and state == "void"):
            expected.append((moment.lsn, now))
            state = now
    rows = evidence.world.transitions().get(invoice, [])
    last = {int(commit): _CLASS_OF[trigger] for trigger, commit in rows if trigger in _CLASS_OF}
    taken = list(last.items())
    if taken != expected:
        kind = verdict.twice if len(taken) > len(expected) else verdict.lost
        kind.append((f"its life in arsync was {taken}, in the ERP {expected}", invoice, None))
    opened = Counter(trigger for trigger, _ in rows)["erp_opened"]
    if opened > 1:
        verdict.twice.append((f"opened {opened} times", invoice, None))


def _judge_customers(evidence: Evidence, verdict: Verdict) -> None:
    db = evidence.books.db
    owed: dict[int, Decimal] = dict.fromkeys(db.tables["partner"], ZERO)
    for table, sign in (("item", 1), ("settle", -1)):
        for row in db.tables[table].values():
            owed[row["partner"]] += sign * row["side"] * row["amount"]
    for partner, amount in owed.items():
        record = evidence.customers.get(str(partner))
        account = record["doc"]["accounts"][0] if record else {}
        limit = db.where("credit_limit", "partner", partner)[0]["amount"]
        told = account.get("credit_limit")
        same = Decimal(account.get("receivable", "NaN")) == amount
        if not same or (None if told is None else Decimal(told)) != limit:
            verdict.lost.append(
                (f"customer {partner} owes {amount}, limit {limit}; arsync says {account}", None, None)
            )


def _judge_journal(evidence: Evidence, verdict: Verdict) -> None:
    streams: dict[str, list[tuple[Any, ...]]] = {}
    for row in evidence.journal():
        streams.setdefault(row[0], []).append(row)
    for rows in streams.values():
        broken = verify_chain(rows)
        if broken is not None:
            verdict.lost.append((broken, None, None))


# What was asked for.


def _judge_intent(evidence: Evidence, verdict: Verdict, name: str) -> None:
    intent, record = evidence.asked[name].intent, evidence.intents.get(name)
    if record is None:
        verdict.lost.append(("arsync does not know this intent", None, name))
        return
    if record["state"] not in ENDED:
        verdict.lost.append((f"it never ended: it is {record['state']}", None, name))
    key = evidence.key(name)
    if [one for one in record["commands"] if one != key]:
        verdict.twice.append((f"its writes carry the keys {record['commands']}", None, name))
    for table in ("receipt", "bill", "entry"):
        if evidence.created(key, table) > 1:
            verdict.twice.append(
                (f"the ERP has {evidence.created(key, table)} new {table} rows under {key}", None, name)
            )
    if isinstance(intent, asked.ApplyPayment):
        promised = {invoice: part.taken_off for invoice, part in evidence.parts(intent).items()}
        for invoice, amount in evidence.applied_by_us(key).items():
            if amount > promised.get(invoice, ZERO):
                verdict.twice.append((f"{amount} were applied to invoice {invoice}", invoice, name))
    if record["state"] == "done" and not _ever_stood(evidence, intent, key):
        verdict.lost.append(("it is done, and the ERP never showed it", None, name))
    if record["state"] == "held" and stands_whole(evidence, intent, key):
        told = {one["kind"] for one in evidence.conflicts if one["intent"] == name}
        if not told & {"echo_mismatch", "late_effect", "erp_reversed"}:
            verdict.lost.append((f"the ERP has done all of it, and it is held for {sorted(told)}", None, name))


def _judge_credits(evidence: Evidence, verdict: Verdict) -> None:
    """No more is credited about an invoice than it ever came to."""
    credited: dict[str, Decimal] = {}
    for name, one in evidence.asked.items():
        intent = one.intent
        if isinstance(intent, asked.IssueMemo) and intent.memo == "credit":
            for invoice in evidence.parts(intent) if evidence.created(evidence.key(name), "bill") else ():
                credited[invoice] = credited.get(invoice, ZERO) + intent.amount
    for invoice, amount in credited.items():
        most = max((m.facts.total for m in evidence.books.history.get(invoice, []) if m.facts), default=ZERO)
        if amount > most:
            verdict.twice.append((f"{amount} were credited, of {most}", invoice, None))


def _judge_receipts(evidence: Evidence, verdict: Verdict) -> None:
    """Each receipt that is said to be applied is another item on the invoice."""
    done: dict[tuple[str, str, Decimal], list[str]] = {}
    items: dict[tuple[str, str, Decimal], set[str]] = {}
    for name, one in evidence.asked.items():
        intent = one.intent
        if isinstance(intent, asked.ApplyReceipt) and evidence.intents[name]["state"] == "done":
            (invoice,) = evidence.parts(intent)
            which = (invoice, intent.receipt, intent.amount)
            done.setdefault(which, []).append(name)
            items.setdefault(which, set()).update(_items_since(evidence, intent))
    for which, names in done.items():
        if len(items[which]) < len(names):
            verdict.lost.append(
                (f"{names} are done, and only {sorted(items[which])} were applied", which[0], names[-1])
            )


def _items_since(evidence: Evidence, intent: asked.ApplyReceipt) -> set[str]:
    """The items of a receipt and of its amount that came to an invoice after its author had looked at it."""
    ((invoice, position),) = evidence.asked[intent.id].positions.items()
    base = evidence.facts_at(invoice, position or 0)
    before = {line.item for line in base.lines} if base else set()
    return {
        line.item
        for moment in evidence.books.history.get(invoice, []) if moment.facts for line in moment.facts.lines
        if line.text == intent.receipt and line.amount == intent.amount and line.item not in before
    }  # fmt: skip


def _judge_block(evidence: Evidence, verdict: Verdict, invoice: str) -> None:
    """What was held back last by arsync is held back as long as a dispute asks for it, and no longer."""
    intents = {name: one.intent for name, one in evidence.asked.items() if invoice in evidence.parts(one.intent)}
    kinds = (asked.RaiseDispute, asked.RejectDispute, asked.IssueMemo)
    about = [name for name, intent in intents.items() if isinstance(intent, kinds)]
    moments = evidence.books.history.get(invoice, [])
    changes = [
        now for before, now in zip([None, *moments], moments, strict=False)
        if now.facts and now.facts.blocked != bool(before and before.facts and before.facts.blocked)
    ]  # fmt: skip
    if not changes or changes[-1].key is None or any(evidence.intents[name]["state"] != "done" for name in about):
        return  # people have the last word; what was not carried out is theirs too
    facts = moments[-1].facts
    if facts is None or facts.phase != "open":
        return
    holding = [d["id"] for d in evidence.invoices[invoice]["disputes"]
               if d["holds"] and d["state"] in ("raised", "approved")]  # fmt: skip
    if facts.blocked != bool(holding):
        held = "held back" if facts.blocked else "free"
        verdict.lost.append((f"it is {held} by arsync, and disputes {holding} ask for it", invoice, None))


def stands_whole(evidence: Evidence, intent: Intent, key: str) -> bool:
    """Whether a payment stands in the ERP at the end, as it was asked and posted."""
    if not isinstance(intent, asked.ApplyPayment):
        return False
    for invoice, part in evidence.parts(intent).items():
        facts = evidence.books.facts(int(invoice)) if invoice in evidence.books.history else None
        lines = [line for line in facts.lines if line.text == key] if facts else []
        if sum((line.amount for line in lines), ZERO) != part.taken_off or not all(line.final for line in lines):
            return False
    return True


def _ever_stood(evidence: Evidence, intent: Intent, key: str) -> bool:
    """Whether the ERP's history has what an intent asked for."""
    match intent:
        case asked.ApplyPayment():
            return all(
                any(m.facts and m.facts.shown(key) == part.taken_off for m in evidence.books.history.get(invoice, []))
                for invoice, part in evidence.parts(intent).items()
            )
        case asked.IssueMemo():
            return evidence.created(key, "bill") == 1
        case asked.PostEntry():
            return evidence.created(key, "entry") == 1
        case asked.SetCreditLimit():
            known = evidence.known(evidence.asked[intent.id].at)
            limits = evidence.books.limits[intent.customer]
            then = [limit for lsn, limit in limits if lsn <= known][-1:]
            return intent.limit in [*then, *(limit for lsn, limit in limits if lsn > known)]
        case asked.ReleaseOrder():
            mine = {row["id"] for row in evidence.books.orders(intent.customer, intent.order)}
            return any(
                change.table == "sorder" and change.row["id"] in mine and not change.row["held"]
                for commit in evidence.books.db.log for change in commit.changes
            )  # fmt: skip
        case asked.ApplyReceipt():
            return bool(_items_since(evidence, intent))
        case asked.ReverseApplication():
            (invoice,) = evidence.parts(intent)
            facts = evidence.books.history[invoice][-1].facts
            return facts is None or all(line.item != intent.item for line in facts.lines)
    return True
