"""What looks alike is not the same: receipts, memos and payments of equal names and amounts."""

import datetime as dt
from decimal import Decimal

import msgspec
import pytest

from engine.model.commands import ApplyReceipt as ReceiptWrite
from engine.model.commands import Memo, OutcomeKind
from engine.model.documents import Application, Invoice, Phase
from engine.model.events import ChoiceMade, KeyLookedUp, Timer, TimerFired
from engine.model.intents import Allocation, ApplyPayment, ApplyReceipt, IssueMemo
from engine.model.records import ConflictKind, Match
from engine.rules.policy import Choice, Policy
from tests.rules.payment_script import KEY, NOW, Script, invoice, paid, part
from tests.rules.test_other_intents import key, memo

R1 = Application("9", Decimal("50.00"), "R1", dt.date(2026, 11, 2))
R2 = Application("10", Decimal("50.00"), "R2", NOW.date())


@pytest.fixture
def script() -> Script:
    return Script()


def pay(script: Script, amount: str, basis: str, *, on_account: str | None = None, invoice: str = "1") -> None:
    spare = None if on_account is None else Decimal(on_account)
    script.ask(
        ApplyPayment(id="pay-1", system="erp", customer="7", currency="EUR", amount=Decimal(amount) + (spare or 0),
                     date=NOW.date(), allocations=(Allocation(invoice, Decimal(amount), basis),), on_account=spare,
                     reference="R2")
    )  # fmt: skip


def apply(script: Script, name: str, amount: str, receipt: str) -> None:
    script.ask(ApplyReceipt(**script.about(name, amount), receipt=receipt))


def credit(script: Script, name: str, amount: str) -> None:
    script.ask(IssueMemo(**script.about(name, amount), memo=Memo.CREDIT, date=NOW.date()))


def holding(*lines: Application) -> Invoice:
    return invoice(open_amount=Decimal("100.00") - sum(one.amount for one in lines), applications=lines)


# A payment that somebody booked by hand, while the invoice's facts are again what they were.


def test_a_receipt_booked_by_hand_is_found_where_another_one_was_taken_off(script: Script) -> None:
    script.told(holding(R1))
    seen = script.view.invoices["1"].version
    script.told(holding())
    script.told(holding(R2))
    assert script.view.invoices["1"].version == seen
    pay(script, "50.00", seen)
    assert script.conflicts == ["duplicate_receipt"]
    assert KEY not in script.view.commands


def test_so_it_is_while_the_payment_waits_to_be_sent(script: Script) -> None:
    script.told(holding(R1))
    pay(script, "50.00", script.view.invoices["1"].version)
    script.told(holding(R2))
    script.send()
    assert (script.states[2], script.conflicts) == ("superseded", ["duplicate_receipt"])


def test_so_it_is_while_its_outcome_is_unknown(script: Script) -> None:
    script.told(holding(R1))
    pay(script, "50.00", script.view.invoices["1"].version)
    script.send()
    script.answer(OutcomeKind.UNKNOWN)
    script.told(holding())
    script.told(holding(R2))
    script.play(KeyLookedUp(KEY, script.view.commands[KEY].fence, None, True, NOW))
    script.send()
    assert (script.states[2], script.conflicts) == ("superseded", ["duplicate_receipt"])


def test_equal_amounts_of_one_day_are_two_receipts_where_the_author_had_seen_the_first(script: Script) -> None:
    script.told(holding(msgspec.structs.replace(R2, text="R3")))
    pay(script, "50.00", script.view.invoices["1"].version)
    assert (script.states[2], script.conflicts) == ("pending", [])


# A receipt on account, of which something stands applied already.


def test_what_stood_applied_before_is_not_what_was_to_be_applied(script: Script) -> None:
    pay(script, "30.00", script.view.invoices["1"].version, on_account="30.00")
    script.send()
    script.answer(OutcomeKind.ACCEPTED)
    script.told(part("30.00", left="70.00"))
    assert script.states[1:] == ("done", "confirmed")
    apply(script, "a1", "30.00", KEY)
    script.told(part("30.00", left="70.00", terms="30 days"))
    assert (script.intent("a1")[0], script.command("a1")) == ("planned", "pending")
    script.send(key("a1"))
    first, second = (Application(item, Decimal("30.00"), KEY) for item in ("9", "11"))
    script.told(invoice(open_amount=Decimal("40.00"), terms="30 days", applications=(first, second)))
    assert (script.intent("a1")[0], script.command("a1")) == ("done", "confirmed")


def test_what_came_while_it_was_under_way_may_be_its_own_when_it_is_decided_again(script: Script) -> None:
    script.told(part("30.00", key="DEPOSIT", left="70.00"))
    apply(script, "a1", "30.00", "DEPOSIT")
    script.send(key("a1"))
    script.answer(OutcomeKind.STALE, key("a1"))
    script.told(invoice(open_amount=Decimal("30.00"), applications=(
        Application("9", Decimal("30.00"), "DEPOSIT"), Application("10", Decimal("40.00"), "by hand"))))  # fmt: skip
    write = script.view.commands[key("a1")].write
    assert isinstance(write, ReceiptWrite)
    assert (script.view.commands[key("a1")].revision, write.before, write.clears) == (2, ("9",), True)


def test_a_receipt_stands_applied_also_where_somebody_has_paid_the_same_meanwhile(script: Script) -> None:
    apply(script, "a1", "100.00", "DEPOSIT")
    script.send(key("a1"))
    script.answer(OutcomeKind.ACCEPTED, key("a1"))
    hand, ours = Application("9", Decimal("100.00"), "by hand"), Application("10", Decimal("100.00"), "DEPOSIT")
    script.told(invoice(open_amount=Decimal(0), phase=Phase.CLEARED, due=(), applications=(hand,)))
    assert script.command("a1") == "accepted"
    script.told(invoice(open_amount=Decimal("-100.00"), due=(), applications=(hand, ours)))
    assert (script.intent("a1")[0], script.command("a1")) == ("done", "confirmed")
    assert "echo_missing" not in script.conflicts


def test_two_receipts_of_one_name_are_applied_one_after_the_other(script: Script) -> None:
    apply(script, "a1", "30.00", "DEPOSIT")
    apply(script, "a2", "30.00", "DEPOSIT")
    assert script.intent("a2") == ("held", "precondition_failed")
    script.send(key("a1"))
    script.told(part("30.00", key="DEPOSIT", left="70.00"))
    assert script.intent("a1")[0] == "done"
    apply(script, "a3", "30.00", "DEPOSIT")
    assert script.command("a3") == "pending"


def test_a_receipt_and_an_item_that_may_be_one_are_not_under_way_together(script: Script) -> None:
    apply(script, "a1", "30.00", "DEPOSIT")
    apply(script, "a2", "30.00", "12")
    apply(script, "a3", "30.00", "ANOTHER")
    apply(script, "a4", "20.00", "DEPOSIT")
    states = [script.intent(name)[0] for name in ("a1", "a2", "a3", "a4")]
    assert states == ["planned", "held", "planned", "planned"]


def test_what_a_payment_leaves_on_account_is_not_applied_before_it_has_come(script: Script) -> None:
    pay(script, "30.00", script.view.invoices["1"].version, on_account="30.00")
    apply(script, "a1", "30.00", KEY)
    assert script.intent("a1") == ("held", "precondition_failed")


def test_own_money_that_is_passed_on_surprises_nobody(script: Script) -> None:
    """It is our receipt's, and our application of it: it is counted once."""
    pay(script, "100.00", script.view.invoices["1"].version, on_account="20.00")
    script.send()
    script.told(paid(KEY))
    script.told(invoice(key="2", number="INV2"))
    seen = script.view.invoices["2"].version
    script.ask(ApplyReceipt(**{**script.about("a1", "20.00"), "invoice": "2", "basis": seen}, receipt=KEY))
    script.send(key("a1"))
    left = ((dt.date(2026, 12, 1), Decimal("80.00")),)
    script.told(invoice(key="2", number="INV2", open_amount=Decimal("80.00"), due=left,
                        applications=(Application("10", Decimal("20.00"), KEY),)))  # fmt: skip
    assert script.intent("a1")[0] == "done"
    assert seen in script.view.invoices["2"].ancestors


def choose(script: Script, intent: str, choice: str) -> None:
    (conflict,) = [one for one in script.view.conflicts.values() if one.open and one.intent == intent]
    script.play(ChoiceMade(conflict.id, choice, "me", "by hand", NOW + dt.timedelta(minutes=1)))


def test_a_receipt_that_is_tried_again_is_not_the_one_that_was_applied_meanwhile(script: Script) -> None:
    apply(script, "a1", "20.00", "BANK-7")
    script.send(key("a1"))
    script.answer(OutcomeKind.REJECTED, key("a1"))
    apply(script, "a2", "20.00", "BANK-7")
    script.send(key("a2"))
    script.told(part("20.00", key="BANK-7", left="80.00"))
    assert script.intent("a2")[0] == "done"
    choose(script, "a1", "retry")
    script.told(part("20.00", key="BANK-7", left="80.00", terms="30 days"))
    assert (script.intent("a1")[0], script.command("a1")) == ("planned", "pending")


def test_a_receipt_is_not_tried_again_while_its_like_is_under_way(script: Script) -> None:
    apply(script, "a1", "50.00", "BANK-7")
    script.send(key("a1"))
    script.answer(OutcomeKind.REJECTED, key("a1"))
    apply(script, "a2", "50.00", "BANK-7")
    choose(script, "a1", "retry")
    assert script.command("a1") == "rejected"
    script.send(key("a2"))
    script.told(part("50.00", key="BANK-7", left="50.00"))
    assert [script.intent(name)[0] for name in ("a1", "a2")] == ["held", "done"]


def test_a_policy_that_tries_again_is_not_left_without_a_command(script: Script) -> None:
    script.policy = Policy(choices={ConflictKind.ERP_REJECTED: Choice.RETRY})
    apply(script, "a1", "50.00", "BANK-7")
    script.send(key("a1"))
    script.view.invoices["1"] = msgspec.structs.replace(script.view.invoices["1"], matches=(
        *script.view.invoices["1"].matches, Match("OTHER", Decimal("50.00"))))  # fmt: skip
    twin = msgspec.structs.replace(script.view.commands[key("a1")], key="OTHER", intent="a2")
    script.view.commands["OTHER"] = twin
    script.answer(OutcomeKind.REJECTED, key("a1"))
    assert script.intent("a1") == ("held", "erp_rejected")


# Credits.


def test_no_more_is_credited_than_the_invoice_comes_to(script: Script) -> None:
    credit(script, "m1", "60.00")
    credit(script, "m2", "60.00")
    assert (script.intent("m2"), script.conflicts) == (("refused", "over_application"), ["over_application"])
    credit(script, "m3", "40.00")
    for name, amount in (("m1", "60.00"), ("m3", "40.00")):
        script.send(key(name))
        script.told(memo(name, amount, key=name, number=name))
        assert script.intent(name)[0] == "done"
    credit(script, "m4", "0.01")
    assert script.intent("m4") == ("refused", "over_application")


def test_a_full_credit_is_given_once(script: Script) -> None:
    credit(script, "m1", "100.00")
    credit(script, "m2", "100.00")
    script.send(key("m1"))
    cleared = invoice(open_amount=Decimal(0), phase=Phase.FINAL, due=(),
                      applications=(Application("70", Decimal("100.00"), "CN1"),))  # fmt: skip
    script.told(memo("m1", "100.00", open_amount=Decimal(0), phase=Phase.FINAL), cleared)
    assert (script.intent("m1")[0], script.intent("m2")[0]) == ("done", "refused")


def test_a_credit_that_the_erp_took_back_may_be_given_again(script: Script) -> None:
    credit(script, "m1", "60.00")
    script.send(key("m1"))
    script.told(memo("m1", "60.00"))
    script.told(memo("m1", "60.00", phase=Phase.VOID))
    assert script.view.invoices["1"].credited == Decimal("0.00")
    credit(script, "m2", "100.00")
    assert script.command("m2") == "pending"


def test_what_left_later_is_counted_too(script: Script) -> None:
    credit(script, "m1", "100.00")
    script.send(key("m1"))
    script.answer(OutcomeKind.REJECTED, key("m1"))
    credit(script, "m2", "100.00")
    script.send(key("m2"))
    script.answer(OutcomeKind.ACCEPTED, key("m2"))
    script.play(TimerFired(Timer.ECHO_OVERDUE, key("m2"), NOW + dt.timedelta(hours=1)))
    choose(script, "m1", "retry")
    script.send(key("m1"))
    assert script.command("m1") == "rejected"


@pytest.mark.parametrize("shown", ["100.00", "70.00"])
def test_a_memo_counts_as_soon_as_it_stands_whatever_becomes_of_it(script: Script, shown: str) -> None:
    credit(script, "m1", "100.00")
    script.send(key("m1"))
    script.answer(OutcomeKind.ACCEPTED, key("m1"))
    script.told(memo("m1", shown))
    script.play(TimerFired(Timer.ECHO_OVERDUE, key("m1"), NOW + dt.timedelta(hours=1)))
    choose(script, "m1", "accept_erp")
    assert script.view.invoices["1"].credited == Decimal(shown)
    credit(script, "m2", "60.00")
    assert script.intent("m2") == ("refused", "over_application")


def test_a_memo_whose_key_was_gone_for_a_while_counts_once(script: Script) -> None:
    credit(script, "m1", "60.00")
    script.send(key("m1"))
    script.told(memo("m1", "60.00"))
    known = script.view.commands.pop(key("m1"))  # what does not carry its key does not lead to it
    script.told(memo("m1", "60.00", reference="something else"))
    script.view.commands[known.key] = known
    script.told(memo("m1", "60.00"))
    assert script.view.invoices["1"].credited == Decimal("60.00")


def test_debits_and_other_invoices_are_not_counted(script: Script) -> None:
    script.told(invoice(key="2", number="INV2"))
    credit(script, "m1", "100.00")
    script.ask(IssueMemo(**script.about("m2", "100.00"), memo=Memo.DEBIT, date=NOW.date()))
    other = {**script.about("m3", "100.00"), "invoice": "2", "basis": script.view.invoices["2"].version}
    script.ask(IssueMemo(**other, memo=Memo.CREDIT, date=NOW.date()))
    assert [script.command(name) for name in ("m1", "m2", "m3")] == ["pending"] * 3


# Customers that were made one.


def test_two_customers_that_become_one_contradict_nothing_that_is_confirmed(script: Script) -> None:
    script.told(invoice(key="2", number="INV2"))
    versions = [script.view.invoices[name].version for name in ("1", "2")]
    parts = tuple(Allocation(n, Decimal("100.00"), version) for n, version in zip(("1", "2"), versions, strict=True))
    script.ask(ApplyPayment(id="pay-1", system="erp", customer="7", currency="EUR", amount=Decimal("200.00"),
                            date=NOW.date(), allocations=parts))  # fmt: skip
    script.send()
    both = [msgspec.structs.replace(paid(KEY), key=name, number=f"INV{name}") for name in ("1", "2")]
    script.told(*both)
    assert script.states[1:] == ("done", "confirmed")
    script.told(*(msgspec.structs.replace(one, customer="8") for one in both))
    script.told(invoice(customer="8"))
    assert script.conflicts == ["erp_reversed"]
