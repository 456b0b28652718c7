"""A receipt that somebody else has put on account, on a real Tryton: it is not booked a second time."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from engine.model.commands import ApplyReceipt, Outcome, PostPayment
from tests.tryton.bench import DAY, VALIDATE, Bench, calls
from tests.tryton.test_other_writes import about, open_items, send

pytestmark = pytest.mark.live

CUSTOMER = "Escaut Energie"
TEXT = "BANK-4711"


def payment(bench: Bench, invoice: int, reference: str | None, **changes: Any) -> PostPayment:
    return msgspec.structs.replace(bench.write({invoice: "121.00"}), reference=reference, **changes)


def party(bench: Bench, invoice: int) -> int:
    return int(bench.row(invoice)["party"])


def imported(bench: Bench, invoice: int, amount: str, **texts: str) -> None:
    """A statement of the bank's, validated, with money of the invoice's customer that is applied to nothing."""
    session = bench.session
    account = session.call("model.account.invoice.read", [invoice], ["account"])[0]["account"]
    journal = session.call("model.account.statement.journal.search", [["currency.code", "=", "EUR"]], 0, 1, None)[0]
    line = {"date": DAY, "amount": Decimal(amount), "party": party(bench, invoice), "account": account, **texts}
    values = {"name": "import", "company": 1, "journal": journal, "date": DAY, "total_amount": Decimal(amount),
              "number_of_lines": 1, "lines": [["create", [line]]]}  # fmt: skip
    (number,) = session.call("model.account.statement.create", [values])
    session.call("model.account.statement.validate_statement", [number])
    session.call("model.account.statement.post", [number])


def refused(bench: Bench, outcome: Outcome, invoice: int) -> bool:
    assert bench.row(invoice)["amount_to_pay"] == (Decimal("121.00") if outcome.kind == "rejected" else 0), outcome
    return (outcome.kind, outcome.reason) == ("rejected", "duplicate_receipt")


def test_a_receipt_that_stands_on_account_is_not_booked_again_and_can_be_applied(bench: Bench) -> None:
    invoice, text = bench.invoice(customer=CUSTOMER), f"{TEXT}-move"
    bench.accountant.book_on_account(party(bench, invoice), Decimal("121.00"), text, DAY)
    before = open_items(bench, party(bench, invoice))
    outcome = send(bench, payment(bench, invoice, text))
    assert refused(bench, outcome, invoice)
    assert open_items(bench, party(bench, invoice)) == before
    assert f"121.00 EUR of {DAY}" in outcome.detail
    item = outcome.detail.rpartition("receipt ")[2].partition(" ")[0]
    assert f"account.move.line,{item} " in outcome.detail
    assert send(bench, ApplyReceipt(**about(bench, invoice), receipt=item, clears=True)).kind == "accepted"
    bench.accountant.run_queue()
    assert bench.row(invoice)["state"] == "paid"


@pytest.mark.parametrize("where", ["number", "description"])
def test_what_a_bank_s_statement_has_brought_is_known_by_its_line_s_text(bench: Bench, where: str) -> None:
    invoice, text = bench.invoice(customer=CUSTOMER), f"{TEXT}-{where}"
    imported(bench, invoice, "121.00", **{where: text})
    assert refused(bench, send(bench, payment(bench, invoice, text)), invoice)
    assert not refused(bench, send(bench, payment(bench, invoice, f"{text}-another")), invoice)


@pytest.mark.parametrize("why", ["no reference", "other amount", "other customer", "applied", "other currency"])
def test_what_is_another_receipt_keeps_none_from_being_booked(bench: Bench, why: str) -> None:
    invoice, text = bench.invoice(customer=CUSTOMER), f"{TEXT}-{why}"
    whose = bench.invoice() if why == "other customer" else invoice
    amount = Decimal("120.00" if why == "other amount" else "121.00")
    bench.accountant.book_on_account(party(bench, whose), amount, text, DAY)
    if why == "applied":
        other = bench.invoice(customer=CUSTOMER)
        assert send(bench, ApplyReceipt(**about(bench, other), receipt=text)).kind == "accepted"
    if why == "other currency":
        invoice = bench.invoice(currency="USD", customer=CUSTOMER)
        write = msgspec.structs.replace(bench.write({invoice: "121.00"}, currency="USD"), reference=text)
    else:
        write = payment(bench, invoice, None if why == "no reference" else text)
    assert not refused(bench, send(bench, write), invoice)


def test_our_own_receipts_are_never_in_the_way(bench: Bench) -> None:
    """One of 121.00 stays on account with the same reference; the next, of as much, is sent, cut off and resumed."""
    first, invoice, text = bench.invoice(customer=CUSTOMER), bench.invoice(customer=CUSTOMER), f"{TEXT}-own"
    write = payment(bench, first, text, amount=Decimal("242.00"), on_account=Decimal("121.00"))
    key = bench.key()
    bench.proxy.drop_answer(calls(VALIDATE))
    assert send(bench, write, key).kind == "unknown"
    found = bench.target.find(key, write)
    assert found is not None
    assert bench.target.resume(key, write, found).kind == "accepted"
    assert not refused(bench, send(bench, payment(bench, invoice, text)), invoice)
