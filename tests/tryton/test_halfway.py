"""Receipts applied and taken off on a real Tryton: what stands in the way, and what fails halfway."""

from decimal import Decimal

import pytest

from engine.model.commands import ApplyReceipt, PostPayment
from tests.tryton.bench import DAY, Bench
from tests.tryton.test_other_writes import about, send

pytestmark = pytest.mark.live

CUSTOMER = "Escaut Energie"


def on_account(bench: Bench, amount: str, currency: str = "EUR") -> str:
    """The text of a receipt of which so much stands on account."""
    other, key = bench.invoice(currency=currency, customer=CUSTOMER), bench.key()
    fields = {**about(bench, other), "amount": Decimal("121.00") + Decimal(amount)}
    assert send(bench, PostPayment(**fields, date=DAY, on_account=Decimal(amount)), key).kind == "accepted"
    return key


def standing(bench: Bench, invoice: int) -> tuple[str, Decimal, int]:
    """An invoice's state, what is to be paid, and how many items are applied."""
    bench.accountant.run_queue()
    names = ["state", "amount_to_pay", "payment_lines"]
    (row,) = bench.session.call("model.account.invoice.read", [invoice], names)
    return row["state"], row["amount_to_pay"], len(row["payment_lines"])


# A receipt that is applied


@pytest.mark.parametrize(("held", "kind"), [("USD", "rejected"), ("EUR", "accepted")])
def test_a_receipt_in_another_currency_is_not_taken_for_this_one(bench: Bench, held: str, kind: str) -> None:
    invoice, receipt = bench.invoice(customer=CUSTOMER), on_account(bench, "60.00", held)
    write = ApplyReceipt(**about(bench, invoice, "60.00"), receipt=receipt)
    outcome = send(bench, write)
    assert outcome.kind == kind, outcome
    assert standing(bench, invoice)[2] == (kind == "accepted")
    assert (bench.target.find("", write) is not None) is (kind == "accepted")


def test_a_dollar_receipt_pays_a_dollar_invoice(bench: Bench) -> None:
    invoice, receipt = bench.invoice(currency="USD", customer=CUSTOMER), on_account(bench, "60.00", "USD")
    outcome = send(bench, ApplyReceipt(**about(bench, invoice, "60.00"), receipt=receipt))
    assert outcome.kind == "accepted", outcome
    assert standing(bench, invoice) == ("posted", Decimal("61.00"), 1)
