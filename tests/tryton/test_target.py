"""Payments on a real Tryton: written once, refused when anything has moved, and found after a lost answer."""

import datetime as dt
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from connectors.tryton import CONNECTOR
from demo.accountant import Item
from engine.model.commands import OutcomeKind
from engine.ports.errors import ConfigError, Unavailable
from tests.tryton.bench import CHOICE, CREATE, DAY, PAYMENT, POST, VALIDATE, Bench, calls, held

pytestmark = pytest.mark.live


def test_pays_exactly_what_is_open(bench: Bench) -> None:
    number, key = bench.invoice(), bench.key()
    assert bench.target.find(key, PAYMENT) is None
    assert bench.pay({number: "121.00"}, key).kind is OutcomeKind.ACCEPTED
    assert bench.effects(key) == [(number, Decimal("121.00"))]
    assert (bench.row(number)["state"], bench.row(number)["amount_to_pay"]) == ("paid", Decimal(0))
    found = bench.target.find(key, PAYMENT)
    assert found is not None
    assert found.complete


def test_pays_a_part_and_the_rest(bench: Bench) -> None:
    number, first, second = bench.invoice(), bench.key(), bench.key()
    assert bench.pay({number: "21.00"}, first).kind is OutcomeKind.ACCEPTED
    assert bench.row(number)["amount_to_pay"] == Decimal("100.00")
    assert bench.pay({number: "100.00"}, second).kind is OutcomeKind.ACCEPTED
    assert bench.row(number)["state"] == "paid"
    assert bench.effects(first) == [(number, Decimal("21.00"))]
    assert bench.effects(second) == [(number, Decimal("100.00"))]


def test_one_receipt_for_three_invoices_is_one_posted_statement(bench: Bench) -> None:
    key, numbers = bench.key(), [bench.invoice() for _ in range(3)]
    amounts = dict(zip(numbers, ["121.00", "50.00", "121.00"], strict=True))
    outcome = bench.pay(amounts, key)
    assert outcome.kind is OutcomeKind.ACCEPTED, outcome.detail
    assert bench.effects(key) == [(n, Decimal(a)) for n, a in sorted(amounts.items())]
    assert [bench.row(n)["amount_to_pay"] for n in numbers] == [Decimal(0), Decimal("71.00"), Decimal(0)]
    assert bench.drafts(key) == ["posted"]
    found = bench.target.find(key, PAYMENT)
    assert found is not None
    assert found.complete


def test_a_dollar_invoice_is_paid_at_another_day_s_rate(bench: Bench) -> None:
    number, other, key, both = bench.invoice(currency="USD"), bench.invoice(currency="USD"), bench.key(), bench.key()
    third = bench.invoice(currency="USD")
    assert bench.pay({number: "121.00"}, key, currency="USD", date=dt.date(2026, 12, 1)).kind is OutcomeKind.ACCEPTED
    assert bench.row(number)["state"] == "paid"
    assert bench.effects(key) == [(number, Decimal("121.00"))]
    outcome = bench.pay({other: "121.00", third: "21.00"}, both, currency="USD")
    assert outcome.kind is OutcomeKind.ACCEPTED, outcome.detail
    assert bench.effects(both) == [(other, Decimal("121.00")), (third, Decimal("21.00"))]


@pytest.mark.parametrize("amount", ["121.00", "20.00"])
@pytest.mark.parametrize("change", ["print", "due date"])
@pytest.mark.parametrize("several", [False, True])
def test_what_moved_since_the_decision_is_stale_and_nothing_is_written(
    bench: Bench, amount: str, change: str, several: bool
) -> None:
    number, key = bench.invoice(), bench.key()
    amounts = {number: amount} | ({bench.invoice(): "121.00"} if several else {})
    write, guard = bench.write(amounts), bench.guard(*amounts)
    if change == "print":
        bench.accountant.print_invoice(number)
    else:
        bench.accountant.move_due_date(number, dt.date(2027, 3, 1))
    outcome = bench.target.send(key, write, guard)
    assert outcome.kind is OutcomeKind.STALE
    assert "changed since" in outcome.detail
    assert bench.effects(key) == []
    assert bench.drafts(key) == []
    assert bench.target.send(key, write, bench.guard(*amounts)).kind is OutcomeKind.ACCEPTED


@pytest.mark.parametrize(("amount", "state"), [("121.00", "choice"), ("20.00", "pay")])
def test_tryton_refuses_what_moves_after_the_last_look(bench: Bench, amount: str, state: str) -> None:
    number, key = bench.invoice(), bench.key()
    write, guard = bench.write({number: amount}), bench.guard(number)
    outcome = held(bench, calls(CHOICE, state=state), lambda: bench.accountant.print_invoice(number),
                   lambda: bench.target.send(key, write, guard))  # fmt: skip
    assert outcome.kind is OutcomeKind.STALE
    assert bench.effects(key) == []


def test_paid_by_hand_after_the_last_look_is_stale(bench: Bench) -> None:
    for paid, amount in (("121.00", "121.00"), ("21.00", "121.00"), ("121.00", "20.00")):
        number, key = bench.invoice(), bench.key()
        write, guard = bench.write({number: amount}), bench.guard(number)
        outcome = held(bench, calls(CHOICE, state="choice"),
                       partial(bench.accountant.pay, number, Decimal(paid), "by hand", DAY),
                       partial(bench.target.send, key, write, guard))  # fmt: skip
        assert outcome.kind is OutcomeKind.STALE, (paid, amount, outcome)
        assert bench.effects(key) == []


def test_a_statement_is_refused_as_a_whole_and_leaves_no_draft(bench: Bench) -> None:
    key, numbers = bench.key(), [bench.invoice() for _ in range(2)]
    amounts = dict.fromkeys(numbers, "121.00")
    write, guard = bench.write(amounts), bench.guard(*numbers)
    outcome = held(bench, calls(VALIDATE), lambda: bench.accountant.pay(numbers[1], Decimal("121.00"), "hand", DAY),
                   lambda: bench.target.send(key, write, guard))  # fmt: skip
    assert outcome.kind is OutcomeKind.STALE
    assert bench.row(numbers[0])["amount_to_pay"] == Decimal("121.00")
    assert (bench.effects(key), bench.drafts(key)) == ([], [])


def test_sent_twice_it_is_written_once(bench: Bench) -> None:
    number, key = bench.invoice(), bench.key()
    write, guard = bench.write({number: "21.00"}), bench.guard(number)
    assert bench.target.send(key, write, guard).kind is OutcomeKind.ACCEPTED
    assert bench.target.send(key, write, guard).kind is OutcomeKind.STALE
    assert bench.effects(key) == [(number, Decimal("21.00"))]


@pytest.mark.parametrize(("amount", "state"), [("121.00", "choice"), ("20.00", "pay")])
def test_a_lost_answer_is_unknown_and_the_key_is_found(bench: Bench, amount: str, state: str) -> None:
    number, key = bench.invoice(), bench.key()
    drop = bench.proxy.drop_answer(calls(CHOICE, state=state))
    assert bench.pay({number: amount}, key).kind is OutcomeKind.UNKNOWN
    assert drop.dropped.is_set()
    found = bench.target.find(key, PAYMENT)
    assert found is not None
    assert found.complete
    assert bench.effects(key) == [(number, Decimal(amount))]


def test_an_answer_lost_before_the_write_leaves_nothing_done(bench: Bench) -> None:
    number, key = bench.invoice(), bench.key()
    bench.proxy.drop_answer(calls("model.account.invoice.search_read"))
    assert bench.pay({number: "121.00"}, key).kind is OutcomeKind.THROTTLED
    assert bench.effects(key) == []
    assert bench.pay({number: "121.00"}, key).kind is OutcomeKind.ACCEPTED


@pytest.mark.parametrize("lost", [VALIDATE, POST])
def test_a_statement_cut_off_between_its_steps_is_brought_to_its_end(bench: Bench, lost: str) -> None:
    key, numbers = bench.key(), [bench.invoice() for _ in range(2)]
    write = bench.write(dict.fromkeys(numbers, "121.00"))
    bench.proxy.drop_answer(calls(lost))
    assert bench.target.send(key, write, bench.guard(*numbers)).kind is OutcomeKind.UNKNOWN
    found = bench.target.find(key, PAYMENT)
    assert found is not None
    assert found.complete is (lost == POST)
    for _ in range(2):
        assert bench.target.resume(key, write, found).kind is OutcomeKind.ACCEPTED
    assert bench.effects(key) == [(n, Decimal("121.00")) for n in sorted(numbers)]
    assert bench.drafts(key) == ["posted"]
    again = bench.target.find(key, PAYMENT)
    assert again is not None
    assert again.complete


def test_a_draft_left_behind_counts_as_nothing_done_and_is_replaced(bench: Bench) -> None:
    key, numbers = bench.key(), [bench.invoice() for _ in range(2)]
    write = bench.write(dict.fromkeys(numbers, "121.00"))
    for _ in range(2):
        bench.proxy.drop_answer(calls(CREATE))
        assert bench.target.send(key, write, bench.guard(*numbers)).kind is OutcomeKind.THROTTLED
        assert bench.drafts(key) == ["draft"]
        assert bench.target.find(key, PAYMENT) is None
    assert bench.target.send(key, write, bench.guard(*numbers)).kind is OutcomeKind.ACCEPTED
    assert bench.drafts(key) == ["posted"]
    assert bench.effects(key) == [(n, Decimal("121.00")) for n in sorted(numbers)]


def test_more_than_is_open_is_refused_and_leaves_nothing(bench: Bench) -> None:
    number, key = bench.invoice(), bench.key()
    outcome = bench.pay({number: "121.01"}, key)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.REJECTED, "precondition_failed")
    assert "121.00 to pay" in outcome.detail
    assert bench.pay({number: "121.01", bench.invoice(): "1.00"}, key).kind is OutcomeKind.REJECTED
    assert (bench.effects(key), bench.drafts(key)) == ([], [])


def test_a_date_without_an_open_period_names_the_reason(bench: Bench) -> None:
    number, other, key = bench.invoice(), bench.invoice(), bench.key()
    for amounts in ({number: "121.00"}, {number: "121.00", other: "121.00"}):
        outcome = bench.pay(amounts, key, date=dt.date(2031, 1, 1))
        assert (outcome.kind, outcome.reason) == (OutcomeKind.REJECTED, "period_closed")
        assert (bench.effects(key), bench.drafts(key)) == ([], [])


def test_a_credit_memo_takes_no_receipt(bench: Bench) -> None:
    party = next(int(row["id"]) for row in bench.accountant.customers() if row["name"] == "Birkenau Foods")
    number = bench.accountant.create_invoice(party, [Item("Back", Decimal("-10.00"))], invoice_date=DAY)
    outcome = bench.pay({number: "12.10"}, bench.key())
    assert (outcome.kind, outcome.reason) == (OutcomeKind.REJECTED, "precondition_failed")


def test_other_people_s_drafts_are_never_unlinked(bench: Bench) -> None:
    """Tryton would ask to take the invoice off the draft, and arsync answers no such question."""
    number, key = bench.invoice(), bench.key()
    row = bench.row(number)
    account = bench.session.call("model.account.invoice.read", [number], ["account"])[0]["account"]
    journal = bench.session.call(
        "model.account.statement.journal.search", [["currency.code", "=", "EUR"]], 0, 1, None
    )[0]
    line = {"number": "theirs", "date": DAY, "amount": Decimal("121.00"), "party": row["party"], "account": account,
            "related_to": f"account.invoice,{number}"}  # fmt: skip
    values = {"name": "theirs", "company": 1, "journal": journal, "date": DAY, "total_amount": Decimal("121.00"),
              "lines": [["create", [line]]]}  # fmt: skip
    (draft,) = bench.session.call("model.account.statement.create", [values])
    outcome = bench.pay({number: "121.00"}, key)
    theirs = [["statement", "=", draft]]
    names = ["related_to"]
    (kept,) = bench.session.call("model.account.statement.line.search_read", theirs, 0, None, None, names)
    assert kept["related_to"] == f"account.invoice,{number}"
    assert outcome.kind in (OutcomeKind.ACCEPTED, OutcomeKind.REJECTED)
    assert len(bench.effects(key)) == (outcome.kind is OutcomeKind.ACCEPTED)
    bench.session.call("model.account.statement.delete", [draft])


def test_a_server_that_is_away_does_nothing_and_says_so(bench: Bench) -> None:
    number = bench.invoice()
    write, guard = bench.write({number: "121.00"}), bench.guard(number)
    away = bench.opened(url="http://127.0.0.1:9")
    assert away.send(bench.key(), write, guard).kind is OutcomeKind.THROTTLED
    with pytest.raises(Unavailable):
        away.find(bench.key(), PAYMENT)
    assert not away.check()[0].ok
    away.close()


def test_a_wrong_password_writes_nothing_and_stays_secret(bench: Bench) -> None:
    number = bench.invoice()
    wrong = bench.opened(password="wrong-and-secret")
    outcome = wrong.send(bench.key(), bench.write({number: "121.00"}), bench.guard(number))
    assert outcome.kind is OutcomeKind.THROTTLED
    (finding,) = wrong.check()
    assert not finding.ok
    assert "wrong-and-secret" not in f"{outcome}{finding}{wrong._options}"
    wrong.close()


def test_what_is_not_set_up_is_named(bench: Bench) -> None:
    number, other = bench.invoice(), bench.invoice()
    unlike = bench.opened(payment_method="Cheque", statement_journals={"EUR": "Elsewhere"})
    for amounts, name in (({number: "1.00"}, "Cheque"), ({number: "1.00", other: "1.00"}, "Elsewhere")):
        outcome = unlike.send(bench.key(), bench.write(amounts), bench.guard(*amounts))
        assert outcome.reason == "precondition_failed"
        assert name in outcome.detail
    assert [one.subject for one in unlike.check() if not one.ok] == ["payment method", "statement journal for EUR"]
    assert all(one.ok for one in bench.target.check())
    unlike.close()


def test_no_time_left_is_not_sent(bench: Bench) -> None:
    number, key = bench.invoice(), bench.key()
    hurried = bench.opened(deadline_seconds=0.001)
    outcome = hurried.send(key, bench.write({number: "121.00"}), bench.guard(number))
    assert outcome.kind is OutcomeKind.THROTTLED
    assert bench.effects(key) == []
    hurried.close()


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"url": ""}, "lacks `url`"), ({"password": None}, "lacks `password`"), ({"pasword": "x"}, "pasword"),
     ({"timeout": "soon"}, "timeout"), ({"timeout": 0}, "greater than zero"), ({"url": "ftp://x"}, "http"),
     ({"ca_file": "nowhere.pem"}, "ca_file")],
)  # fmt: skip
def test_a_mistake_in_the_target_section_is_named(changes: dict[str, Any], said: str) -> None:
    section = {"url": "http://127.0.0.1:1", "database": "d", "user": "u", "password": "not-to-be-told"} | changes
    with pytest.raises(ConfigError, match=said) as raised:
        CONNECTOR.open_target(section)
    assert "not-to-be-told" not in str(raised.value)
