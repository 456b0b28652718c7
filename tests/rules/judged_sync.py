"""Drives the rules against the ERP model as pipeline, intake and dispatcher would, and judges every decision.

Whatever breaks a promise raises an AssertionError at the very decision that broke it.
"""

import dataclasses
import datetime as dt
from collections.abc import Iterable
from decimal import Decimal

import msgspec

from engine.model.commands import Outcome, OutcomeKind, PostPayment, command_key
from engine.model.documents import Phase
from engine.model.events import (
    DocumentsTold,
    Echoed,
    Event,
    IntentSubmitted,
    KeyLookedUp,
    Moved,
    OutcomeReceived,
    Planned,
    Raised,
    Refused,
    Timer,
    TimerFired,
    Told,
)
from engine.model.intents import Allocation, ApplyPayment
from engine.model.records import CommandRecord, ConflictKind, InvoiceRecord
from engine.rules.decide import decide
from engine.rules.desk import Decision, View
from engine.rules.policy import Choice, Policy
from tests.rules.erp_model import Bill, Erp

START = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
SETTLED = ("cleared", "posted")
IN_FLIGHT = ("pending", "sent", "accepted", "part_done", "stale", "unknown", "held", "overdue")
STATES_OF: dict[Phase, set[tuple[str, str | None]]] = {
    Phase.OPEN: {("open", None), ("matched", None), ("disputed", None)},
    Phase.CLEARED: {("cleared", "applied")},
    Phase.FINAL: {("posted", "applied")},
    Phase.VOID: {("cleared", "void")},
    # A cancelled draft that is taken up again stays void until it is posted.
    Phase.DRAFT: {("new", None), ("cleared", "void")},
}


@dataclasses.dataclass(frozen=True)
class Version:
    """A content version as it was told; `ours` when it differs from the one before only by our own writes."""

    version: str
    ours: bool


@dataclasses.dataclass(frozen=True)
class Errand:
    """A claimed command on its way to the ERP."""

    key: str
    fence: int
    sends: int
    write: PostPayment
    guard: dict[str, str]


class Sync:
    """The engine with its outside made of values: an ERP model, a mailbox of answers, a clock that always runs."""

    def __init__(self, policy: Policy, *, bills: int = 4, total: str = "100.00") -> None:
        self.erp = Erp(bills, Decimal(total))
        self.policy = policy
        self.view = View({}, {}, {}, {}, {}, {})
        self.errands: list[Errand] = []
        self.mail: list[Event] = []
        self.asked: dict[str, ApplyPayment] = {}
        self.history: dict[str, list[Version]] = {}
        self._last: dict[str, Bill] = {}
        self._read = 0
        self._ticks = 0
        self.read()

    @property
    def now(self) -> dt.datetime:
        self._ticks += 1
        return START + dt.timedelta(seconds=self._ticks)

    # What comes in.

    def read(self, most: int = 1) -> None:
        """The change stream shows the next commits, one decision each."""
        for commit in self.erp.log[self._read : self._read + most]:
            self._read += 1
            self._tell(commit.bills)

    def snapshot(self) -> None:
        """All documents as they are now, in one page; what the stream had not shown yet is skipped."""
        self._read = len(self.erp.log)
        self._tell(dataclasses.replace(bill) for bill in self.erp.bills.values() if bill.exists)

    def repeat(self) -> None:
        """What is known is told again: nothing may follow."""
        effects = self._tell(list(self._last.values())).effects
        assert effects == [], effects

    def submit(self, name: str, parts: Iterable[tuple[str, Decimal, int]], *, customer: str, currency: str) -> None:
        """An intent on invoices (by key or number). The number says how many versions ago its author looked."""
        allocations = []
        for invoice, amount, ago in parts:
            told = [v.version for v in self.history.get(invoice.removeprefix("INV"), ())]
            unseen = dataclasses.replace(self.erp.bills[invoice.removeprefix("INV")], exists=True, draft=False)
            basis = told[max(0, len(told) - 1 - ago)] if told else unseen.doc().content_version()
            allocations.append(Allocation(invoice, amount, basis))
        total = sum((part.amount for part in allocations), Decimal(0))
        intent = ApplyPayment(
            id=name,
            system="erp",
            customer=customer,
            currency=currency,
            amount=total,
            date=START.date(),
            allocations=tuple(allocations),
        )
        before = self.asked.setdefault(name, intent)
        decision = self.play(IntentSubmitted(intent, self.now))
        assert before is intent or decision.effects == []

    # The dispatcher.

    def claim(self, key: str) -> None:
        """A worker takes a command; it has an errand only when the decision moved the command to `sent`."""
        before = self.view.commands[key].fence
        self.play(TimerFired(Timer.SEND, key, self.now))
        command = self.view.commands[key]
        if command.state == "sent" and command.fence != before:
            guard: dict[str, str] = {}
            for part in command.write.allocations:
                guard |= self.view.invoices[part.invoice].guard
            assert isinstance(command.write, PostPayment)
            self.errands.append(Errand(key, command.fence, command.sends, command.write, guard))

    def perform(self, errand: Errand, fault: str) -> None:
        """Talk to the ERP; what it says is mailed."""
        self.errands.remove(errand)
        found = self.erp.find(errand.key) if errand.sends > 1 else None
        if found is not None:
            outcome = Outcome(OutcomeKind.ACCEPTED) if found.complete else self.erp.resume(errand.key, errand.write)
        else:
            outcome = self.erp.write(errand.key, errand.write, errand.guard, fault)
        self.mail.append(OutcomeReceived(errand.key, errand.fence, outcome, self.now))

    def go_on(self, command: CommandRecord) -> None:
        """Look a command up, or bring its next step about."""
        found = self.erp.find(command.key)
        if command.state == "unknown":
            proof = found is None and self.erp.is_silent(command.key)
            self.mail.append(KeyLookedUp(command.key, command.fence, found, proves_absence=proof, at=self.now))
        elif command.state == "part_done":
            outcome = Outcome(OutcomeKind.ACCEPTED)
            if found is not None and not found.complete:
                assert isinstance(command.write, PostPayment)
                outcome = self.erp.resume(command.key, command.write)
            self.mail.append(OutcomeReceived(command.key, command.fence, outcome, self.now))

    def crash(self) -> None:
        """What was under way is forgotten: errands that did not leave, answers that were not committed."""
        self.errands.clear()
        self.mail.clear()

    def bring(self, place: int, *, keep: bool = False) -> None:
        """Commit an answer; with `keep` it will come once more."""
        event = self.mail[place % len(self.mail)]
        if not keep:
            self.mail.remove(event)
        self.play(event)

    def expire(self, key: str) -> None:
        """A lease runs out; its holder has long stopped sending by then."""
        if all(errand.key != key for errand in self.errands):
            self.play(TimerFired(Timer.LEASE_EXPIRED, key, self.now))

    def drain(self) -> None:
        """Everything comes to its end: the ERP carries out what it has, the stream catches up, all timers fire."""
        for _ in range(400):
            before = self.fingerprint()
            self._drain_once()
            if self.fingerprint() == before and not self.mail and not self.errands:
                return
        raise AssertionError(f"it does not come to rest: {[(c.key, c.state) for c in self.view.commands.values()]}")

    def fingerprint(self) -> object:
        states = {key: (c.state, c.revision, c.fence) for key, c in self.view.commands.items()}
        return states, {key: i.state for key, i in self.view.intents.items()}, self._read, len(self.mail)

    def _drain_once(self) -> None:
        self.erp.end_late(done=True)
        self.read(len(self.erp.log))
        while self.errands:
            self.perform(self.errands[0], "")
        while self.mail:
            self.bring(0)
        for key, command in sorted(self.view.commands.items()):
            if command.state in ("unknown", "part_done"):
                self.go_on(command)
            elif command.state == "sent":
                self.expire(key)
            elif command.state == "stale":
                self.play(TimerFired(Timer.RETRY_STALE, key, self.now))
            elif command.state == "pending":
                self.claim(key)
            elif command.state == "accepted" and self._read == len(self.erp.log):
                self.play(TimerFired(Timer.ECHO_OVERDUE, key, self.now))
            if self.errands or self.mail:
                return

    # Deciding and judging.

    def _tell(self, bills: Iterable[Bill]) -> Decision:
        told = sorted((bill for bill in bills if bill.exists), key=lambda bill: bill.key)
        for bill in told:
            self._note(bill)
        self.view.numbers |= {f"INV{bill.key}": (bill.key,) for bill in told if not bill.draft}
        docs = tuple(Told(bill.key, bill.doc(), bill.guard) for bill in told)
        return self.play(DocumentsTold("tx", self.now, docs))

    def _note(self, bill: Bill) -> None:
        old, versions = self._last.get(bill.key), self.history.setdefault(bill.key, [])
        version = bill.doc().content_version()
        if not versions or versions[-1].version != version:
            before, now = old.ours() if old else {}, bill.ours()
            moved = [key for key in {*before, *now} if before.get(key) != now.get(key)]
            as_promised = all(before.get(key, 0) < now.get(key, 0) <= self._promised(key, bill.key) for key in moved)
            ours = old is not None and old.facts() == bill.facts() and bool(moved) and as_promised
            versions.append(Version(version, ours))
        self._last[bill.key] = bill

    def _promised(self, key: str, invoice: str) -> Decimal:
        return self.view.commands[key].promised(invoice) or Decimal(0)

    def is_fresh(self, invoice: str, basis: str) -> bool:
        """Whether a version is the present one, or differs from it by our own writes alone."""
        for version in reversed(self.history[invoice]):
            if version.version == basis:
                return True
            if not version.ours:
                return False
        return False

    def play(self, event: Event) -> Decision:
        """Decide one event, judge the decision, and take it in."""
        before = self.view
        waiting = {key: c for key, c in before.commands.items() if c.state in ("pending", "stale")}
        decision = decide(before, event, self.policy, "erp")
        assert decision == decide(before, event, self.policy, "erp"), "the same input gave another decision"
        if not isinstance(event, DocumentsTold):
            self._no_fact_moved(decision)
        if isinstance(event, OutcomeReceived | KeyLookedUp) and event.fence != before.commands[event.command].fence:
            assert decision == Decision(), "an answer to a lease that is over changed something"
        self.view = View(**{name: dict(getattr(before, name)) for name in before.__struct_fields__})
        self.view.absorb(decision)
        self._judge_effects(decision)
        self._judge_reversals(before, decision)
        if isinstance(event, DocumentsTold):
            self._judge_conflicts(decision, waiting)
        for command in self.view.commands.values():
            if command.state in ("pending", "stale"):
                fresh = all(self.is_fresh(part.invoice, part.version) for part in command.write.allocations)
                assert fresh, f"{command.key} waits on facts that changed, and nobody is told"
        for record in self.view.invoices.values():
            self._judge_invoice(record)
        return decision

    def _no_fact_moved(self, decision: Decision) -> None:
        assert not decision.customers
        for key, record in decision.invoices.items():
            old = self.view.invoices[key]
            same = (record.doc, record.version, record.guard, record.deleted, record.ancestors)
            assert same == (old.doc, old.version, old.guard, old.deleted, old.ancestors), "the AR side moved a fact"

    def _judge_effects(self, decision: Decision) -> None:
        for effect in decision.effects:
            assert not isinstance(effect, Refused), f"a step that there is not: {effect}"
            if isinstance(effect, Moved) and effect.machine == "invoice" and not effect.trigger.startswith("erp_"):
                crosses = effect.source != effect.destination and {effect.source, effect.destination} & set(SETTLED)
                assert not crosses, effect
            elif isinstance(effect, Moved) and effect.machine == "command" and effect.trigger == "send":
                self._judge_write(self.view.commands[effect.subject])
            elif isinstance(effect, Moved) and effect.machine == "command" and effect.trigger == "confirm":
                self._judge_confirmed(effect, decision)
            elif isinstance(effect, Planned):
                self._judge_plan(effect)

    def _judge_write(self, command: CommandRecord) -> None:
        if command.state != "sent":
            return  # taken through `sent` on its way to be superseded: nothing leaves
        for part in command.write.allocations:
            assert self.is_fresh(part.invoice, part.version), f"{command.key} leaves on facts that changed"
        intent = self.asked[command.intent]
        assert [a.amount for a in intent.allocations] == [a.amount for a in command.write.allocations]
        assert (intent.customer, intent.currency) == (command.write.customer, command.write.currency)

    def _judge_reversals(self, before: View, decision: Decision) -> None:
        """Each time that the ERP takes confirmed money back, one conflict says so."""
        for effect in decision.effects:
            if isinstance(effect, Echoed) and effect.amount.startswith("-"):
                told = [
                    c for c in decision.conflicts.values()
                    if c.command == effect.command and c.kind is ConflictKind.ERP_REVERSED
                    and c.document == f"invoice/{effect.invoice}" and c.id not in before.conflicts
                ]  # fmt: skip
                was = before.commands[effect.command].state
                assert len(told) == (was == "confirmed"), f"{effect.amount} of a {was} command was taken back"

    def _judge_confirmed(self, moved: Moved, decision: Decision) -> None:
        command = self.view.commands[moved.subject]
        for part in command.write.allocations:
            shown = self._last[part.invoice].shown(command.key)
            assert shown == part.amount, f"{command.key} is confirmed, and {part.invoice} shows {shown}"
            assert self._last[part.invoice].is_final(command.key), f"{command.key} is confirmed and not posted"
        given_up = moved.source in ("rejected", "superseded") or self.view.intents[command.intent].state == "refused"
        told = [c.kind for c in decision.conflicts.values() if c.command == command.key]
        assert given_up == (ConflictKind.LATE_EFFECT in told), "a late effect is not told as one"

    def _judge_plan(self, planned: Planned) -> None:
        intent, command = self.asked[planned.intent], self.view.commands[planned.command]
        assert planned.command == command_key("erp", planned.intent, 0)
        paid = [part.invoice for part in command.write.allocations]
        assert len(set(paid)) == len(paid), f"{planned.intent} pays one invoice twice"
        rebases = self.policy.choice(ConflictKind.STALE_BASIS) is Choice.REBASE
        for asked, part in zip(intent.allocations, command.write.allocations, strict=True):
            record = self.view.invoices[part.invoice]
            assert rebases or self.is_fresh(part.invoice, asked.basis), (
                f"{planned.intent} was planned on a stale basis"
            )
            assert record.claimed() <= record.doc.balance, f"more is promised to {part.invoice} than is open"
            assert record.doc.phase is Phase.OPEN
            assert record.version == part.version

    def _judge_conflicts(self, decision: Decision, waiting: dict[str, CommandRecord]) -> None:
        """Facts changed: one conflict about each command that waited on them. Unchanged: none about the basis."""
        raised = [decision.conflicts[e.conflict] for e in decision.effects if isinstance(e, Raised)]
        confirmed = {
            e.subject for e in decision.effects if isinstance(e, Moved) and e.trigger in ("confirm", "mismatch")
        }
        for key, command in waiting.items():
            if key in confirmed:
                continue
            about = [conflict for conflict in raised if conflict.command == key]
            fresh = all(self.is_fresh(part.invoice, part.version) for part in command.write.allocations)
            gone_on = self.view.commands[key].revision > command.revision
            assert len(about) <= 1, [conflict.kind for conflict in about]
            if fresh:
                assert all(c.kind is not ConflictKind.STALE_BASIS for c in about), "a false conflict"
            else:
                assert len(about) == 1, "facts changed, and nobody is told"
                assert gone_on or self.view.commands[key].state == "superseded"

    def _judge_invoice(self, record: InvoiceRecord) -> None:
        told = self._last[record.key]
        assert (record.doc, record.guard) == (told.doc(), told.guard), "the mirror is not what was told"
        assert record.version == record.doc.content_version()
        assert (record.state, record.clearing) in STATES_OF[record.doc.phase], (record.state, record.doc.phase)
        assert record.state in (*SETTLED, "disputed", "matched" if record.matches else "open", "new")
        for match in record.matches:
            command = self.view.commands[match.command]
            assert command.state in IN_FLIGHT, f"a match of a command that is {command.state}"
            assert Decimal(0) < match.amount <= (command.promised(record.key) or Decimal(0))


def with_choices(**choices: Choice) -> Policy:
    """A policy that differs from the default in these kinds, and asks few times."""
    return msgspec.structs.replace(Policy(), choices={ConflictKind(kind): choice for kind, choice in choices.items()})
