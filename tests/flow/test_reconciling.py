"""The store held against the ERP's API: what differs is named, what is only on its way is not."""

import datetime as dt
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from engine.flow.reconciling import Compared, reconcile
from engine.model.documents import CreditAccount, Customer, DocumentKind, Invoice, InvoiceType, Phase
from engine.ports.target import Reading
from tests.flow.erp_with_faults import FaultyErp


def invoice(key: str, **changes: Any) -> Invoice:
    doc = Invoice(key, "1", InvoiceType.INVOICE, f"INV{key}", "7", "EUR", Decimal("100.00"), Decimal("100.00"),
                  Phase.OPEN, "posted", dt.date(2026, 11, 1))  # fmt: skip
    return msgspec.structs.replace(doc, **changes)


CUSTOMER = Customer("7", True, (CreditAccount("1", "EUR", Decimal("100.00"), None),))


class Erp(FaultyErp):
    """Pages of three documents; its customers owe what `owed` says."""

    def __init__(self, *invoices: Invoice) -> None:
        super().__init__("erp")
        self.invoices = {doc.key: doc for doc in invoices}
        self.owed = Decimal("100.00")

    def read(
        self, kind: DocumentKind, *, after: str | None = None, keys: Sequence[str] | None = None
    ) -> list[Reading]:
        if kind is DocumentKind.INVOICE:
            return super().read(kind, after=after, keys=keys)[:3]
        facts = {"active": True, "receivable/1": self.owed, "credit_limit/1": None, "receivable/2": Decimal(0)}
        return [] if after else [Reading("7", facts)]


class House:
    """A store of documents, and a clock that brings what is late."""

    def __init__(self, *invoices: Invoice) -> None:
        self.invoices = {doc.key: doc for doc in invoices}
        self.late: list[Invoice] = []
        self.slept = 0.0

    def kept(self, kind: DocumentKind, keys: Sequence[str] | None) -> dict[str, Invoice | Customer]:
        held: dict[str, Invoice | Customer] = dict(self.invoices) if kind is DocumentKind.INVOICE else {"7": CUSTOMER}
        return held if keys is None else {key: held[key] for key in keys if key in held}

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        if self.late:
            doc = self.late.pop()
            self.invoices[doc.key] = doc

    def against(self, erp: Erp, patience: float = 30.0) -> Compared:
        return reconcile(erp, self.kept, patience=patience, told=lambda _: None, sleep=self.sleep)


def test_what_is_the_same_has_no_difference_however_many_pages_it_takes() -> None:
    docs = [invoice(str(number)) for number in range(10, 17)]
    house = House(*docs)
    spelled = [msgspec.structs.replace(doc, total_amount=Decimal("100")) for doc in docs]
    assert house.against(Erp(*spelled)) == Compared(7, 1, ())
    assert house.slept == 0


@pytest.mark.parametrize(
    ("there", "here", "told"),
    [
        ([invoice("1", open_amount=Decimal("40.00"))], [invoice("1")], ("1", "open_amount", "40", "100")),
        ([invoice("1", number="INV9")], [invoice("1")], ("1", "number", "INV9", "INV1")),
        ([invoice("1"), invoice("2")], [invoice("1")], ("2", "document", "there", None)),
        ([invoice("1")], [invoice("1"), invoice("2")], ("2", "document", None, "there")),
    ],
)
def test_a_difference_names_the_field_and_both_sides(
    there: list[Invoice], here: list[Invoice], told: tuple[str, ...]
) -> None:
    house = House(*here)
    (difference,) = house.against(Erp(*there), patience=5).differences
    assert (difference.key, difference.field, difference.erp, difference.arsync) == told
    assert house.slept >= 5


def test_what_the_change_stream_brings_a_little_later_is_no_difference() -> None:
    house = House(invoice("1"), invoice("2"))
    paid = invoice("1", open_amount=Decimal("0.00"))
    house.late = [paid]
    assert house.against(Erp(paid, invoice("2"))).differences == ()


def test_a_customer_is_compared_by_company() -> None:
    erp = Erp(invoice("1"))
    erp.owed = Decimal("90.00")
    (difference,) = House(invoice("1")).against(erp, patience=1).differences
    assert (difference.kind, difference.field, difference.erp) == (DocumentKind.CUSTOMER, "receivable/1", "90")
