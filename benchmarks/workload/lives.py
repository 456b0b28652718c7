"""One invoice's life as a plan of ERP transactions: what Tryton writes, row by row, in its own order.

`stream` runs many of these at a time. A step yields (table, key, new row or None); the life remembers the rows, so
that every change carries its whole row before and after, as a table with replica identity FULL does.
"""

import random
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal

from benchmarks.workload import tables as t
from benchmarks.workload.tables import EMPTY, Row

Change = tuple[str, str, Row | None, Row | None]
"""(table, operation, row before, row after)"""

STORIES = (
    # (share, steps): what becomes of an invoice once it is a draft.
    (0.22, ("post", "report", "pay", "paid", "touch")),
    (0.16, ("post", "report", "part", "part", "pay", "paid")),
    (0.12, ("post", "report", "pay_unposted", "paid", "make_final")),
    (0.10, ("amend", "post", "report", "part")),
    (0.10, ("post", "report", "block", "touch", "unblock", "pay", "paid")),
    (0.08, ("post", "report", "pay", "paid", "bounce", "reopen", "pay", "paid")),
    (0.06, ("post", "report", "block")),
    (0.06, ("post", "report", "part", "pay_unposted", "paid")),
    (0.05, ("post", "report")),
    (0.03, ("amend", "amend")),
    (0.02, ("drop",)),
)


class Keys:
    """The database's sequences, one a table, and its clock."""

    def __init__(self) -> None:
        self._last: Counter[str] = Counter({"account_move_reconciliation": 1})
        self.now = 1_795_380_000_000_000

    def next(self, table: str) -> int:
        self._last[table] += 1
        return self._last[table]


class Life:
    """An invoice on its way. `steps` are still to come; `draft` is always the first."""

    def __init__(self, rng: random.Random, keys: Keys, party: int) -> None:
        self.rng, self.keys, self.party = rng, keys, party
        story = rng.choices([steps for _, steps in STORIES], [share for share, _ in STORIES])[0]
        self.steps = ["draft", *story]
        self.rows: dict[tuple[str, int], Row] = {}
        self.key = 0
        self.total = self.open = Decimal(0)
        self.move = self.due_line = self.reconciliation = 0
        self.own_lines: list[int] = []
        self.payments: list[int] = []
        self.unposted: list[int] = []
        self.day = 20_700 + rng.randrange(60)

    def step(self) -> Iterator[Change]:
        """The changes of the next transaction."""
        yield from getattr(self, f"_{self.steps.pop(0)}")()

    @property
    def outcome(self) -> tuple[str, str]:
        """The state that arsync's machine must end in, and the open amount as text."""
        invoice = self.rows.get((t.INVOICE, self.key))
        if invoice is None or invoice["state"] == "draft":
            return "new", "0.00"
        if self.reconciliation:
            return ("cleared" if self.unposted else "posted"), "0.00"
        return "open", str(self.open)

    # Single rows.

    def _put(self, table: str, key: int, **values: object) -> Change:
        before = self.rows.get((table, key))
        if before is None:
            after = {**EMPTY[table], "id": key, "create_date": self.keys.now, **values}
        else:
            after = {**before, **values}
        self.rows[table, key] = after
        return table, "c" if before is None else "u", before, after

    def _write(self, table: str, key: int, **values: object) -> Change:
        return self._put(table, key, **values, write_date=self.keys.now, write_uid=4)

    def _delete(self, table: str, key: int) -> Change:
        return table, "d", self.rows.pop((table, key)), None

    # Steps.

    def _draft(self) -> Iterator[Change]:
        self.key = self.keys.next(t.INVOICE)
        yield self._put(t.INVOICE, self.key, party=self.party, invoice_address=self.party)
        net = Decimal(0)
        for _ in range(min(12, 1 + int(self.rng.expovariate(0.45)))):
            price = Decimal(self.rng.randrange(500, 90_000)) / 100
            quantity = self.rng.randrange(1, 9)
            net += price * quantity
            line = self.keys.next(t.INVOICE_LINE)
            yield self._put(t.INVOICE_LINE, line, invoice=self.key, quantity=float(quantity), unit_price=str(price))
        yield self._write(t.INVOICE, self.key)
        yield from self._taxes(net)

    def _taxes(self, net: Decimal) -> Iterator[Change]:
        tax = (net * Decimal("0.21")).quantize(Decimal("0.01"))
        self.net, self.tax, self.total, self.open = net, tax, net + tax, net + tax
        known = [key for table, key in self.rows if table == t.INVOICE_TAX]
        key = known[0] if known else self.keys.next(t.INVOICE_TAX)
        put = self._write if known else self._put
        yield put(t.INVOICE_TAX, key, invoice=self.key, base=str(net), amount=str(tax))

    def _amend(self) -> Iterator[Change]:
        yield self._write(t.INVOICE, self.key, description=f"amended {self.rng.randrange(99)}")
        lines = [key for table, key in self.rows if table == t.INVOICE_LINE]
        line = self.rows[t.INVOICE_LINE, self.rng.choice(lines)]
        price = Decimal(line["unit_price"]) + 1
        net = self.net + int(line["quantity"])
        yield self._write(t.INVOICE_LINE, line["id"], unit_price=str(price))
        yield from self._taxes(net)

    def _drop(self) -> Iterator[Change]:
        for table in (t.INVOICE_LINE, t.INVOICE_TAX, t.INVOICE):
            for _, key in [name for name in self.rows if name[0] == table]:
                yield self._delete(table, key)

    def _post(self) -> Iterator[Change]:
        number = f"INV2026-{self.key:08}"
        yield self._write(t.INVOICE, self.key, number=number, number_alnum=number.replace("-", ""),
                          number_digit=self.key, sequence=5, sequence_type_cache="invoice")  # fmt: skip
        yield self._write(t.INVOICE, self.key, invoice_date=self.day)
        yield self._write(t.INVOICE, self.key)
        yield self._write(t.INVOICE, self.key, tax_amount_cache=str(self.tax), total_amount_cache=str(self.total),
                          untaxed_amount_cache=str(self.net))  # fmt: skip
        self.move = self.keys.next(t.MOVE)
        yield self._put(t.MOVE, self.move, date=self.day, origin=f"account.invoice,{self.key}")
        parts = [(t.REVENUE, "0", str(self.net), None), (t.TAX, "0", str(self.tax), None),
                 (t.RECEIVABLE, str(self.total), "0", self.party)]  # fmt: skip
        for account, debit, credit, party in parts:
            line = self.keys.next(t.LINE)
            self.own_lines.append(line)
            yield self._put(t.LINE, line, account=account, debit=debit, credit=credit, party=party, move=self.move,
                            maturity_date=self.day + 30 if party else None)  # fmt: skip
        self.due_line = self.own_lines[-1]
        for line in self.own_lines:
            yield self._put(t.LINE, line, state="valid")
        yield self._write(t.INVOICE, self.key, move=self.move, state="posted")
        yield self._post_move(self.move)

    def _post_move(self, move: int) -> Change:
        return self._write(t.MOVE, move, number=f"M2026-{move:08}", post_date=self.day, state="posted")

    def _report(self) -> Iterator[Change]:
        yield self._write(t.INVOICE, self.key, invoice_report_format="odt")
        yield self._put(t.INVOICE, self.key, invoice_report_cache_id=f"file{self.key}")

    def _touch(self) -> Iterator[Change]:
        yield self._write(t.INVOICE, self.key, comment=f"seen {self.rng.randrange(99)}")

    def _part(self) -> Iterator[Change]:
        amount = (self.open * self.rng.randrange(10, 60) / 100).quantize(Decimal("0.01"))
        yield from self._receive(amount, posted=True)

    def _pay(self) -> Iterator[Change]:
        yield from self._receive(self.open, posted=True)
        yield from self._reconcile()

    def _pay_unposted(self) -> Iterator[Change]:
        yield from self._receive(self.open, posted=False)
        yield from self._reconcile()

    def _receive(self, amount: Decimal, *, posted: bool) -> Iterator[Change]:
        move = self.keys.next(t.MOVE)
        yield self._put(t.MOVE, move, date=self.day + 7, journal=3, description=f"Bank {move}",
                        origin=f"account.invoice,{self.key}")  # fmt: skip
        paid, bank = self.keys.next(t.LINE), self.keys.next(t.LINE)
        yield self._put(t.LINE, paid, account=t.RECEIVABLE, credit=str(amount), party=self.party, move=move)
        yield self._put(t.LINE, bank, account=t.BANK, debit=str(amount), move=move)
        for line in (paid, bank):
            yield self._put(t.LINE, line, state="valid")
        if posted:
            yield self._post_move(move)
        else:
            self.unposted.append(move)
        yield self._write(t.INVOICE, self.key)
        yield self._put(t.LINK, self.keys.next(t.LINK), invoice=self.key, line=paid)
        self.payments.append(paid)
        self.open -= amount

    def _reconcile(self) -> Iterator[Change]:
        key = self.reconciliation = self.keys.next(t.RECONCILIATION)
        yield self._put(t.RECONCILIATION, key, date=self.day + 7, number=str(key))
        for line in (self.due_line, *self.payments):
            yield self._write(t.LINE, line, reconciliation=key)
        for line in (*self.own_lines, *self.payments):
            yield self._put(t.LINE, line)

    def _paid(self) -> Iterator[Change]:
        yield self._write(t.INVOICE, self.key, state="paid")

    def _make_final(self) -> Iterator[Change]:
        for move in self.unposted:
            yield self._post_move(move)
        self.unposted.clear()

    def _bounce(self) -> Iterator[Change]:
        for line in (*self.payments, self.due_line):
            yield self._write(t.LINE, line, reconciliation=None)
        for line in self.own_lines:
            yield self._put(t.LINE, line)
        yield self._delete(t.RECONCILIATION, self.reconciliation)
        self.reconciliation = 0
        # The customer's bank took it back: another entry against the receipt, not yet applied to anything.
        self.open = Decimal(0)

    def _reopen(self) -> Iterator[Change]:
        yield self._write(t.INVOICE, self.key, tax_amount_cache=None, total_amount_cache=None)
        yield self._put(t.INVOICE, self.key, tax_amount_cache=str(self.tax), total_amount_cache=str(self.total))
        for link in [key for table, key in self.rows if table == t.LINK]:
            yield self._delete(t.LINK, link)
        self.payments.clear()
        self.open = self.total
        yield self._put(t.INVOICE, self.key, state="posted")

    def _block(self) -> Iterator[Change]:
        yield self._write(t.LINE, self.due_line, payment_blocked=True)
        for line in self.own_lines:
            yield self._put(t.LINE, line)

    def _unblock(self) -> Iterator[Change]:
        yield self._write(t.LINE, self.due_line, payment_blocked=False)
        for line in self.own_lines:
            yield self._put(t.LINE, line)
