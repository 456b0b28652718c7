"""The mirror held against the ERP's API: what differs is named, what is under way is not, and the match is proven."""

import datetime as dt
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from engine.flow.reconciling import Compared, MirrorBehindError, Reconciler
from engine.model.documents import CreditAccount, Customer, DocumentKind, Invoice, InvoiceType, Phase
from engine.ports.target import Reading
from tests.flow.erp_with_faults import FaultyErp


def invoice(key: str, **changes: Any) -> Invoice:
    doc = Invoice(key, "1", InvoiceType.INVOICE, f"INV{key}", "7", "EUR", Decimal("100.00"), Decimal("100.00"),
                  Phase.OPEN, "posted", dt.date(2026, 11, 1))  # fmt: skip
    return msgspec.structs.replace(doc, **changes)


CUSTOMER = Customer("7", True, (CreditAccount("1", "EUR", Decimal("100.00"), None),))


class World(FaultyErp):
    """An ERP with a log, its API in pages of three, and a mirror that follows the log when it is waited for."""

    def __init__(self, *docs: Invoice, positions: bool = True) -> None:
        super().__init__("erp")
        self.invoices = {doc.key: doc for doc in docs}
        self.mirror = dict(self.invoices)
        self.owed = Decimal("100.00")
        self.positions = positions
        self.log: list[tuple[int, Invoice]] = []
        self.end = 1000
        self.applied = 0
        self.stuck = False
        self.now = 0.0
        self.before_read: Callable[[int], None] = lambda _: None
        self.reads = 0

    def change(self, key: str, **changes: Any) -> None:
        """Somebody writes in the ERP; the log has it, the mirror not yet."""
        self.end += 10
        self.invoices[key] = msgspec.structs.replace(self.invoices[key], **changes)
        self.log.append((self.end, self.invoices[key]))

    # The ERP's API.

    def read(
        self, kind: DocumentKind, *, after: str | None = None, keys: Sequence[str] | None = None
    ) -> list[Reading]:
        self.reads += 1
        self.before_read(self.reads)
        if kind is DocumentKind.INVOICE:
            return super().read(kind, after=after, keys=keys)[:3]
        facts = {"active": True, "receivable/1": self.owed, "credit_limit/1": None, "receivable/2": Decimal(0)}
        return [] if after else [Reading("7", facts)]

    # The log.

    def position(self) -> int | None:
        return self.end + 1 if self.positions else None

    def passed(self, position: int) -> bool:
        if self.stuck:
            return False
        if self.applied < len(self.log) and self.log[self.applied][0] < position:
            self.follow()
            return False
        return True

    def follow(self) -> None:
        """The mirror takes one more transaction in."""
        if self.applied < len(self.log):
            doc = self.log[self.applied][1]
            self.mirror[doc.key] = doc
            self.applied += 1

    # The mirror.

    def head(self) -> int:
        return self.applied

    def look(
        self, kind: DocumentKind, keys: Sequence[str] | None, *, after: int, since: int | None
    ) -> tuple[dict[str, Any], set[str]]:
        held: dict[str, Any] = dict(self.mirror) if kind is DocumentKind.INVOICE else {"7": CUSTOMER}
        told = self.log[after : self.applied] if kind is DocumentKind.INVOICE else []
        changed = {doc.key for position, doc in told if since is None or position >= since}
        return ({key: held[key] for key in held if keys is None or key in keys}, changed)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if not self.positions:
            self.follow()

    def compare(self, patience: float = 5.0) -> Compared:
        return Reconciler(
            self, self, self, patience=patience, told=lambda _: None, sleep=self.sleep, clock=lambda: self.now
        ).compare()


def test_what_is_the_same_is_proven_through_the_first_position(request: pytest.FixtureRequest) -> None:
    world = World(*[invoice(str(number)) for number in range(10, 17)])
    world.mirror = {k: msgspec.structs.replace(d, total_amount=Decimal("100")) for k, d in world.mirror.items()}
    assert world.compare() == Compared(7, 1, (), (), 1001)


@pytest.mark.parametrize(
    ("there", "here", "told"),
    [
        ([invoice("1", open_amount=Decimal("40.00"))], [invoice("1")], ("1", "open_amount", "40", "100", "60.00")),
        ([invoice("1", number="INV9")], [invoice("1")], ("1", "number", "INV9", "INV1", None)),
        ([invoice("1"), invoice("2")], [invoice("1")], ("2", "document", "there", None, "100.00")),
        ([invoice("1")], [invoice("1"), invoice("2")], ("2", "document", None, "there", "100.00")),
    ],
)
def test_a_difference_names_the_field_both_sides_and_the_money(
    there: list[Invoice], here: list[Invoice], told: tuple[str, ...]
) -> None:
    world = World(*there)
    world.mirror = {doc.key: doc for doc in here}
    (found,) = world.compare().differences
    amount = None if found.amount is None else str(found.amount)
    assert (found.document, found.field, found.erp, found.arsync, amount) == (f"invoice/{told[0]}", *told[1:])
    assert found.customer == "7"


def test_a_customer_is_compared_by_company() -> None:
    world = World(invoice("1"))
    world.owed = Decimal("90.00")
    (found,) = world.compare().differences
    assert (found.document, found.field, found.erp, found.currency) == ("customer/7", "receivable/1", "90", "EUR")


def test_what_is_written_between_two_looks_is_no_difference_and_is_looked_at_again() -> None:
    """The API shows it, the mirror does not: that is what a change in flight looks like."""
    world = World(invoice("1"), invoice("2"))
    world.before_read = lambda read: world.change("1", open_amount=Decimal("0.00")) if read == 1 else None
    compared = world.compare()
    assert (compared.differences, compared.unsettled) == ((), ())
    assert world.mirror["1"].open_amount == 0


def test_what_the_mirror_has_and_the_api_did_not_show_yet_is_no_difference() -> None:
    """Written after the page was read, and in the mirror before it is judged."""
    world = World(invoice("1"), invoice("2"))
    reader = world.read

    def read_then_write(kind: DocumentKind, **place: Any) -> list[Reading]:
        found = reader(kind, **place)
        if world.reads == 1:
            world.change("2", open_amount=Decimal("1.00"))
        return found

    world.read = read_then_write  # type: ignore[method-assign]
    assert world.compare().differences == ()


def test_a_document_that_is_created_meanwhile_is_no_difference() -> None:
    world = World(invoice("1"))

    def create(read: int) -> None:
        if read == 2:
            world.invoices["0"] = invoice("0")
            world.change("0")

    world.before_read = create
    assert world.compare().differences == ()


def test_a_document_that_never_rests_is_not_judged_and_the_others_are() -> None:
    world = World(invoice("1"), invoice("2"))
    world.mirror["2"] = invoice("2", number="OTHER")
    amounts = iter(range(1, 100))
    world.before_read = lambda _: world.change("1", open_amount=Decimal(next(amounts)))
    compared = world.compare()
    assert compared.unsettled == ("invoice/1",)
    assert [one.document for one in compared.differences] == ["invoice/2"]


def test_a_mirror_that_lags_is_waited_for() -> None:
    world = World(invoice("1"), invoice("2"))
    for number in range(20):
        world.change("1", open_amount=Decimal(number))
    assert world.compare().differences == ()
    assert world.applied == 20


def test_a_mirror_that_stands_still_proves_nothing() -> None:
    world = World(invoice("1"))
    world.stuck = True
    with pytest.raises(MirrorBehindError, match=r"position 1001 .* within 5 s.*arsync status"):
        world.compare()


def test_without_positions_what_comes_a_little_later_is_no_difference_and_what_stays_is() -> None:
    world = World(invoice("1"), invoice("2"), positions=False)
    world.change("1", open_amount=Decimal("0.00"))
    world.mirror["2"] = invoice("2", number="OTHER")
    compared = world.compare()
    assert [one.document for one in compared.differences] == ["invoice/2"]
    assert compared.position is None
