"""All that is written besides plain payments, on a real Tryton: done once, as promised, seen in its own books."""

import datetime as dt
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from engine.model.commands import (
    ApplyReceipt,
    EntryLine,
    IssueMemo,
    Memo,
    Outcome,
    PostEntry,
    PostPayment,
    PromisedAllocation,
    ReleaseOrder,
    ReverseApplication,
    SetBlock,
    SetCreditLimit,
    Write,
)
from tests.tryton.bench import DAY, Bench, calls

pytestmark = pytest.mark.live


def about(bench: Bench, invoice: int, amount: str = "121.00", written_off: str = "0") -> dict[str, Any]:
    """The fields of a write about one invoice."""
    row = bench.row(invoice)
    promised = PromisedAllocation(str(invoice), Decimal(amount), row["number"], "v", Decimal(written_off))
    return {"company": "1", "customer": str(row["party"]), "currency": row["currency"], "amount": Decimal(amount),
            "allocations": (promised,)}  # fmt: skip


def send(bench: Bench, write: Write, key: str | None = None) -> Outcome:
    numbers = [int(a.invoice) for a in write.allocations]
    return bench.target.send(key or bench.key(), write, bench.guard(*numbers) if numbers else {})


def open_items(bench: Bench, party: int) -> list[Decimal]:
    """The customer's open receivable items that belong to no invoice, debit less credit."""
    domain = [["party", "=", party], ["account.type.receivable", "=", True], ["reconciliation", "=", None]]
    names = ["debit", "credit", "move.origin", "invoice_payment"]
    found = bench.session.call("model.account.move.line.search_read", domain, 0, None, None, names)
    loose = [row for row in found if not str(row["move."]["origin"]).startswith("account.invoice,")]
    return sorted(row["debit"] - row["credit"] for row in loose if not row["invoice_payment"])


def memos(bench: Bench, key: str) -> list[tuple[str, Decimal]]:
    domain = [["reference", "=", key]]
    found = bench.session.call("model.account.invoice.search_read", domain, 0, None, None, ["state", "total_amount"])
    return [(row["state"], row["total_amount"]) for row in found]


# Payments with more than their allocations


def test_a_deduction_is_given_up_and_the_invoice_paid(bench: Bench) -> None:
    invoice, key = bench.invoice(), bench.key()
    fields = {**about(bench, invoice, "121.00", "6.00"), "amount": Decimal("115.00")}
    write = PostPayment(**fields, date=DAY)
    before = bench.accountant.bank_total()
    outcome = send(bench, write, key)
    assert outcome.kind == "accepted", outcome
    assert bench.row(invoice)["state"] == "paid"
    assert bench.accountant.bank_total() - before == Decimal("115.00")
    found = bench.target.find(key, write)
    assert found is not None
    assert (found.amount, found.complete) == (Decimal("115.00"), True)


def test_what_is_paid_too_much_stays_on_account_and_is_applied_later(bench: Bench) -> None:
    invoice, key = bench.invoice(customer="Escaut Energie"), bench.key()
    party = int(bench.row(invoice)["party"])
    before = open_items(bench, party)
    write = PostPayment(**{**about(bench, invoice), "amount": Decimal("241.00")}, date=DAY,
                        on_account=Decimal("120.00"))  # fmt: skip
    assert send(bench, write, key).kind == "accepted"
    assert bench.row(invoice)["state"] == "paid"
    assert sorted(open_items(bench, party)) == sorted([*before, Decimal("-120.00")])
    second = bench.invoice(customer="Escaut Energie")
    later = ApplyReceipt(**about(bench, second, "120.00"), receipt=key)
    assert bench.target.find("", later) is None
    assert send(bench, later).kind == "accepted"
    assert bench.row(second)["amount_to_pay"] == Decimal("1.00")
    assert bench.target.find("", later) is not None
    assert send(bench, later).kind == "accepted", "once more changes nothing"
    assert bench.row(second)["amount_to_pay"] == Decimal("1.00")


def test_the_rest_of_a_receipt_goes_to_an_invoice_that_it_has_paid_in_part(bench: Bench) -> None:
    """Both carry the receipt's name, and may be as much: what stood there before is not what is to be applied."""
    invoice, key = bench.invoice(customer="Escaut Energie"), bench.key()
    paid = PostPayment(**{**about(bench, invoice, "30.00"), "amount": Decimal("60.00")}, date=DAY,
                       on_account=Decimal("30.00"))  # fmt: skip
    assert send(bench, paid, key).kind == "accepted"
    (row,) = bench.session.call("model.account.invoice.read", [invoice], ["payment_lines"])
    before = tuple(map(str, row["payment_lines"]))
    assert len(before) == 1
    write = ApplyReceipt(**about(bench, invoice, "30.00"), receipt=key, before=before)
    assert bench.target.find("", write) is None
    for _ in range(2):
        assert send(bench, write).kind == "accepted"
        assert bench.row(invoice)["amount_to_pay"] == Decimal("61.00")
    assert bench.target.find("", write) is not None


def test_a_receipt_that_pays_all_clears_the_invoice(bench: Bench) -> None:
    first, key = bench.invoice(customer="Duinzicht Glass"), bench.key()
    write = PostPayment(**{**about(bench, first), "amount": Decimal("242.00")}, date=DAY,
                        on_account=Decimal("121.00"))  # fmt: skip
    assert send(bench, write, key).kind == "accepted"
    second = bench.invoice(customer="Duinzicht Glass")
    later = ApplyReceipt(**about(bench, second), receipt=key, clears=True)
    assert send(bench, later).kind == "accepted"
    bench.accountant.run_queue()
    assert (bench.row(second)["state"], bench.row(second)["amount_to_pay"]) == ("paid", Decimal(0))
    assert bench.target.find("", later) is not None


def test_a_receipt_that_is_not_there_is_refused(bench: Bench) -> None:
    invoice = bench.invoice()
    outcome = send(bench, ApplyReceipt(**about(bench, invoice, "17.00"), receipt="NO-SUCH"))
    assert (outcome.kind, outcome.reason) == ("rejected", "precondition_failed")
    assert "no open item of 17.00 EUR of receipt NO-SUCH" in outcome.detail


@pytest.mark.parametrize("amount", ["121.00", "50.00"])
def test_an_application_is_taken_off_again(bench: Bench, amount: str) -> None:
    invoice = bench.invoice()
    assert bench.pay({invoice: amount}, bench.key()).kind == "accepted"
    (item,) = bench.session.call("model.account.invoice.read", [invoice], ["payment_lines"])[0]["payment_lines"]
    write = ReverseApplication(**about(bench, invoice, amount), item=str(item))
    assert bench.target.find("", write) is None
    outcome = send(bench, write)
    assert outcome.kind == "accepted", outcome
    bench.accountant.run_queue()
    assert (bench.row(invoice)["state"], bench.row(invoice)["amount_to_pay"]) == ("posted", Decimal("121.00"))
    assert bench.target.find("", write) is not None
    assert send(bench, write).kind == "accepted"
    assert bench.pay({invoice: "121.00"}, bench.key()).kind == "accepted", "the invoice can be paid anew"


# Memos


@pytest.mark.parametrize(("amount", "state"), [("121.00", "paid"), ("33.33", "posted"), ("0.01", "posted")])
def test_a_credit_memo_comes_to_what_was_asked_for(bench: Bench, amount: str, state: str) -> None:
    invoice, key = bench.invoice(), bench.key()
    write = IssueMemo(**about(bench, invoice, amount), date=DAY, memo=Memo.CREDIT, clears=amount == "121.00")
    outcome = send(bench, write, key)
    assert outcome.kind == "accepted", outcome
    bench.accountant.run_queue()
    assert memos(bench, key) == [(state, -Decimal(amount))]
    assert bench.row(invoice)["state"] == state
    found = bench.target.find(key, write)
    assert found is not None
    assert (found.amount, found.complete) == (Decimal(amount), True)


def test_a_memo_goes_down_to_the_smallest_unit_of_its_currency(bench: Bench) -> None:
    with bench.erp.administrator() as admin:
        rates = [["create", [{"date": dt.date(2020, 1, 1), "rate": Decimal("0.33")}]]]
        values = {"name": "Dinar", "code": "KWD", "symbol": "KWD", "digits": 3, "rounding": Decimal("0.001"),
                  "rates": rates}  # fmt: skip
        admin.call("model.currency.currency.create", [values])
    for amount in ("0.001", "0.006", "3.333", "12.100"):
        invoice, key = bench.invoice("10.000", currency="KWD"), bench.key()
        outcome = send(bench, IssueMemo(**about(bench, invoice, amount), date=DAY, memo=Memo.CREDIT), key)
        assert outcome.kind == "accepted", outcome
        assert memos(bench, key) == [("posted", -Decimal(amount))]


def test_a_debit_memo_stands_open(bench: Bench) -> None:
    invoice, key = bench.invoice(), bench.key()
    outcome = send(bench, IssueMemo(**about(bench, invoice, "20.00"), date=DAY, memo=Memo.DEBIT), key)
    assert outcome.kind == "accepted", outcome
    assert memos(bench, key) == [("posted", Decimal("20.00"))]


def test_what_was_left_behind_of_a_memo_is_done_and_nothing_twice(bench: Bench) -> None:
    invoice, key = bench.invoice(), bench.key()
    send(bench, SetBlock(**{**about(bench, invoice), "amount": Decimal(0)}, blocked=True))
    write = IssueMemo(**about(bench, invoice), date=DAY, memo=Memo.CREDIT, clears=True, lift_block=True)
    begun = IssueMemo(**about(bench, invoice), date=DAY, memo=Memo.CREDIT)
    assert send(bench, begun, key).kind == "accepted"
    found = bench.target.find(key, write)
    assert found is not None
    assert not found.complete
    assert bench.target.resume(key, write, found).kind == "accepted"
    bench.accountant.run_queue()
    assert (bench.row(invoice)["state"], memos(bench, key)) == ("paid", [("paid", Decimal("-121.00"))])
    again = bench.target.find(key, write)
    assert again is not None
    assert again.complete


def test_a_draft_left_behind_counts_for_nothing_and_is_removed(bench: Bench) -> None:
    invoice, key = bench.invoice(), bench.key()
    write = IssueMemo(**about(bench, invoice, "10.00"), date=DAY, memo=Memo.CREDIT)
    bench.proxy.drop_answer(calls("model.account.invoice.create"))
    assert send(bench, write, key).kind == "throttled", "a draft is no effect"
    assert [state for state, _ in memos(bench, key)] == ["draft"]
    assert bench.target.find(key, write) is None
    assert send(bench, write, key).kind == "accepted"
    assert memos(bench, key) == [("posted", Decimal("-10.00"))]


LOST = [
    ("model.account.invoice.post", "memo"),
    ("wizard.account.move.reconcile_lines.create", "memo"),
    ("wizard.account.move.reconcile_lines.execute", "memo"),
    ("model.account.move.line.payment_unblock", "part memo"),
    ("model.account.statement.validate_statement", "deduction"),
    ("model.account.invoice.write", "receipt"),
    ("wizard.account.move.reconcile_lines.execute", "receipt"),
    ("wizard.account.move.unreconcile_lines.execute", "reversal"),
    ("model.account.invoice.write", "reversal"),
    ("model.account.move.create", "entry"),
    ("model.account.move.post", "entry"),
    ("model.account.move.line.payment_block", "block"),
    ("model.party.party.write", "limit"),
]


@pytest.mark.parametrize(("method", "kind"), LOST)
def test_a_lost_answer_leaves_one_effect_after_a_look_and_if_need_be_another_send(
    bench: Bench, method: str, kind: str
) -> None:
    key, write = bench.key(), prepared(bench, kind)
    bench.proxy.drop_answer(calls(method))
    numbers = [int(a.invoice) for a in write.allocations]

    def attempt() -> Outcome:
        guard = bench.guard(*numbers) if numbers else {}
        if isinstance(write, SetCreditLimit):
            guard |= limit(bench, "Havenstad Textiles", None, None)[1]
        return bench.target.send(key, write, guard)

    outcome = attempt()
    assert outcome.kind in ("unknown", "throttled"), outcome
    found = bench.target.find(key, write)
    if found is None:
        assert attempt().kind == "accepted"
        found = bench.target.find(key, write)
    assert found is not None
    if not found.complete:
        assert bench.target.resume(key, write, found).kind == "accepted"
        found = bench.target.find(key, write)
    assert found is not None
    assert found.complete
    bench.accountant.run_queue()
    assert effect(bench, key, write) == 1


def prepared(bench: Bench, kind: str) -> Write:
    """A write of this kind, with everything that it needs in the books."""
    if kind == "entry":
        return entry(("5.1.1", "3.00", "0"), ("1.1.1", "0", "3.00"))
    if kind == "limit":
        domain = [["name", "=", "Havenstad Textiles"]]
        names = ["credit_limit_amount"]
        (row,) = bench.session.call("model.party.party.search_read", domain, 0, 1, None, names)
        old = row["credit_limit_amount"]
        return limit(bench, "Havenstad Textiles", str(old + 1), str(old))[0]
    invoice = bench.invoice()
    if kind.endswith("memo"):
        send(bench, SetBlock(**{**about(bench, invoice), "amount": Decimal(0)}, blocked=True))
        amount = "121.00" if kind == "memo" else "21.00"
        fields = about(bench, invoice, amount)
        return IssueMemo(**fields, date=DAY, memo=Memo.CREDIT, clears=kind == "memo", lift_block=True)
    if kind == "deduction":
        fields = {**about(bench, invoice, "121.00", "1.00"), "amount": Decimal("130.00")}
        return PostPayment(**fields, date=DAY, on_account=Decimal("10.00"))
    if kind == "block":
        return SetBlock(**{**about(bench, invoice), "amount": Decimal(0)}, blocked=True)
    if kind == "receipt":
        text, other = bench.key(), bench.invoice()
        over = {**about(bench, other), "amount": Decimal("242.00")}
        assert send(bench, PostPayment(**over, date=DAY, on_account=Decimal("121.00")), text).kind == "accepted"
        return ApplyReceipt(**about(bench, invoice), receipt=text, clears=True)
    assert bench.pay({invoice: "121.00"}, bench.key()).kind == "accepted"
    (item,) = bench.session.call("model.account.invoice.read", [invoice], ["payment_lines"])[0]["payment_lines"]
    return ReverseApplication(**about(bench, invoice), item=str(item))


def effect(bench: Bench, key: str, write: Write) -> int:
    """How often Tryton's books show what was asked for."""
    if isinstance(write, PostEntry):
        domain = [["description", "=", key], ["state", "=", "posted"]]
        return len(bench.session.call("model.account.move.search", domain))
    if isinstance(write, SetCreditLimit):
        read = bench.session.call("model.party.party.read", [int(write.customer)], ["credit_limit_amount"])
        return [row["credit_limit_amount"] for row in read].count(write.limit)
    row = bench.row(int(write.allocations[0].invoice))
    if isinstance(write, IssueMemo):
        state = "paid" if write.clears else "posted"
        blocked = bench.session.call("model.account.move.line.read", bench.lines(row["id"]), ["payment_blocked"])
        assert write.clears or not any(line["payment_blocked"] for line in blocked)
        assert row["state"] == state
        return memos(bench, key).count((state, -write.amount))
    if isinstance(write, SetBlock):
        lines = bench.session.call("model.account.move.line.read", bench.lines(row["id"]), ["payment_blocked"])
        return sum(line["payment_blocked"] for line in lines)
    if isinstance(write, PostPayment):
        assert row["state"] == "paid"
        return sum(p.amount == Decimal("121.00") for p in bench.accountant.payments([key]))
    if isinstance(write, ApplyReceipt):
        return int(row["state"] == "paid")
    return int((row["state"], row["amount_to_pay"]) == ("posted", Decimal("121.00")))


# Blocks, limits, entries


def test_a_block_is_set_and_lifted_and_setting_it_twice_does_no_harm(bench: Bench) -> None:
    invoice = bench.invoice()
    fields = {**about(bench, invoice), "amount": Decimal(0)}
    for blocked in (True, False):
        write = SetBlock(**fields, blocked=blocked)
        assert bench.target.find("", write) is None
        assert send(bench, write).kind == "accepted"
        assert bench.target.find("", write) is not None
        assert send(bench, write).kind == "accepted"


def limit(bench: Bench, customer: str, new: str | None, old: str | None) -> tuple[SetCreditLimit, dict[str, str]]:
    domain = [["name", "=", customer]]
    (row,) = bench.session.call("model.party.party.search_read", domain, 0, 1, None, ["_timestamp"])
    amounts = [None if text is None else Decimal(text) for text in (new, old)]
    write = SetCreditLimit(company="1", customer=str(row["id"]), currency="EUR", amount=Decimal(0),
                           limit=amounts[0], replaces=amounts[1])  # fmt: skip
    return write, {f"party.party,{row['id']}": row["_timestamp"]}


def test_a_credit_limit_is_set_if_it_is_still_the_one_to_be_replaced(bench: Bench) -> None:
    write, guard = limit(bench, "Fjordline Shipping", "55000.00", "40000.00")
    assert bench.target.find("", write) is None
    assert bench.target.send("", write, {}).kind == "rejected", "not without its token"
    assert bench.target.send("", write, guard).kind == "accepted"
    assert bench.target.find("", write) is not None
    assert bench.target.send("", write, guard).detail == "it is so already"
    late, _ = limit(bench, "Fjordline Shipping", "1.00", "55000.00")
    assert bench.target.send("", late, guard).kind == "stale", "its token is the one of before"
    wrong, fresh = limit(bench, "Fjordline Shipping", "1.00", "40000.00")
    assert bench.target.send("", wrong, fresh).kind == "stale"
    none, fresh = limit(bench, "Fjordline Shipping", None, "55000.00")
    assert bench.target.send("", none, fresh).kind == "accepted"
    assert bench.target.find("", none) is not None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"currency": "USD"}, "limits credit in EUR, not USD"),
        ({"company": "4711"}, "company.company,4711 is not in Tryton"),
    ],
)
def test_a_credit_limit_is_set_in_the_company_s_own_currency(bench: Bench, changes: Any, words: str) -> None:
    write, guard = limit(bench, "Fjordline Shipping", "777.00", "40000.00")
    outcome = bench.target.send("", msgspec.structs.replace(write, **changes), guard)
    assert (outcome.kind, outcome.reason) == ("rejected", "precondition_failed")
    assert words in outcome.detail


def entry(*lines: tuple[str, str, str], date: dt.date = DAY, currency: str = "EUR") -> PostEntry:
    sides = tuple(EntryLine(code, Decimal(debit), Decimal(credit)) for code, debit, credit in lines)
    amount = sum((side.debit for side in sides), Decimal(0))
    return PostEntry(company="1", customer="-", currency=currency, amount=amount, date=date, lines=sides)


def test_an_entry_is_posted_once(bench: Bench) -> None:
    key, write = bench.key(), entry(("5.1.1", "70.00", "0"), ("1.1.1", "0", "70.00"))
    before = bench.accountant.bank_total()
    assert bench.target.find(key, write) is None
    outcome = send(bench, write, key)
    assert outcome.kind == "accepted", outcome
    assert bench.target.find(key, write) is not None
    assert bench.accountant.bank_total() - before == Decimal("-70.00")


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (entry(("5.1.1", "1", "0"), ("no-such", "0", "1")), "0 accounts"),
        (entry(("5.1.1", "1", "0"), ("1.1.1", "0", "1"), currency="USD"), "books in EUR"),
        (entry(("5.1.1", "1", "0"), ("1.1.1", "0", "1"), date=dt.date(2031, 1, 1)), "a period for 2031-01-01"),
    ],
)
def test_an_entry_that_the_books_have_no_place_for_is_refused(bench: Bench, write: PostEntry, words: str) -> None:
    outcome = send(bench, write)
    assert outcome.kind == "rejected"
    assert words in outcome.detail


def test_an_order_over_the_limit_is_released(bench: Bench) -> None:
    domain = [["name", "=", "Granite Retail"]]
    (party,) = bench.session.call("model.party.party.search", domain)
    order = bench.accountant.quote_order(party, Decimal("9000.00"))
    write = ReleaseOrder(company="1", customer=str(party), currency="EUR", amount=Decimal(0), order=str(order))
    assert bench.target.find("", write) is None
    outcome = send(bench, write)
    assert outcome.kind == "accepted", outcome
    assert bench.accountant.order_state(order) in ("confirmed", "processing")
    assert bench.target.find("", write) is not None
    assert send(bench, write).kind == "accepted"
    unknown = ReleaseOrder(company="1", customer=str(party), currency="EUR", amount=Decimal(0), order="SO-404")
    assert send(bench, unknown).kind == "rejected"


@pytest.mark.parametrize(("currency", "at_most", "kind"), [
    ("EUR", "8999.99", "rejected"), ("USD", "9000.00", "rejected"), ("EUR", "9000.00", "accepted"),
])  # fmt: skip
def test_an_order_is_released_for_what_its_author_saw(bench: Bench, currency: str, at_most: str, kind: str) -> None:
    (party,) = bench.session.call("model.party.party.search", [["name", "=", "Granite Retail"]])
    order = bench.accountant.quote_order(party, Decimal("9000.00"))
    write = ReleaseOrder(company="1", customer=str(party), currency=currency, amount=Decimal(0), order=str(order),
                         at_most=Decimal(at_most))  # fmt: skip
    outcome = send(bench, write)
    assert outcome.kind == kind, outcome
    assert (bench.accountant.order_state(order) == "quotation") == (kind == "rejected")
    assert ("comes to 9000.00 EUR" in outcome.detail) == (kind == "rejected")


def test_an_order_s_number_that_is_another_one_s_id_releases_neither(bench: Bench) -> None:
    (party,) = bench.session.call("model.party.party.search", [["name", "=", "Granite Retail"]])
    # A draft takes an id and no number, so that ids run ahead of numbers.
    bench.session.call("model.sale.sale.create", [{"company": 1, "party": party, "currency": _euro(bench)}])
    numbers: dict[str, int] = {}
    while not (both := [number for number in numbers if int(number) in numbers.values()]):
        order = bench.accountant.quote_order(party, Decimal("9000.00"))
        (row,) = bench.session.call("model.sale.sale.read", [order], ["number"])
        numbers[row["number"]] = order
        assert len(numbers) < 40
    name = both[0]
    write = ReleaseOrder(company="1", customer=str(party), currency="EUR", amount=Decimal(0), order=name)
    outcome = send(bench, write)
    assert outcome.kind == "rejected"
    assert "the id of another" in outcome.detail
    assert {bench.accountant.order_state(order) for order in (int(name), numbers[name])} == {"quotation"}
    # Its id lies ahead of all numbers, so that it means one.
    assert send(bench, msgspec.structs.replace(write, order=str(numbers[name]))).kind == "accepted"
    assert bench.accountant.order_state(numbers[name]) in ("confirmed", "processing")
    assert bench.accountant.order_state(int(name)) == "quotation"


def _euro(bench: Bench) -> int:
    (company,) = bench.session.call("model.company.company.read", [1], ["currency"])
    return int(company["currency"])


def test_nothing_is_written_with_an_outdated_token(bench: Bench) -> None:
    invoice = bench.invoice()
    assert bench.pay({invoice: "20.00"}, bench.key()).kind == "accepted"
    (item,) = bench.session.call("model.account.invoice.read", [invoice], ["payment_lines"])[0]["payment_lines"]
    guard = bench.guard(invoice)
    bench.accountant.print_invoice(invoice)
    writes: list[Write] = [
        IssueMemo(**about(bench, invoice, "5.00"), date=DAY, memo=Memo.CREDIT),
        SetBlock(**{**about(bench, invoice), "amount": Decimal(0)}, blocked=True),
        ReverseApplication(**about(bench, invoice, "20.00"), item=str(item)),
        ApplyReceipt(**about(bench, invoice, "5.00"), receipt="BANK"),
    ]
    before = bench.row(invoice)
    for write in writes:
        key = bench.key()
        assert bench.target.send(key, write, guard).kind == "stale"
        assert memos(bench, key) == []
    assert bench.row(invoice) == before


def test_a_receivable_account_needs_its_customer(bench: Bench) -> None:
    key = bench.key()
    assert send(bench, entry(("1.2.1", "1.00", "0"), ("1.1.1", "0", "1.00")), key).kind == "rejected"
    assert bench.target.find(key, entry(("1.2.1", "1.00", "0"), ("1.1.1", "0", "1.00"))) is None
