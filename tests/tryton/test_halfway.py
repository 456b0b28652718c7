"""Receipts applied and taken off on a real Tryton: what stands in the way, and what fails halfway."""

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pytest

from connectors.tryton.rpc import Busy, RpcError, UserError
from engine.model.commands import ApplyReceipt, IssueMemo, Memo, PostPayment, ReverseApplication
from tests.tryton.bench import DAY, Bench
from tests.tryton.test_other_writes import about, send

pytestmark = pytest.mark.live

CLEAR = "wizard.account.move.reconcile_lines.execute"
UNLINK = "model.account.invoice.write"
CUSTOMER = "Escaut Energie"


@contextmanager
def failing(bench: Bench, method: str, error: RpcError) -> Iterator[None]:
    """Tryton answers each call of one method with an error, and does nothing."""
    session: Any = bench.target._session
    was = session._exchange

    def exchange(name: str, params: Any) -> Any:
        if name == method:
            raise error
        return was(name, params)

    session._exchange = exchange
    try:
        yield
    finally:
        session._exchange = was


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


def applications(bench: Bench, invoice: int) -> list[int]:
    names = ["payment_lines"]
    return list(bench.session.call("model.account.invoice.read", [invoice], names)[0]["payment_lines"])


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


@pytest.mark.parametrize("error", [Busy("503"), UserError("the sequence is locked")])
def test_what_is_applied_and_not_cleared_is_unknown_and_brought_to_its_end(bench: Bench, error: RpcError) -> None:
    invoice, receipt = bench.invoice(customer=CUSTOMER), on_account(bench, "121.00")
    write = ApplyReceipt(**about(bench, invoice), receipt=receipt, clears=True)
    with failing(bench, CLEAR, error):
        outcome = send(bench, write)
    (item,) = applications(bench, invoice)
    assert (outcome.kind, outcome.reference) == ("unknown", f"account.move.line,{item}"), outcome
    found = bench.target.find("", write)
    assert found is not None
    assert not found.complete
    assert bench.target.resume("", write, found).kind == "accepted"
    assert standing(bench, invoice) == ("paid", Decimal(0), 1)


def test_what_is_applied_and_cannot_be_cleared_is_unknown_and_told_when_it_is_resumed(bench: Bench) -> None:
    """Decided as if it came to what is open; it leaves one euro, and Tryton clears only what comes to zero."""
    invoice, receipt = bench.invoice(customer=CUSTOMER), on_account(bench, "120.00")
    write = ApplyReceipt(**about(bench, invoice, "120.00"), receipt=receipt, clears=True)
    outcome = send(bench, write)
    assert outcome.kind == "unknown", outcome
    found = bench.target.find("", write)
    assert found is not None
    assert bench.target.resume("", write, found).kind == "rejected"
    assert standing(bench, invoice) == ("posted", Decimal("1.00"), 1)


# An application that is taken off


@pytest.mark.parametrize("error", [Busy("503"), UserError("the invoice is locked")])
def test_what_is_no_longer_cleared_and_not_taken_off_is_unknown_and_done_by_the_next_send(
    bench: Bench, error: RpcError
) -> None:
    invoice = bench.invoice(customer=CUSTOMER)
    assert bench.pay({invoice: "121.00"}, bench.key()).kind == "accepted"
    (item,) = applications(bench, invoice)
    write = ReverseApplication(**about(bench, invoice), item=str(item))
    with failing(bench, UNLINK, error):
        outcome = send(bench, write)
    assert (outcome.kind, outcome.reference) == ("unknown", f"account.move.line,{item}"), outcome
    assert bench.target.find("", write) is None
    assert send(bench, write).kind == "accepted"
    assert standing(bench, invoice) == ("posted", Decimal("121.00"), 0)


def test_a_reversal_of_which_nothing_is_done_says_so(bench: Bench) -> None:
    invoice = bench.invoice(customer=CUSTOMER)
    assert bench.pay({invoice: "61.00"}, bench.key()).kind == "accepted"
    (item,) = applications(bench, invoice)
    write = ReverseApplication(**about(bench, invoice, "61.00"), item=str(item))
    with failing(bench, UNLINK, Busy("503")):
        assert send(bench, write).kind == "throttled"
    assert standing(bench, invoice) == ("posted", Decimal("60.00"), 1)


def test_a_clearing_with_somebody_else_s_credit_note_is_not_taken_apart(bench: Bench) -> None:
    invoice, key = bench.invoice(customer=CUSTOMER), bench.key()
    assert bench.pay({invoice: "61.00"}, bench.key()).kind == "accepted"
    memo = IssueMemo(**about(bench, invoice, "60.00"), date=DAY, memo=Memo.CREDIT)
    assert send(bench, memo, key).kind == "accepted"
    (note,) = bench.session.call("model.account.invoice.search", [["reference", "=", key]])
    (item,) = applications(bench, invoice)
    lines = [*bench.lines(invoice), *bench.lines(note), item]
    with bench.session.wizard("account.move.reconcile_lines", "account.move.line", lines) as wizard:
        wizard.execute("start")
    assert standing(bench, invoice) == ("paid", Decimal(0), 1)
    outcome = send(bench, ReverseApplication(**about(bench, invoice, "61.00"), item=str(item)))
    assert (outcome.kind, outcome.reason) == ("rejected", "precondition_failed"), outcome
    assert f"account.move.line,{bench.lines(note)[0]} " in outcome.detail
    assert "take it apart in Tryton" in outcome.detail
    assert standing(bench, invoice) == ("paid", Decimal(0), 1)
    assert standing(bench, note)[0] == "paid"


def test_what_somebody_else_paid_on_the_same_invoice_stays_applied(bench: Bench) -> None:
    invoice = bench.invoice(customer=CUSTOMER)
    assert bench.pay({invoice: "61.00"}, bench.key()).kind == "accepted"
    (item,) = applications(bench, invoice)
    bench.accountant.pay(invoice, Decimal("60.00"), "by hand", DAY)
    assert standing(bench, invoice) == ("paid", Decimal(0), 2)
    assert send(bench, ReverseApplication(**about(bench, invoice, "61.00"), item=str(item))).kind == "accepted"
    assert standing(bench, invoice) == ("posted", Decimal("61.00"), 1)


def test_a_difference_of_exchange_rates_is_in_nobody_s_way(bench: Bench) -> None:
    """Tryton asks a person before it takes such a clearing apart; that is its own question, asked before anything."""
    day = dt.date(2026, 12, 1)
    with bench.erp.administrator() as admin:
        (dollar,) = admin.call("model.currency.currency.search", [["code", "=", "USD"]])
        rates = [["create", [{"date": day, "rate": Decimal("1.5")}]]]
        admin.call("model.currency.currency.write", [dollar], {"rates": rates})
    invoice = bench.invoice(currency="USD", customer=CUSTOMER)
    assert bench.pay({invoice: "121.00"}, bench.key(), currency="USD", date=day).kind == "accepted"
    (item,) = applications(bench, invoice)
    domain = [["reconciliation.lines.id", "=", item], ["journal.type", "=", "write-off"]]
    assert bench.session.call("model.account.move.line.search", domain), "the rates differ"
    outcome = send(bench, ReverseApplication(**about(bench, invoice), item=str(item)))
    assert (outcome.kind, "wants a person to confirm" in outcome.detail) == ("rejected", True), outcome
    assert standing(bench, invoice) == ("paid", Decimal(0), 1)
