"""The end check must see each kind of difference: it is what the demo's last line rests on."""

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from demo.agreement import Due, compare_customers, compare_invoices
from demo.books import Receipt, Way
from demo.company import CompanyPlan
from demo.journal import compared
from demo.ledger import Difference, Entry, Ledger
from demo.report import Outcome, verdict
from demo.tally import Tally

BILLED, PAID = dt.date(2026, 10, 15), dt.date(2026, 11, 20)
DUE = dt.date(2026, 12, 1)

Rows = list[dict[str, Any]]


def receipt(invoice: int, amount: str) -> Receipt:
    return Receipt("ABCDEFGHIJ234567", Way.MOVE, 1, invoice, Decimal(amount))


def ledger() -> Ledger:
    book = Ledger()
    book.add(Entry("a", "pays", PAID, ((1, Decimal("121.00")),)))
    book.add(Entry("b", "is refused", PAID, (), ("already_cleared",)))
    book.add(Entry("c", "pays two", PAID, ((2, Decimal("10.00")), (3, Decimal("20.00"))), ("stale_basis",)))
    return book


def receipts() -> dict[str, list[Receipt]]:
    return {"a": [receipt(1, "121.00")], "c": [receipt(2, "10.00"), receipt(3, "20.00")]}


def intents() -> Rows:
    return [{"id": "a", "state": "done"}, {"id": "b", "state": "refused"}, {"id": "c", "state": "done"}]


def conflicts() -> Rows:
    return [{"intent": "b", "kind": "already_cleared"}, {"intent": "c", "kind": "stale_basis"}]


def told(differences: list[Difference]) -> list[str]:
    return [str(difference) for difference in differences]


def test_a_ledger_that_came_true_has_no_differences() -> None:
    lines, differences = ledger().compare(receipts(), intents(), conflicts())
    assert differences == []
    assert [[(i, str(a)) for i, a in line.effects] for line in lines] == [
        [(1, "121.00")],
        [],
        [(2, "10.00"), (3, "20.00")],
    ]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([], "intent a: effect on invoice 1 must be 121.00, is nothing"),
        (["121.00", "121.00"], "intent a: effect on invoice 1 must be 121.00, is 121.00 and 121.00"),
        (["120.99"], "intent a: effect on invoice 1 must be 121.00, is 120.99"),
        (["100.00", "21.00"], "intent a: effect on invoice 1 must be 121.00, is 100.00 and 21.00"),
    ],
    ids=["lost", "twice", "wrong", "split"],
)
def test_money_is_found_lost_double_or_wrong(found: list[str], expected: str) -> None:
    there = receipts() | {"a": [receipt(1, amount) for amount in found]}
    assert told(ledger().compare(there, intents(), conflicts())[1]) == [expected]


def test_money_on_another_invoice_is_two_differences() -> None:
    there = receipts() | {"a": [receipt(9, "121.00")]}
    assert told(ledger().compare(there, intents(), conflicts())[1]) == [
        "intent a: effect on invoice 1 must be 121.00, is nothing",
        "intent a: effect on invoice 9 must be nothing, is 121.00",
    ]


def test_money_for_a_refused_intent_is_found() -> None:
    there = receipts() | {"b": [receipt(1, "5.00")]}
    assert told(ledger().compare(there, intents(), conflicts())[1]) == [
        "intent b: effect on invoice 1 must be nothing, is 5.00"
    ]


@pytest.mark.parametrize("state", ["planned", "held", "refused", "waiting"])
def test_an_intent_that_did_not_end_as_expected_is_found(state: str) -> None:
    rows = [{"id": "a", "state": state}, *intents()[1:]]
    assert told(ledger().compare(receipts(), rows, conflicts())[1]) == [f"intent a: state must be done, is {state}"]


def test_a_command_that_left_too_seldom_is_found() -> None:
    book = Ledger([Entry("a", "came too late once", PAID, ((1, Decimal("121.00")),), (), 2)])
    for sends, expected in ((1, ["intent a: sends must be 2 at the least, is 1"]), (2, []), (3, [])):
        rows = [{"id": "a", "state": "done", "commands": [{"sends": sends}]}]
        assert told(book.compare({"a": [receipt(1, "121.00")]}, rows, [])[1]) == expected


def test_an_intent_that_is_missing_or_that_nobody_submitted_is_found() -> None:
    rows = [*intents()[1:], {"id": "x", "state": "done"}]
    assert told(ledger().compare(receipts(), rows, conflicts())[1]) == [
        "intent a: state must be done, is listed 0 times",
        "intent x: submitted must be never, is listed by arsync",
    ]


def test_conflicts_are_counted_by_intent_and_kind() -> None:
    said: Rows = [
        {"intent": "a", "kind": "stale_basis"},
        {"intent": "c", "kind": "stale_basis"},
        {"intent": "c", "kind": "stale_basis"},
        {"intent": None, "kind": "drift"},
        {"intent": "y", "kind": "drift"},
    ]
    assert told(ledger().compare(receipts(), intents(), said)[1]) == [
        "intent a: conflicts must be none, is stale_basis",
        "intent b: conflicts must be already_cleared, is none",
        "intent c: conflicts must be stale_basis, is stale_basis, stale_basis",
        "no intent: conflicts must be none, is drift",
        "intent y: conflicts must be none, is drift",
    ]


def tally() -> Tally:
    made = Tally(CompanyPlan())
    made.billed(1, Decimal("121.00"), "EUR", BILLED)
    made.billed(2, Decimal("1210.00"), "USD", BILLED)
    made.billed(3, Decimal("50.00"), "EUR", BILLED)
    made.billed(4, Decimal("60.00"), "EUR", BILLED)
    made.received(1, Decimal("21.00"), PAID)
    made.received(3, Decimal("50.00"), PAID)
    made.taken_back(3, Decimal("50.00"), PAID)
    made.cancelled(4)
    made.expect([Entry("d", "", PAID, ((2, Decimal("1210.00")),))])
    return made


def test_the_tally_books_the_rates_difference_away() -> None:
    made = tally()
    # 1210 USD were 1100.00 EUR when billed (1.10) and 1080.36 EUR when paid (1.12).
    assert made.bank == Decimal("21.00") + Decimal("1080.36")
    assert made.receivable == Decimal("100.00") + Decimal("50.00")
    assert made.accounts[2].billed_own == Decimal("1100.00")
    assert [made.accounts[number].open for number in (1, 2, 3, 4)] == [100, 0, 50, 0]


def books() -> Rows:
    opens = {1: "100.00", 2: "0", 3: "50.00", 4: "0"}
    return [{"id": number, "number": f"INV{number}", "amount_to_pay": Decimal(o)} for number, o in opens.items()]


def test_the_tally_agrees_with_books_that_are_right() -> None:
    made = tally()
    assert made.compare(books(), made.bank, made.receivable) == []


def test_the_tally_finds_wrong_totals_open_amounts_and_invoices() -> None:
    made = tally()
    rows = [*books()[1:], {"id": 9, "number": "INV9", "amount_to_pay": Decimal(1)}]
    rows[1]["amount_to_pay"] = Decimal("49.99")
    found = made.compare(rows, made.bank - 1, made.receivable + 1)
    assert told(found) == [
        "Tryton's invoice 1: record must be there, is missing",
        "Tryton's invoice INV3: open amount must be 50.00, is 49.99",
        "Tryton's invoice 9: record must be never written, is there",
        "Tryton's bank: total must be 1101.36, is 1100.36",
        "Tryton's receivables: total must be 150.00, is 151.00",
    ]


ERP = {
    "id": 7,
    "number": "INV7",
    "state": "posted",
    "total_amount": Decimal("121.00"),
    "amount_to_pay": Decimal("21.00"),
    "currency": "EUR",
    "party": 3,
}
ENGINE = {
    "key": "7",
    "number": "INV7",
    "erp_state": "posted",
    "total_amount": "121",
    "open_amount": "21.00",
    "currency": "EUR",
    "customer": "3",
    "due": [["2026-12-01", "121.00"]],
    "state": "open",
    "parked": None,
}
INSTALMENTS: dict[int, Due] = {7: [(DUE, Decimal("121.00"))]}


def of_invoices(engine: Rows, erp: Rows | None = None) -> list[str]:
    pairs = compare_invoices([ERP] if erp is None else erp, INSTALMENTS, engine)
    return told([difference for pair in pairs for difference in pair.differences])


def test_the_same_invoice_in_two_spellings_agrees() -> None:
    assert of_invoices([ENGINE]) == []


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("number", "INV8", "number must be INV7, is INV8"),
        ("erp_state", "paid", "erp_state must be posted, is paid"),
        ("total_amount", "121.01", "total_amount must be 121, is 121.01"),
        ("open_amount", "0.00", "open_amount must be 21, is 0"),
        ("open_amount", None, "open_amount must be 21, is None"),
        ("currency", "USD", "currency must be EUR, is USD"),
        ("customer", "4", "customer must be 3, is 4"),
        ("due", [["2026-12-02", "121.00"]], "due must be 2026-12-01 121, is 2026-12-02 121"),
        ("due", [], "due must be 2026-12-01 121, is none"),
        ("state", "matched", "state must be open, is matched"),
        ("parked", "no rate", "parked must be no, is no rate"),
    ],
)
def test_each_field_of_an_invoice_counts(name: str, value: object, expected: str) -> None:
    assert of_invoices([ENGINE | {name: value}]) == [f"invoice INV7: {expected}"]


def test_an_invoice_that_is_missing_double_or_made_up_is_found() -> None:
    assert of_invoices([]) == ["invoice INV7: record must be listed once, is listed 0 times"]
    assert of_invoices([ENGINE, ENGINE]) == ["invoice INV7: record must be listed once, is listed 2 times"]
    assert of_invoices([ENGINE], []) == ["invoice 7: record must be not in Tryton, is listed by arsync"]


@pytest.mark.parametrize(("erp_state", "life"), [("cancelled", "cleared"), ("paid", "posted"), ("draft", "new")])
def test_the_life_of_an_invoice_follows_the_state_in_tryton(erp_state: str, life: str) -> None:
    erp = [ERP | {"state": erp_state, "amount_to_pay": Decimal(0)}]
    engine = [ENGINE | {"erp_state": erp_state, "open_amount": "0", "due": [], "state": life}]
    pairs = compare_invoices(erp, {}, engine)
    assert told(list(pairs[0].differences)) == []


def test_each_field_of_a_customer_counts_and_the_company_is_none() -> None:
    erp = [{"id": 3, "name": "A", "active": True, "receivable": Decimal("5.00"), "credit_limit_amount": None}]
    engine = {"key": "3", "name": "A", "active": True, "receivable": "5", "credit_limit": None, "parked": None}
    own = {"key": "1", "name": "Us"}
    assert told([d for pair in compare_customers(erp, [engine, own], 1) for d in pair.differences]) == []
    wrong = engine | {"name": "B", "active": False, "receivable": "6", "credit_limit": "0"}
    assert told([d for pair in compare_customers(erp, [wrong], 1) for d in pair.differences]) == [
        "customer A: name must be A, is B",
        "customer A: active must be True, is False",
        "customer A: receivable must be 5, is 6",
        "customer A: credit_limit must be None, is 0",
    ]


def test_the_last_line_counts() -> None:
    lines, differences = ledger().compare(receipts(), intents(), [])
    invoices = compare_invoices([ERP], INSTALMENTS, [ENGINE])
    assert verdict(Outcome(invoices, [], lines, [], [])) == "agree: 1 invoices, 0 customers, 3 intents, 0 differences"
    assert verdict(Outcome(invoices, [], lines, [], differences)) == (
        "disagree: 1 invoices, 0 customers, 3 intents, 2 differences"
    )


SOUND = {"entries": 9, "decided": 9, "batch": 8, "digest": "ab" * 32, "faults": []}
NORMAL = {"digest": "ef" * 32}


def test_a_journal_must_verify_here_and_elsewhere_with_one_digest() -> None:
    told = "The journal verifies: 9 entries, 9 decided again, digest abababababababab, normal form efefefefefefefef"
    assert str(compared(SOUND, SOUND, NORMAL)) == told
    other = compared(SOUND, SOUND | {"digest": "cd" * 32}, NORMAL)
    assert str(other).startswith("The journal does not verify: ")
    assert [one.field for one in other.differences] == ["digest"]
    fault = {"entry": "s#3", "field": "effects", "again": "[]", "recorded": "[1]", "sentence": "it differs"}
    assert "s#3" in str(compared(SOUND | {"faults": [fault]}, SOUND, NORMAL).differences[0])
    assert compared(SOUND | {"decided": 8}, SOUND | {"decided": 8}, NORMAL).differences
