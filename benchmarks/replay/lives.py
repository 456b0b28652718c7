"""Lives of invoices as a journal tells them: real entries, decided by the real rules, written without a database.

Each life is one customer with three invoices: opened, changed, paid by one receipt over all of them, sent, answered,
echoed, posted. Some are paid too much (a conflict, and a person's choice), some answers are lost and looked up. The
tests that tamper with a journal write a short one with it, the benchmark a long one.
"""

import datetime as dt
import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec

from engine.flow.telling import documents_written, in_order
from engine.model.canonical import to_plain
from engine.model.commands import Found, Outcome, OutcomeKind, command_key
from engine.model.documents import Application, CreditAccount, Customer, Invoice, InvoiceType, Phase
from engine.model.events import (
    ChoiceMade,
    DocumentsTold,
    Event,
    IntentSubmitted,
    KeyLookedUp,
    OutcomeReceived,
    Timer,
    TimerFired,
    Told,
)
from engine.model.intents import Allocation, ApplyPayment
from engine.model.records import ConflictKind
from engine.rules.decide import RULES_VERSION, decide
from engine.rules.desk import View
from engine.rules.leaving import left_different
from engine.rules.policy import Choice, Policy
from engine.store.journal import Chain, Entry, Row, Settings

SYSTEM = "bench"
"""The system of the benchmark's journal."""

BEGAN = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
POLICY = Policy(choices={ConflictKind.OVER_APPLICATION: Choice.HOLD})
_STREAMS: dict[type, tuple[str, str]] = {
    IntentSubmitted: ("intent", "intents"),
    OutcomeReceived: ("outcome", "outcomes"),
    KeyLookedUp: ("erp_read", "outcomes"),
    TimerFired: ("timer", "outcomes"),
    ChoiceMade: ("choice", "operators"),
}


class Writer:
    """Writes entries behind each other as units of work do; `rows` are those not taken yet."""

    def __init__(self, system: str, every: dt.timedelta = dt.timedelta(seconds=2)) -> None:
        self.system = system
        self.heads: dict[str, tuple[int, str]] = {}
        self.batch = 0
        self.now = BEGAN
        self._every = every
        settings = Settings("none", 1, RULES_VERSION, to_plain(POLICY))
        self._versions = settings.digest
        self.rows: list[Row] = []
        self.write(Entry(f"{system}/config", "config", self.now, {"settings": settings}))

    def write(self, entry: Entry) -> None:
        """One unit of work with one entry."""
        self.batch += 1
        self.now += self._every
        chain = Chain(self.system, self.batch, self.heads, self._versions)
        chain.add(entry)
        self.rows += chain.rows

    def decide(self, view: View, event: Event) -> None:
        """Decide on an event and write it down."""
        decision = decide(view, event, POLICY, self.system)
        after = left_different(view, decision)
        if isinstance(event, DocumentsTold):
            told = {"tx": event.tx, "commit": event.commit, "documents": documents_written(event, view)}
            entry = Entry(f"{self.system}/changes", "change", event.at, told, decision.seen, decision.effects, after)
        else:
            kind, stream = _STREAMS[type(event)]
            entry = Entry(f"{self.system}/{stream}", kind, event.at, event, decision.seen, decision.effects, after)
        self.write(entry)
        view.absorb(decision)


class Life:
    """One customer's invoices; `steps` writes one entry each time it is asked for the next."""

    def __init__(self, writer: Writer, number: int, rng: random.Random) -> None:
        self._writer = writer
        self._view = View()
        self._rng = rng
        self._customer = str(number)
        self._keys = [str(number * 3 + place) for place in range(3)]
        self._docs: dict[str, Invoice] = {}
        self._tokens = dict.fromkeys(self._keys, 0)

    def steps(self) -> Iterator[None]:
        """From the first invoice to the last posting."""
        for key in self._keys:
            self._tell(key, opened=True)
            yield
        for key in self._keys:
            doc = self._docs[key]
            self._docs[key] = msgspec.structs.replace(doc, reference=f"PO {self._rng.randrange(10**6)}")
            self._tell(key)
            yield
        if self._rng.random() < 0.1:
            yield from self._too_much()
        yield from self._paid()

    def _tell(self, *keys: str, opened: bool = False) -> None:
        for key in keys:
            if opened:
                self._docs[key] = self._opened(key)
            self._tokens[key] += 1
        owed = sum((doc.open_amount for doc in self._docs.values()), Decimal("0.00"))
        customer = Customer(self._customer, active=True, accounts=(CreditAccount("1", "EUR", owed, None),),
                            personal=f"customer/{self._customer}#1")  # fmt: skip
        invoices = tuple(Told(k, self._docs[k], {f"account.invoice,{k}": f"{self._tokens[k]}.000000"}) for k in keys)
        known = self._view.customers.get(self._customer)
        changed = () if known is not None and known.doc == customer else (Told(self._customer, customer, {}),)
        at, commit = self._writer.now, self._writer.batch * 64
        event = DocumentsTold(str(self._writer.batch), at, invoices, changed, commit=commit)
        self._writer.decide(self._view, in_order(event))

    def _opened(self, key: str) -> Invoice:
        amount = Decimal(self._rng.randrange(1000, 1000000)) / 100
        day = self._writer.now.date()
        return Invoice(key, "1", InvoiceType.INVOICE, f"INV{key}", self._customer, "EUR", amount, amount, Phase.OPEN,
                       "posted", day, ((day + dt.timedelta(days=30), amount),), "30 days")  # fmt: skip

    def _intent(self, name: str, factor: int = 1) -> ApplyPayment:
        parts = tuple(
            Allocation(k, self._docs[k].open_amount * factor, self._view.invoices[k].version) for k in self._keys
        )
        total = sum((part.amount for part in parts), Decimal("0.00"))
        return ApplyPayment(
            id=name,
            system=self._writer.system,
            customer=self._customer,
            currency="EUR",
            amount=total,
            date=self._writer.now.date(),
            allocations=parts,
            reference=f"Bank {name}",
        )

    def _too_much(self) -> Iterator[None]:
        self._play(IntentSubmitted(self._intent(f"much-{self._customer}", 2), self._writer.now))
        yield
        for name in [c.id for c in self._view.conflicts.values() if c.open]:
            self._play(ChoiceMade(name, str(Choice.ACCEPT_ERP), "an analyst", "paid twice", self._writer.now))
            yield

    def _paid(self) -> Iterator[None]:
        name = f"rcpt-{self._customer}"
        key = command_key(self._writer.system, name, 0)
        self._play(IntentSubmitted(self._intent(name), self._writer.now))
        yield
        self._play(TimerFired(Timer.SEND, key, self._writer.now))
        yield
        lost = self._rng.random() < 0.05
        kind = OutcomeKind.UNKNOWN if lost else OutcomeKind.ACCEPTED
        outcome = Outcome(kind, "", None if lost else f"M{self._customer}")
        self._play(OutcomeReceived(key, self._view.commands[key].fence, outcome, self._writer.now))
        yield
        if lost:
            found = Found(f"M{self._customer}")
            fence = self._view.commands[key].fence
            self._play(KeyLookedUp(key, fence, found, proves_absence=False, at=self._writer.now))
            yield
        for final in (False, True):
            for number, invoice in enumerate(self._keys):
                total, day = self._docs[invoice].total_amount, self._writer.now.date()
                line = Application(f"{invoice}{number}", total, key, day, final=final)
                self._docs[invoice] = msgspec.structs.replace(
                    self._docs[invoice], open_amount=Decimal("0.00"), due=(), applications=(line,),
                    phase=Phase.FINAL if final else Phase.CLEARED, erp_state="paid",
                )  # fmt: skip
            self._tell(*self._keys)
            yield

    def _play(self, event: Any) -> None:
        self._writer.decide(self._view, event)


def journal(writer: Writer, entries: int, seed: int = 1, abreast: int = 50) -> Iterator[list[Row]]:
    """Parts of a journal of so many entries, many lives abreast. The last life may be cut short."""
    rng, number = random.Random(seed), 0  # noqa: S311 - lives, no secrets
    alive: list[Iterator[None]] = []
    left = entries - 1
    while left > 0:
        while len(alive) < abreast:
            number += 1
            alive.append(Life(writer, number, rng).steps())
        place = rng.randrange(len(alive))
        if next(alive[place], 0) == 0:
            del alive[place]
            continue
        left -= 1
        if len(writer.rows) >= 20_000:
            yield writer.rows
            writer.rows = []
    yield writer.rows
    writer.rows = []
