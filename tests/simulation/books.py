"""What the ERP knows how to do with its tables, whoever asks: people, jobs of its own, or its API.

Keeps besides, for the oracle, the facts of every invoice after every transaction: the ERP's history. Nothing here
knows of arsync but the form of a key.
"""

import dataclasses
import datetime as dt
import re
from collections import defaultdict
from collections.abc import Callable
from decimal import Decimal
from random import Random

from tests.simulation.database import Commit, Database, Row, Transaction

ZERO = Decimal("0.00")
DAY = dt.date(2026, 11, 23)
KEY_FORM = re.compile("[A-Z2-7]{16}")
INDEXES = [
    ("item", "bill"), ("settle", "bill"), ("settle", "receipt"), ("clearing", "bill"), ("receipt", "partner"),
    ("bill", "partner"), ("bill", "ref"), ("receipt", "memo"), ("entry", "text"),
    ("credit_limit", "partner"), ("sorder", "partner"),
]  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Line:
    """Money applied to an invoice: what the line's receipt says of itself."""

    item: str
    amount: Decimal
    text: str | None
    day: dt.date
    final: bool


@dataclasses.dataclass(frozen=True)
class Facts:
    """An invoice after a transaction. Amounts in its own direction; `schedule` holds the open items' dates."""

    customer: str
    total: Decimal
    balance: Decimal
    phase: str
    day: dt.date
    blocked: bool
    schedule: tuple[dt.date, ...]
    lines: tuple[Line, ...]
    credit: bool
    ref: str | None

    def shown(self, key: str) -> Decimal:
        """What stands applied under a key."""
        return sum((line.amount for line in self.lines if line.text == key), ZERO)


@dataclasses.dataclass(frozen=True)
class Moment:
    """What one transaction made of an invoice; `facts` is None when it is gone."""

    lsn: int
    at: dt.datetime
    who: str
    why: str
    key: str | None
    facts: Facts | None


class Books:
    """The ERP behind its screens and its API."""

    def __init__(self, dice: Random, clock: Callable[[], dt.datetime]) -> None:
        self.db = Database(dice, clock, INDEXES)
        self.dice = dice
        self.history: defaultdict[str, list[Moment]] = defaultdict(list)
        self.limits: defaultdict[str, list[tuple[int, Decimal | None]]] = defaultdict(list)
        self.locked_until: dt.date | None = None
        self.locks: list[tuple[dt.datetime, dt.date | None]] = []
        self.clears_at_once = True
        self.finals_at_once = True
        self.plain_numbers = False
        self.numbered: defaultdict[str, list[int]] = defaultdict(list)
        """The bills that ever had a number."""
        self._posted: dict[str, int] = {}
        self.db.committed.append(self._remember)

    # Reading.

    def facts(self, bill: int) -> Facts | None:
        """An invoice as it stands."""
        row = self.db.find("bill", bill)
        if row is None:
            return None
        items = self.db.where("item", "bill", bill)
        lines = self.db.where("settle", "bill", bill)
        clearing = self.db.where("clearing", "bill", bill)
        balance = self.balance(bill)
        phase = {"draft": "draft", "void": "void"}.get(row["state"], "open")
        if phase == "open" and clearing:
            phase = "final" if clearing[0]["final"] else "cleared"
        left = sum((line["amount"] for line in lines), ZERO)
        schedule = []
        for item in sorted(items, key=lambda one: (one["due"], one["id"])):
            used = min(left, item["amount"])
            left -= used
            if used < item["amount"] and phase == "open":
                schedule.append(item["due"])
        return Facts(
            customer=str(row["partner"]), total=row["total"], balance=ZERO if phase in ("draft", "void") else balance,
            phase=phase, day=row["day"], blocked=any(item["held"] for item in items), schedule=tuple(schedule),
            lines=tuple(self._line(line) for line in lines), credit=row["kind"] == "credit", ref=row["ref"],
        )  # fmt: skip

    def _line(self, line: Row) -> Line:
        receipt = self.db.find("receipt", line["receipt"])
        text = receipt["memo"] if receipt else line["text"]
        day = receipt["day"] if receipt else line["day"]
        return Line(str(line["id"]), line["amount"], text, day, bool(receipt is None or receipt["posted"]))

    def balance(self, bill: int) -> Decimal:
        owed = sum((item["amount"] for item in self.db.where("item", "bill", bill)), ZERO)
        return owed - sum((line["amount"] for line in self.db.where("settle", "bill", bill)), ZERO)

    def is_open(self, bill: int) -> bool:
        row = self.db.find("bill", bill)
        return row is not None and row["state"] == "posted" and not self.db.where("clearing", "bill", bill)

    def spare(self, receipt: int) -> Decimal:
        """What of a receipt is not applied yet."""
        used = [line["amount"] for line in self.db.where("settle", "receipt", receipt) if line["kind"] == "cash"]
        amount: Decimal = self.db.row("receipt", receipt)["amount"]
        return amount - sum(used, ZERO)

    def orders(self, customer: str, name: str) -> list[Row]:
        """A customer's orders with this id or number."""
        mine = self.db.where("sorder", "partner", int(customer)) if customer.isdecimal() else []
        return [row for row in mine if name in (str(row["id"]), row["number"])]

    # Writing, within a transaction.

    def open_order(self, tx: Transaction, partner: int, *, numbered: bool) -> int:
        """A held order; one that gets no number yet lets the ids run ahead of the numbers."""
        number = None
        if numbered:
            count = self._posted["order"] = self._posted.get("order", 0) + 1
            number = str(count) if self.plain_numbers else f"S{count}"
        return tx.insert("sorder", partner=partner, number=number, held=True, note="")

    def open_bill(
        self, tx: Transaction, partner: int, total: Decimal, *, day: dt.date, dues: list[dt.date],
        state: str = "posted", kind: str = "invoice", ref: str | None = None,
    ) -> int:  # fmt: skip
        bill = tx.insert(
            "bill", number=None, partner=partner, kind=kind, currency=1, total=total, state="draft", day=day, ref=ref,
            note="as ordered", step=0,
        )  # fmt: skip
        with tx.one_statement():
            share = (total / len(dues)).quantize(Decimal("0.01"))
            for place, due in enumerate(dues):
                amount = share if place + 1 < len(dues) else total - share * (len(dues) - 1)
                side = -1 if kind == "credit" else 1
                tx.insert("item", bill=bill, due=due, amount=amount, held=False, partner=partner, side=side)
        if state == "posted":
            self.post_bill(tx, bill)
        return bill

    def post_bill(self, tx: Transaction, bill: int) -> None:
        kind = self.db.row("bill", bill)["kind"]
        number = f"{'C' if kind == 'credit' else 'R'}{bill:06d}"
        if self.plain_numbers:
            # Each kind counts by itself, as in many ERPs: behind the keys, which drafts and the other kind take too.
            posted = self._posted[kind] = self._posted.get(kind, 0) + 1
            number = str(posted)
        self.numbered[number].append(bill)
        tx.update("bill", bill, state="posted", number=number)

    def receive(
        self, tx: Transaction, partner: int, amount: Decimal, memo: str | None, day: dt.date, *, posted: bool = True
    ) -> int:
        return tx.insert(
            "receipt", partner=partner, amount=amount, memo=memo, day=day, posted=posted, note="bank", step=0
        )

    def apply(self, tx: Transaction, bill: int, receipt: int, amount: Decimal, *, kind: str = "cash") -> int:
        """Apply money of a receipt; the bill's header is written with it, as its balance stands in it."""
        row = self.db.row("receipt", receipt)
        line = tx.insert(
            "settle", bill=bill, receipt=receipt, amount=amount, kind=kind, text=None, day=row["day"],
            **self._whose(bill),
        )  # fmt: skip
        self.touch(tx, bill)
        return line

    def credit(self, tx: Transaction, bill: int, amount: Decimal, text: str, day: dt.date) -> int:
        """Apply something that is no money: another document."""
        line = tx.insert(
            "settle", bill=bill, receipt=None, amount=amount, kind="credit", text=text, day=day, **self._whose(bill)
        )  # fmt: skip
        self.touch(tx, bill)
        return line

    def _whose(self, bill: int) -> dict[str, int]:
        row = self.db.row("bill", bill)
        return {"partner": row["partner"], "side": -1 if row["kind"] == "credit" else 1}

    def unapply(self, tx: Transaction, line: int) -> None:
        bill = self.db.row("settle", line)["bill"]
        tx.delete("settle", line)
        self.touch(tx, bill)

    def touch(self, tx: Transaction, bill: int) -> None:
        tx.update("bill", bill)

    def settle_up(self, tx: Transaction, *bills: int, final: bool | None = None) -> None:
        """Clear what has come to zero, unless a job does that, and take the clearing off what has not."""
        for bill in dict.fromkeys(bills):
            row = self.db.find("bill", bill)
            clearing = self.db.where("clearing", "bill", bill)
            even = row is not None and row["state"] == "posted" and self.balance(bill) == 0
            if even and not clearing and self.clears_at_once:
                self.clear(tx, bill, final=final)
            elif clearing and not even:
                tx.delete("clearing", clearing[0]["id"])

    def clear(self, tx: Transaction, bill: int, *, final: bool | None = None) -> None:
        receipts = [self.db.find("receipt", line["receipt"]) for line in self.db.where("settle", "bill", bill)]
        posted = all(receipt is None or receipt["posted"] for receipt in receipts)
        tx.insert("clearing", bill=bill, final=posted and (self.finals_at_once if final is None else final))
        self.touch(tx, bill)

    def hold(self, tx: Transaction, bill: int, *, held: bool) -> None:
        for item in self.db.where("item", "bill", bill):
            if item["held"] != held:
                tx.update("item", item["id"], held=held)
        self.touch(tx, bill)

    def set_limit(self, tx: Transaction, partner: int, limit: Decimal | None) -> None:
        rows = self.db.where("credit_limit", "partner", partner)
        tx.update("credit_limit", rows[0]["id"], amount=limit)
        tx.update("partner", partner)

    def lock(self, until: dt.date | None) -> None:
        """Close the books up to and with a day, or open them all."""
        self.locked_until = until
        self.locks.append((self.db.log[-1].at, until))

    def is_locked(self, day: dt.date | None) -> bool:
        return day is not None and self.locked_until is not None and day <= self.locked_until

    # The guard of an invoice: the versions of the rows that it is made of.

    def tokens(self, bill: int) -> dict[str, str]:
        row = self.db.find("bill", bill)
        tokens = {f"bill/{bill}": str(row["v"])} if row else {}
        return tokens | {f"item/{i['id']}": str(i["v"]) for i in self.db.where("item", "bill", bill)}

    def holds(self, guard: dict[str, str]) -> bool:
        """Whether every token is still what it was."""
        for name, token in guard.items():
            table, _, key = name.partition("/")
            row = self.db.find(table, int(key))
            if row is None or str(row["v"]) != token:
                return False
        return True

    def _remember(self, commit: Commit) -> None:
        bills: dict[int, None] = {}
        for change in commit.changes:
            if change.table == "bill":
                bills[change.key] = None
            elif change.table in ("item", "settle", "clearing"):
                bills[change.row["bill"]] = None
            elif change.table == "receipt":
                bills.update({line["bill"]: None for line in self.db.where("settle", "receipt", change.key)})
            elif change.table == "credit_limit":
                self.limits[str(change.row["partner"])].append((commit.lsn, change.row["amount"]))
        for bill in bills:
            facts = self.facts(bill)
            self.history[str(bill)].append(Moment(commit.lsn, commit.at, commit.who, commit.why, commit.key, facts))
