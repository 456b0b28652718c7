"""Plays events through the rules one by one, for tests that tell the life of one payment."""

import datetime as dt
from decimal import Decimal
from typing import Any

import msgspec

from engine.model.commands import Outcome, OutcomeKind, command_key
from engine.model.documents import Application, Invoice, InvoiceType, Phase
from engine.model.events import (
    DocumentsTold,
    Event,
    IntentSubmitted,
    OutcomeReceived,
    Refused,
    Timer,
    TimerFired,
    Told,
)
from engine.model.intents import Allocation, ApplyPayment, Intent
from engine.rules.decide import decide
from engine.rules.desk import Decision, View
from engine.rules.policy import Policy

NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
KEY = command_key("erp", "pay-1", 0)


class Script:
    """A view that takes in what each event decides."""

    def __init__(self) -> None:
        self.view = View({}, {}, {}, {}, {}, {})
        self.policy = Policy()
        self.token = 0
        self.asked = 0
        self.told(invoice())

    def play(self, event: Event) -> Decision:
        decision = decide(self.view, event, self.policy, "erp")
        self.view.absorb(decision)
        return decision

    def told(self, *docs: Invoice, touched: bool = True) -> Decision:
        """The ERP tells of documents; `touched` when their rows were written, else it only repeats itself."""
        self.token += touched
        guard = {"row": str(self.token)}
        return self.play(DocumentsTold("tx", NOW, tuple(Told(doc.key, doc, guard) for doc in docs)))

    def submit(self, amount: str = "100.00", *, name: str = "pay-1", basis: str | None = None) -> Decision:
        known = self.view.invoices.get("1")
        version = basis or (known.version if known else "none")
        money = Decimal(amount)
        asked = ApplyPayment(
            id=name,
            system="erp",
            customer="7",
            currency="EUR",
            amount=money,
            date=NOW.date(),
            allocations=(Allocation("1", money, version),),
        )
        return self.ask(asked)

    def ask(self, intent: Intent) -> Decision:
        """Each a moment after the one before it."""
        self.asked += 1
        return self.play(IntentSubmitted(intent, NOW + dt.timedelta(microseconds=self.asked)))

    def send(self, key: str = KEY) -> Decision:
        return self.play(TimerFired(Timer.SEND, key, NOW))

    def answer(self, kind: OutcomeKind, key: str = KEY) -> Decision:
        return self.play(OutcomeReceived(key, self.view.commands[key].fence, Outcome(kind, "told so"), NOW))

    def about(self, name: str, amount: str = "100.00") -> dict[str, Any]:
        """The fields of an intent about an amount of invoice 1, as the ERP tells it now."""
        return {"id": name, "system": "erp", "customer": "7", "invoice": "1", "currency": "EUR",
                "basis": self.view.invoices["1"].version, "amount": Decimal(amount)}  # fmt: skip

    def intent(self, name: str) -> tuple[str, str | None]:
        """(state, reason)"""
        record = self.view.intents[name]
        return record.state, record.reason

    def command(self, name: str) -> str | None:
        """The state of an intent's command."""
        record = self.view.commands.get(command_key("erp", name, 0))
        return record.state if record else None

    @property
    def states(self) -> tuple[str, str, str]:
        """(invoice, intent, command)"""
        view = self.view
        return view.invoices["1"].state, view.intents["pay-1"].state, view.commands[KEY].state

    @property
    def conflicts(self) -> list[str]:
        return sorted(str(conflict.kind) for conflict in self.view.conflicts.values())


def invoice(**changes: Any) -> Invoice:
    doc = Invoice("1", "1", InvoiceType.INVOICE, "INV1", "7", "EUR", Decimal("100.00"), Decimal("100.00"), Phase.OPEN,
                  "posted", dt.date(2026, 11, 1), ((dt.date(2026, 12, 1), Decimal("100.00")),))  # fmt: skip
    return msgspec.structs.replace(doc, **changes)


def paid(text: str | None, date: dt.date | None = None) -> Invoice:
    line = Application("9", Decimal("100.00"), text, date)
    return invoice(open_amount=Decimal("0.00"), phase=Phase.FINAL, due=(), applications=(line,))


def part(amount: str, key: str | None = KEY, item: str = "9", left: str = "100.00", **more: Any) -> Invoice:
    """The invoice with a line of ours and so much left open."""
    line = Application(item, Decimal(amount), key)
    due = ((dt.date(2026, 12, 1), Decimal(left)),) if Decimal(left) else ()
    phase = Phase.OPEN if Decimal(left) else Phase.FINAL
    return invoice(open_amount=Decimal(left), phase=phase, due=due, applications=(line,), **more)


def refusals(decision: Decision) -> list[Any]:
    return [effect for effect in decision.effects if isinstance(effect, Refused)]
