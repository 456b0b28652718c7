"""An ERP in memory that fails where it is told to: for the faults that a real one cannot be made to show."""

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal

import msgspec

from engine.flow.assembly import Telling, take_telling
from engine.flow.entering import load_view
from engine.flow.telling import in_order
from engine.model.commands import Found, Outcome, OutcomeKind, Write
from engine.model.documents import Application, DocumentKind, Invoice, InvoiceType, Phase
from engine.model.events import DocumentsTold, Told
from engine.ports.errors import Unavailable
from engine.ports.finding import Finding
from engine.ports.target import Capabilities, Guard, Reading
from engine.rules.policy import Policy
from engine.store.records import load_intents
from engine.store.unit import Connection, unit_of_work

DAY = dt.date(2026, 11, 1)


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)

    def __call__(self) -> dt.datetime:
        # No two readings are the same, as with a real clock.
        self.now += dt.timedelta(microseconds=1)
        return self.now

    def pass_(self, seconds: float) -> None:
        self.now += dt.timedelta(seconds=seconds)


class FaultyErp:
    """Keeps invoices with a token each; `faults` are taken one by one, `ok` when none is left.

    Faults: `lost_after` (done, no answer), `lost_before` (not done, no answer), `late` (done when `commit_late` is
    called), `throttled`, `rejected`, `half` (the first of two steps is done, no answer), `crash` (a defect).
    """

    capabilities = Capabilities(
        compare_and_set=True,
        find_by_key=True,
        in_doubt_for=dt.timedelta(seconds=60),
        settle_time=dt.timedelta(seconds=60),
        deadline=dt.timedelta(seconds=10),
    )

    def __init__(self, system: str) -> None:
        self.system = system
        self.invoices: dict[str, Invoice] = {}
        self.tokens: Counter[str] = Counter()
        self.effects: list[tuple[str, str, Decimal]] = []
        self.halves: dict[str, Write] = {}
        self.faults: list[str] = []
        self.calls: list[str] = []
        self.down = False
        self._late: list[tuple[str, Write]] = []
        self._lines = 0

    def open_invoice(self, key: str, amount: str = "100.00", customer: str = "7") -> Invoice:
        money = Decimal(amount)
        self.invoices[key] = Invoice(key, "1", InvoiceType.INVOICE, f"INV{key}", customer, "EUR", money, money,
                                     Phase.OPEN, "posted", DAY, ((DAY, money),))  # fmt: skip
        return self.invoices[key]

    def pay(self, key: str, amount: Decimal, text: str | None) -> None:
        """Apply money to an invoice, whoever does it."""
        doc = self.invoices[key]
        self._lines += 1
        line = Application(str(self._lines), amount, text, DAY)
        left = doc.open_amount - amount
        self.invoices[key] = msgspec.structs.replace(
            doc, open_amount=left, applications=(*doc.applications, line),
            phase=Phase.OPEN if left else Phase.FINAL, due=((DAY, left),) if left else (),
        )  # fmt: skip
        self.tokens[key] += 1

    def touch(self, key: str) -> None:
        """Write the row without changing a fact."""
        self.tokens[key] += 1

    def guard(self, *keys: str) -> dict[str, str]:
        return {f"invoice/{key}": str(self.tokens[key]) for key in keys}

    def tell(self, connection: Connection, clock: Clock, *keys: str) -> None:
        """The change stream shows these invoices as they are."""
        told = tuple(Told(key, self.invoices[key], self.guard(key)) for key in sorted(keys))
        event = DocumentsTold("tx", clock(), told, commit=0)
        with unit_of_work(connection, self.system, clock(), {}, Policy()) as work:
            texts = [a.text for t in told for a in self.invoices[t.key].applications if a.text]
            known = load_view(work.cursor, self.system, invoices=keys).invoices
            in_flight = [match.command for record in known.values() for match in record.matches]
            waiting = load_intents(work.cursor, self.system, state="waiting")
            view = load_view(work.cursor, self.system, invoices=keys, commands=[*texts, *in_flight], intents=waiting)
            view.numbers |= {doc.number: (doc.key,) for doc in self.invoices.values() if doc.number}
            take_telling(work, view, Telling("tx", 0), in_order(event), Policy(), {})

    # The target.

    def send(self, key: str, write: Write, guard: Guard) -> Outcome:
        self.calls.append(f"send {key}")
        fault = self.faults.pop(0) if self.faults else "ok"
        if fault == "crash":
            raise ZeroDivisionError
        if fault in ("throttled", "rejected"):
            return Outcome(OutcomeKind(fault), "as told")
        if fault == "lost_before":
            return Outcome(OutcomeKind.UNKNOWN, "no answer")
        if dict(guard) != self.guard(*(a.invoice for a in write.allocations)):
            return Outcome(OutcomeKind.STALE, "the token is another one")
        if fault == "half":
            self.halves[key] = write
            return Outcome(OutcomeKind.UNKNOWN, "no answer")
        if fault == "late":
            self._late.append((key, write))
            return Outcome(OutcomeKind.UNKNOWN, "no answer")
        self._do(key, write)
        return Outcome(OutcomeKind.UNKNOWN, "") if fault == "lost_after" else Outcome(OutcomeKind.ACCEPTED, "", "M1")

    def commit_late(self) -> None:
        for key, write in self._late:
            self._do(key, write)
        self._late.clear()

    def find(self, key: str, write: Write) -> Found | None:  # noqa: ARG002 - the port's signature
        self.calls.append(f"find {key}")
        if self.down:
            raise Unavailable("the ERP is down")
        if key in self.halves:
            return Found("D1", complete=False)
        mine = [amount for name, _, amount in self.effects if name == key]
        return Found("M1", sum(mine, Decimal(0))) if mine else None

    def resume(self, key: str, write: Write, found: Found) -> Outcome:
        self.calls.append(f"resume {key}")
        del self.halves[key]
        self._do(key, write)
        return Outcome(OutcomeKind.ACCEPTED, "", found.reference)

    def read(
        self, kind: DocumentKind, *, after: str | None = None, keys: Sequence[str] | None = None
    ) -> list[Reading]:
        docs = [Reading(key, msgspec.structs.asdict(doc)) for key, doc in sorted(self.invoices.items())]
        wanted = [doc for doc in docs if (keys is None or doc.key in keys) and doc.key > (after or "")]
        return wanted if kind is DocumentKind.INVOICE else []

    def check(self) -> list[Finding]:
        return []

    def close(self) -> None:
        """Nothing is open."""

    def _do(self, key: str, write: Write) -> None:
        for allocation in write.allocations:
            self.pay(allocation.invoice, allocation.amount, key)
            self.effects.append((key, allocation.invoice, allocation.amount))
