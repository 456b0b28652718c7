"""The AR side: looks at what arsync reports, and asks for things, on what it saw just now or long ago.

`asked` is its own history; the oracle reads it.
"""

import dataclasses
import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from random import Random

import msgspec

from engine.flow.intake import Taken, submit
from engine.model import intents as asked
from engine.model.commands import Memo
from engine.model.documents import Invoice
from engine.model.intents import Intent
from engine.model.records import InvoiceRecord
from engine.rules.policy import Policy
from engine.store.unit import Connection
from tests.simulation.books import DAY, Books
from tests.simulation.clock import Clock
from tests.simulation.mapping import VERSIONS
from tests.simulation.people import CENT, Receipt

_DECODER = msgspec.json.Decoder(InvoiceRecord)


@dataclasses.dataclass(frozen=True)
class Seen:
    """An invoice as arsync reported it. `position`: up to where arsync had read the ERP's log then."""

    version: str
    position: int
    doc: Invoice


@dataclasses.dataclass(frozen=True)
class Asked:
    """An intent that was submitted. `positions` has for each invoice that is meant, by key and in the order of the
    intent's parts, up to where the ERP's word was known to its author; None when the author named a version that
    nobody ever reported."""

    intent: Intent
    at: dt.datetime
    positions: dict[str, int | None]


class ArSide:
    """Submits through arsync's intake, each id as often as it likes."""

    def __init__(
        self,
        system: str,
        books: Books,
        dice: Random,
        clock: Clock,
        policy: Policy,
        position: Callable[[], int | None],
    ) -> None:
        """`position` tells up to where arsync's documents tell the ERP's log."""
        self._system = system
        self._books = books
        self._dice = dice
        self._clock = clock
        self._policy = policy
        self._seen: dict[str, list[Seen]] = {}
        self._disputes: list[tuple[str, str]] = []
        self._position = position
        self._limits: dict[str, Decimal | None] = {}
        self._asked_limits: dict[str, Decimal | None] = {}
        self.asked: dict[str, Asked] = {}
        self.answers: dict[str, Taken] = {}
        self.wrongs: list[str] = []
        self.submissions = 0
        self._makers = (
            (self._payment, 46), (self._payment_of_several, 8), (self._receipt, 8), (self._reversal, 6),
            (self._dispute, 8), (self._rejection, 5), (self._memo, 12), (self._limit, 4), (self._release, 4),
            (self._entry, 6), (self._withdrawal, 4),
        )  # fmt: skip

    def look(self, connection: Connection) -> None:
        """Read some invoices and customers as arsync reports them."""
        last = self._books.db.last_id("bill")
        keys = [str(max(1, last - int(self._dice.random() ** 2 * last))) for _ in range(6)]
        position = self._position()
        if position is None:
            return
        found = connection.execute(
            "SELECT record::text FROM invoice WHERE system = %s AND key = ANY(%s) AND NOT deleted ORDER BY key",
            (self._system, keys),
        )
        for (text,) in found:
            record = _DECODER.decode(text)
            kept = self._seen.setdefault(record.key, [])
            kept.append(Seen(record.version, position, record.doc))
            del kept[:-4]
        if self._dice.random() < 0.2:
            limits = connection.execute(
                """SELECT key, record #>> '{doc,accounts,0,credit_limit}' FROM customer
                   WHERE system = %s AND NOT deleted ORDER BY key""",
                (self._system,),
            )
            self._limits = {key: None if limit is None else Decimal(limit) for key, limit in limits}

    def ask(self, connection: Connection) -> None:
        """Submit a few intents, some of them once more."""
        self.look(connection)
        makers, weights = zip(*self._makers, strict=True)
        new = []
        for _ in range(self._dice.choice((1, 1, 2, 3))):
            made = self._dice.choices(makers, weights)[0]()
            if made is not None:
                new.append(made)
                self.asked[made[0].id] = Asked(made[0], self._clock(), made[1])
        again = [self.asked[name].intent for name in self._recent(1) if self._dice.random() < 0.2]
        self.submit(connection, [intent for intent, _ in new] + again)

    def submit(self, connection: Connection, intents: list[Intent]) -> None:
        """Hand intents in. One that breaks off half way is handed in again by `settle`."""
        self.submissions += len(intents)
        for taken in submit(connection, self._system, intents, self._policy, self._clock, VERSIONS):
            if taken.trouble is not None:
                self.wrongs.append(f"intent {taken.id} was taken for another: {taken.trouble}")
            if taken.known and taken.id not in self.answers and taken.state == "received":
                self.wrongs.append(f"intent {taken.id} is known and nothing was decided on it")
            self.answers[taken.id] = taken

    def settle(self, connection: Connection) -> None:
        """Hand in again what was never answered: the AR side keeps on until it is."""
        left = [one.intent for name, one in self.asked.items() if name not in self.answers]
        if left:
            self.submit(connection, left)

    def wanted(self) -> list[Receipt]:
        """The receipts that were asked for lately."""
        return [
            (name, int(next(iter(self.asked[name].positions))), intent.allocations[0].amount, intent.reference,
             intent.date)
            for name in self._recent(6)
            if isinstance(intent := self.asked[name].intent, asked.ApplyPayment)
        ]  # fmt: skip

    def hot(self) -> list[int]:
        """The invoices that it asked something of lately."""
        return [int(key) for name in list(self.asked)[-6:] for key in self.asked[name].positions]

    # Making intents: each gives the intent and the positions on which it rests, or None where there is nothing.

    def _payment(self) -> tuple[Intent, dict[str, int | None]] | None:
        return self._pay(self._pick(1))

    def _payment_of_several(self) -> tuple[Intent, dict[str, int | None]] | None:
        first = self._pick(1)
        if not first:
            return None
        same = [one for one in self._latest() if one.doc.customer == first[0].doc.customer and one != first[0]]
        return self._pay([*first, *same[:2]])

    def _pay(self, docs: list[Seen]) -> tuple[Intent, dict[str, int | None]] | None:
        if not docs:
            return None
        dice = self._dice
        parts = []
        positions: dict[str, int | None] = {}
        for seen in docs:
            balance = max(seen.doc.balance, CENT)
            amount = dice.choice((balance, balance, max(CENT, (balance / 2).quantize(CENT)), balance + 5))
            write_off = CENT if dice.random() < 0.1 and amount > CENT else None
            money = amount - CENT if write_off else amount
            parts.append(asked.Allocation(self._name(seen), money, self._basis(seen, positions), write_off))
        if dice.random() < 0.03:
            unknown = str(self._books.db.last_id("bill") + dice.randrange(1, 60))
            if unknown not in positions:
                parts.append(asked.Allocation(unknown, Decimal("10.00"), "NOTSEENYET"))
                positions[unknown] = None
        on_account = Decimal("7.50") if dice.random() < 0.08 else None
        customer = docs[0].doc.customer if dice.random() > 0.02 else "9999"
        amount = sum((part.amount for part in parts), on_account or Decimal(0))
        intent = asked.ApplyPayment(
            id=self._id("pay"), system=self._system, customer=customer, currency=self._currency(), amount=amount,
            date=self._day(), allocations=tuple(parts), on_account=on_account,
            reference=f"Ref {len(self.asked)}" if dice.random() < 0.7 else None,
        )  # fmt: skip
        return intent, positions

    def _receipt(self) -> tuple[Intent, dict[str, int | None]] | None:
        """Apply a receipt that the ERP holds on account; the AR side knows it from the bank."""
        for seen in self._pick(1):
            open_ = [row for row in self._books.db.where("receipt", "partner", int(seen.doc.customer))
                     if self._books.spare(row["id"]) > 0 and row["memo"].startswith("Bank")]  # fmt: skip
            if open_:
                row = self._dice.choice(open_)
                spare = self._books.spare(row["id"])
                return self._about(asked.ApplyReceipt, "rec", seen, spare, receipt=row["memo"])
        return None

    def _reversal(self) -> tuple[Intent, dict[str, int | None]] | None:
        paid = [seen for seen in self._latest() if seen.doc.applications]
        if not paid:
            return None
        seen = self._dice.choice(paid)
        line = self._dice.choice(seen.doc.applications)
        return self._about(asked.ReverseApplication, "rev", seen, line.amount, item=line.item)

    def _dispute(self) -> tuple[Intent, dict[str, int | None]] | None:
        for seen in self._pick(1):
            total = abs(seen.doc.total_amount)
            amount = self._dice.choice((total, max(CENT, (total / 4).quantize(CENT)), total, total + 1))
            hold = self._dice.random() < 0.6
            made = self._about(asked.RaiseDispute, "dis", seen, amount, reason_code="short", hold=hold)
            self._disputes.append((made[0].id, seen.doc.key))
            return made
        return None

    def _rejection(self) -> tuple[Intent, dict[str, int | None]] | None:
        known = self._disputed()
        if known is None:
            return None
        name, seen = known
        return self._about(asked.RejectDispute, "rej", seen, self._amount_of(name), dispute=name)

    def _memo(self) -> tuple[Intent, dict[str, int | None]] | None:
        known = self._disputed() if self._dice.random() < 0.5 else None
        for seen in [known[1]] if known else self._pick(1):
            if seen.doc.direction < 0:
                return None
            balance = max(seen.doc.balance, CENT)
            amount = self._dice.choice((balance, balance, max(CENT, (balance / 5).quantize(CENT))))
            memo = self._dice.choice((Memo.CREDIT, Memo.CREDIT, Memo.CREDIT, Memo.DEBIT))
            dispute = known[0] if known and memo is Memo.CREDIT else None
            return self._about(asked.IssueMemo, "mem", seen, amount, memo=memo, date=self._day(), dispute=dispute)
        return None

    def _limit(self) -> tuple[Intent, dict[str, int | None]] | None:
        if not self._limits:
            return None
        customer = self._dice.choice(sorted(self._limits))
        # Who has just asked for a limit may count on it before the ERP has it.
        seen = self._limits[customer]
        known = self._asked_limits.get(customer, seen) if self._dice.random() < 0.5 else seen
        wanted = self._asked_limits[customer] = self._dice.choice(
            (None, Decimal("2000.00"), Decimal("3000.00"), seen)
        )
        return asked.SetCreditLimit(
            id=self._id("lim"), system=self._system, customer=customer, company="1", currency="EUR",
            limit=wanted, replaces=known,
        ), {}  # fmt: skip

    def _release(self) -> tuple[Intent, dict[str, int | None]] | None:
        last = self._books.db.last_id("sorder")
        if not last:
            return None
        row = self._books.db.row("sorder", self._dice.randrange(1, last + 1))
        by_number = row["number"] is not None and self._dice.random() < 0.3
        customer = str(row["partner"]) if self._dice.random() < 0.95 else self._customer()
        return asked.ReleaseOrder(
            id=self._id("ord"), system=self._system, customer=customer, company="1",
            order=row["number"] if by_number else str(row["id"]), currency="EUR", amount=Decimal("100.00"),
        ), {}  # fmt: skip

    def _entry(self) -> tuple[Intent, dict[str, int | None]] | None:
        amount = Decimal("12.00")
        lines = (asked.Side("4000", debit=amount), asked.Side("1200", credit=amount))
        return asked.PostEntry(
            id=self._id("ent"), system=self._system, customer=self._customer(), company="1", currency="EUR",
            date=self._day(), lines=lines,
        ), {}  # fmt: skip

    def _withdrawal(self) -> tuple[Intent, dict[str, int | None]] | None:
        for name in self._recent(3):
            other = self.asked[name].intent
            if not isinstance(other, asked.Withdraw):
                intent = asked.Withdraw(id=self._id("wit"), system=self._system, customer=other.customer, intent=name)
                return intent, {}
        return None

    def _about(
        self, kind: type, prefix: str, seen: Seen, amount: Decimal, **further: object
    ) -> tuple[Intent, dict[str, int | None]]:
        positions: dict[str, int | None] = {}
        intent: Intent = kind(
            id=self._id(prefix), system=self._system, customer=seen.doc.customer, invoice=self._name(seen),
            basis=self._basis(seen, positions), currency=self._currency(), amount=amount, **further,
        )  # fmt: skip
        return intent, positions

    # Choosing.

    def _latest(self) -> list[Seen]:
        return [kept[-1] for kept in self._seen.values()]

    def _pick(self, count: int) -> list[Seen]:
        """Invoices that looked payable when they were looked at; now and then any."""
        latest = self._latest()[-40:]
        payable = [seen for seen in latest if seen.doc.phase == "open" and seen.doc.balance > 0]
        from_ = payable if self._dice.random() < 0.93 and payable else latest
        return self._dice.sample(from_, min(count, len(from_)))

    def _basis(self, seen: Seen, positions: dict[str, int | None]) -> str:
        """The version that was seen last; now and then an older one, or none at all."""
        roll, kept = self._dice.random(), self._seen[seen.doc.key]
        used = kept[0] if roll < 0.1 else seen
        if roll > 0.98:
            positions[seen.doc.key] = None
            return "NEVERTOLD"
        positions[seen.doc.key] = used.position
        return used.version

    def _name(self, seen: Seen) -> str:
        return seen.doc.number if seen.doc.number and self._dice.random() < 0.15 else seen.doc.key

    def _disputed(self) -> tuple[str, Seen] | None:
        known = [(name, self._seen[key][-1]) for name, key in self._disputes[-8:] if key in self._seen]
        return self._dice.choice(known) if known else None

    def _amount_of(self, dispute: str) -> Decimal:
        intent = self.asked[dispute].intent
        assert isinstance(intent, asked.RaiseDispute)
        return intent.amount

    def _recent(self, count: int) -> list[str]:
        names = list(self.asked)[-12:]
        return self._dice.sample(names, min(count, len(names)))

    def _customer(self) -> str:
        return str(self._dice.randrange(1, self._books.db.last_id("partner") + 1))

    def _currency(self) -> str:
        return "EUR" if self._dice.random() > 0.01 else "USD"

    def _day(self) -> dt.date:
        return DAY + dt.timedelta(days=self._dice.choice((-3, 0, 0, 1, 2)))

    def _id(self, prefix: str) -> str:
        return f"{prefix}-{len(self.asked) + 1}"
