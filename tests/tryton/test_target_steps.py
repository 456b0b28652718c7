"""A receipt in several steps on a real Tryton: people and crashes between them, and what the journals ask for."""

import datetime as dt
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from demo.accountant import Item
from engine.model.commands import Found, Outcome, OutcomeKind, PostPayment
from tests.tryton.bench import CANCEL, CREATE, DAY, PAYMENT, POST, VALIDATE, Bench, calls, held

pytestmark = pytest.mark.live

STATEMENT = "model.account.statement"
JOURNAL = "model.account.statement.journal"


def pair(bench: Bench) -> tuple[str, PostPayment, dict[str, str]]:
    """A key, a receipt for two invoices, and its guard."""
    amounts = {bench.invoice(): "121.00", bench.invoice(): "50.00"}
    return bench.key(), bench.write(amounts), bench.guard(*amounts)


def as_promised(write: PostPayment) -> list[tuple[int, Decimal]]:
    return sorted((int(a.invoice), a.amount) for a in write.allocations)


def applied(bench: Bench) -> tuple[str, PostPayment, Found]:
    """A receipt whose statement was validated and not posted, because its answer was lost."""
    key, write, guard = pair(bench)
    bench.proxy.drop_answer(calls(VALIDATE))
    assert bench.target.send(key, write, guard).kind is OutcomeKind.UNKNOWN
    found = bench.target.find(key, PAYMENT)
    assert found is not None
    assert (found.complete, found.amount) == (False, Decimal("171.00"))
    return key, write, found


def number_of(found: Found) -> int:
    return int(found.reference.partition(",")[2])


def draft_of_another(bench: Bench, number: str, invoice: int | None = None) -> int:
    """A draft that the accountant leaves in Tryton; `number` stands on its line."""
    name = "Birkenau Foods"
    party = next(int(row["id"]) for row in bench.accountant.customers() if row["name"] == name)
    some = bench.session.call("model.account.invoice.search", [["party", "=", party]], 0, 1, None)
    account = bench.session.call("model.account.invoice.read", some, ["account"])[0]["account"]
    journal = bench.session.call(f"{JOURNAL}.search", [["currency.code", "=", "EUR"]], 0, 1, [["id", "ASC"]])[0]
    line = {"number": number, "date": DAY, "amount": Decimal("121.00"), "party": party, "account": account}
    if invoice is not None:
        line["related_to"] = f"account.invoice,{invoice}"
    values = {"name": "by hand", "company": 1, "journal": journal, "date": DAY, "total_amount": Decimal("121.00"),
              "lines": [["create", [line]]]}  # fmt: skip
    return int(bench.accountant._session.call(f"{STATEMENT}.create", [values])[0])


def test_exactly_one_instalment_is_a_part_payment_without_a_question(bench: Bench) -> None:
    party = next(int(row["id"]) for row in bench.accountant.customers() if row["name"] == "Birkenau Foods")
    number = bench.accountant.create_invoice(
        party, [Item("A", Decimal("10.00"), taxed=False)], invoice_date=DAY, term="Half in 20, rest in 40"
    )
    for left in ("5.00", "0"):
        key = bench.key()
        outcome = bench.pay({number: "5.00"}, key)
        assert outcome.kind is OutcomeKind.ACCEPTED, outcome
        assert bench.effects(key) == [(number, Decimal("5.00"))]
        assert bench.row(number)["amount_to_pay"] == Decimal(left)


def test_what_is_found_tells_the_amount_in_the_currency_of_the_invoice(bench: Bench) -> None:
    for amount in ("121.00", "21.00"):
        key = bench.key()
        outcome = bench.pay({bench.invoice(currency="USD"): amount}, key, currency="USD", date=dt.date(2026, 12, 1))
        assert outcome.kind is OutcomeKind.ACCEPTED, outcome
        found = bench.target.find(key, PAYMENT)
        assert found is not None
        assert (found.amount, found.complete) == (Decimal(amount), True)


@pytest.mark.parametrize("gone", [False, True])
def test_a_statement_that_was_taken_back_is_not_taken_for_posted(bench: Bench, *, gone: bool) -> None:
    key, write, found = applied(bench)
    bench.session.call(f"{STATEMENT}.cancel", [number_of(found)])
    if gone:
        bench.session.call(f"{STATEMENT}.delete", [number_of(found)])
    assert bench.target.find(key, PAYMENT) is None
    outcome = bench.target.resume(key, write, found)
    assert (outcome.kind, outcome.reference) == (OutcomeKind.REJECTED, found.reference)
    assert bench.effects(key) == []


def test_a_person_may_post_it_at_the_same_time(bench: Bench) -> None:
    key, write, found = applied(bench)
    outcome: Outcome = held(bench, calls(POST),
                            partial(bench.session.call, f"{STATEMENT}.post", [number_of(found)]),
                            partial(bench.target.resume, key, write, found))  # fmt: skip
    assert outcome.kind is OutcomeKind.ACCEPTED
    assert bench.effects(key) == as_promised(write)


def test_a_draft_that_a_person_validates_is_not_taken_back(bench: Bench) -> None:
    """Cancelling is allowed by Tryton for a validated statement, and would undo what was just applied."""
    key, write, guard = pair(bench)
    bench.proxy.drop_answer(calls(CREATE))
    assert bench.target.send(key, write, guard).kind is OutcomeKind.THROTTLED
    (draft,) = bench.session.call(f"{STATEMENT}.search", [["lines.number", "=", key]], 0, None, None)
    outcome = held(bench, calls(CANCEL), partial(bench.session.call, f"{STATEMENT}.validate_statement", [draft]),
                   partial(bench.target.send, key, write, guard))  # fmt: skip
    assert outcome.kind is OutcomeKind.STALE
    assert bench.drafts(key) == ["validated"]
    found = bench.target.find(key, PAYMENT)
    assert found is not None
    assert bench.target.resume(key, write, found).kind is OutcomeKind.ACCEPTED
    assert bench.effects(key) == as_promised(write)


def test_a_draft_left_behind_goes_also_when_nothing_is_written(bench: Bench) -> None:
    key, write, guard = pair(bench)
    bench.proxy.drop_answer(calls(CREATE))
    assert bench.target.send(key, write, guard).kind is OutcomeKind.THROTTLED
    assert bench.drafts(key) == ["draft"]
    bench.accountant.print_invoice(int(write.allocations[0].invoice))
    assert bench.target.send(key, write, guard).kind is OutcomeKind.STALE
    assert bench.drafts(key) == []


def test_a_copy_that_another_user_made_is_left_alone(bench: Bench) -> None:
    key, write, guard = pair(bench)
    draft_of_another(bench, key)
    assert bench.target.find(key, PAYMENT) is None
    assert bench.target.send(key, write, guard).kind is OutcomeKind.ACCEPTED
    assert bench.drafts(key) == ["draft", "posted"]


def test_a_paid_invoice_on_somebody_s_draft_is_told_and_never_taken_off(bench: Bench) -> None:
    number = bench.invoice()
    theirs = draft_of_another(bench, "theirs", number)
    assert bench.pay({number: "121.00"}, bench.key()).kind is OutcomeKind.ACCEPTED
    key, write, guard = pair(bench)
    outcome = bench.target.send(key, write, guard)
    assert outcome.kind is OutcomeKind.REJECTED
    assert "a person" in outcome.detail
    assert (bench.effects(key), bench.drafts(key)) == ([], [])
    kept = bench.session.call("model.account.statement.line.search_read", [["statement", "=", theirs]], 0, None, None,
                              ["related_to"])  # fmt: skip
    assert [row["related_to"] for row in kept] == [f"account.invoice,{number}"]
    assert [one.subject for one in bench.target.check() if not one.ok] == ["other people's draft statements"]
    bench.accountant._session.call(f"{STATEMENT}.delete", [theirs])
    assert all(one.ok for one in bench.target.check())
    assert bench.target.send(key, write, guard).kind is OutcomeKind.ACCEPTED


@pytest.mark.parametrize("validation", ["number_of_lines", "balance"])
def test_a_journal_gets_what_it_holds_the_lines_against(bench: Bench, validation: str) -> None:
    (first,) = bench.session.call(f"{JOURNAL}.search_read", [["currency.code", "=", "EUR"]], 0, 1, [["id", "ASC"]],
                                  ["journal", "currency", "company", "account"])  # fmt: skip
    values: dict[str, Any] = {name: first[name] for name in ("journal", "currency", "company", "account")}
    bench.session.call(f"{JOURNAL}.create", [values | {"name": validation, "validation": validation}])
    target = bench.opened(statement_journals={"EUR": validation})
    for _ in range(2):
        key, write, guard = pair(bench)
        outcome = target.send(key, write, guard)
        assert outcome.kind is OutcomeKind.ACCEPTED, outcome
        assert bench.effects(key) == as_promised(write)
    target.close()


def test_a_payment_method_may_be_named_by_its_id(bench: Bench) -> None:
    (method,) = bench.session.call("model.account.invoice.payment.method.search", [], 0, 1, None)
    for wanted, kind in ((method, OutcomeKind.ACCEPTED), (method + 1000, OutcomeKind.REJECTED)):
        target = bench.opened(payment_method=wanted)
        number, key = bench.invoice(), bench.key()
        assert target.send(key, bench.write({number: "1.00"}), bench.guard(number)).kind is kind
        assert [one.subject for one in target.check() if not one.ok] == (
            [] if kind is OutcomeKind.ACCEPTED else ["payment method"]
        )
        target.close()


def test_a_period_that_was_closed_names_the_reason(bench: Bench) -> None:
    day = dt.date(2026, 10, 5)
    number, other, key = bench.invoice(), bench.invoice(), bench.key()
    period = bench.session.call(
        "model.account.period.search", [["start_date", "<=", day], ["end_date", ">=", day]], 0, None, None
    )
    bench.session.call("model.account.period.close", period)
    try:
        for amounts in ({number: "121.00"}, {number: "121.00", other: "121.00"}):
            outcome = bench.pay(amounts, key, date=day)
            assert (outcome.kind, outcome.reason) == (OutcomeKind.REJECTED, "period_closed")
            assert (bench.effects(key), bench.drafts(key)) == ([], [])
    finally:
        bench.session.call("model.account.period.reopen", period)
    assert bench.pay({number: "121.00"}, key, date=day).kind is OutcomeKind.ACCEPTED
