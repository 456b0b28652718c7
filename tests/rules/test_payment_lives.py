"""The life of a payment as a script of events: what is decided, and that nothing stale is ever sent."""

import datetime as dt
from decimal import Decimal

import pytest

from engine.model.commands import Found, Outcome, OutcomeKind, command_key
from engine.model.documents import Application
from engine.model.events import (
    IntentSubmitted,
    KeyLookedUp,
    OutcomeReceived,
    Timer,
    TimerFired,
)
from engine.model.intents import Allocation, ApplyPayment
from tests.rules.payment_script import KEY, NOW, Script, invoice, paid


@pytest.fixture
def script() -> Script:
    return Script()


def test_sent_accepted_and_confirmed_by_its_echo(script: Script) -> None:
    script.submit()
    assert script.states == ("matched", "planned", "pending")
    script.send()
    script.answer(OutcomeKind.ACCEPTED)
    assert script.states == ("matched", "planned", "accepted")
    script.told(paid(KEY))
    assert script.states == ("posted", "done", "confirmed")
    assert script.conflicts == []


def test_the_echo_before_the_answer_is_final(script: Script) -> None:
    script.submit()
    script.send()
    script.told(paid(KEY))
    decision = script.answer(OutcomeKind.REJECTED)
    assert decision.effects == []
    assert script.states == ("posted", "done", "confirmed")


def test_the_same_intent_twice_is_one_command(script: Script) -> None:
    script.submit()
    assert script.submit().effects == []
    assert list(script.view.commands) == [KEY]


def test_paid_by_somebody_else_before_the_first_send(script: Script) -> None:
    script.submit()
    script.told(paid("by hand"))
    assert script.states == ("posted", "refused", "superseded")
    assert script.conflicts == ["already_cleared"]
    assert not any(record.matches for record in script.view.invoices.values())


def test_the_same_receipt_booked_by_hand_is_named_so(script: Script) -> None:
    script.submit()
    script.told(paid("by hand", NOW.date()))
    assert script.conflicts == ["duplicate_receipt"]


def test_paid_by_somebody_else_between_read_and_send(script: Script) -> None:
    script.submit()
    script.send()
    script.answer(OutcomeKind.STALE)
    assert script.states == ("matched", "planned", "stale")
    script.told(paid("by hand"))
    assert script.states == ("posted", "refused", "superseded")
    assert script.conflicts == ["already_cleared"]


def test_a_touched_row_renews_the_guard_without_a_conflict(script: Script) -> None:
    script.submit()
    script.send()
    script.answer(OutcomeKind.STALE)
    script.told(invoice())
    assert script.states == ("matched", "planned", "pending")
    assert script.conflicts == []


def test_a_moved_due_date_is_one_conflict_and_a_rebase_under_the_same_key(script: Script) -> None:
    script.submit()
    script.told(invoice(due=((dt.date(2027, 1, 1), Decimal("100.00")),)))
    assert script.states == ("matched", "planned", "pending")
    assert script.conflicts == ["stale_basis"]
    assert script.view.commands[KEY].revision == 2


def test_two_part_payments_on_one_basis_do_not_disturb_each_other(script: Script) -> None:
    basis = script.view.invoices["1"].version
    script.submit("40.00", basis=basis)
    script.submit("60.00", name="pay-2", basis=basis)
    script.send()
    part = Application("9", Decimal("40.00"), KEY)
    script.told(
        invoice(open_amount=Decimal("60.00"), due=((dt.date(2026, 12, 1), Decimal("60.00")),), applications=(part,))
    )
    other = command_key("erp", "pay-2", 0)
    script.play(TimerFired(Timer.SEND, other, NOW))
    assert script.view.commands[other].state == "sent"
    assert script.conflicts == []


def test_more_than_is_left_is_refused(script: Script) -> None:
    script.submit("60.00")
    script.submit("60.00", name="pay-2")
    assert script.view.intents["pay-2"].state == "refused"
    assert script.conflicts == ["concurrent_claims"]


def test_a_lost_answer_is_looked_up_and_absence_must_be_proven(script: Script) -> None:
    script.submit()
    script.send()
    script.answer(OutcomeKind.UNKNOWN)
    fence = script.view.commands[KEY].fence
    script.play(KeyLookedUp(KEY, fence, None, proves_absence=False, at=NOW))
    assert script.states[2] == "unknown"
    script.play(KeyLookedUp(KEY, fence, None, proves_absence=True, at=NOW))
    assert script.states[2] == "pending"
    assert script.view.commands[KEY].sends == 1


def test_a_lost_answer_that_was_carried_out_is_found(script: Script) -> None:
    script.submit()
    script.send()
    script.answer(OutcomeKind.UNKNOWN)
    script.play(KeyLookedUp(KEY, script.view.commands[KEY].fence, Found("move 5"), proves_absence=False, at=NOW))
    assert script.states[2] == "accepted"


def test_an_answer_with_an_old_fence_changes_nothing(script: Script) -> None:
    script.submit()
    script.send()
    old = script.view.commands[KEY].fence
    script.play(TimerFired(Timer.LEASE_EXPIRED, KEY, NOW))
    assert script.states[2] == "unknown"
    late = OutcomeReceived(KEY, old, Outcome(OutcomeKind.REJECTED), NOW)
    assert script.play(late).effects == []


def test_an_answer_to_the_first_send_does_not_end_the_second(script: Script) -> None:
    script.submit()
    script.send()
    old = script.view.commands[KEY].fence
    script.play(TimerFired(Timer.LEASE_EXPIRED, KEY, NOW))
    assert script.view.commands[KEY].fence > old
    script.play(KeyLookedUp(KEY, script.view.commands[KEY].fence, None, proves_absence=True, at=NOW))
    script.send()
    assert script.play(OutcomeReceived(KEY, old, Outcome(OutcomeKind.REJECTED), NOW)).effects == []
    assert script.states[2] == "sent"


def test_our_money_taken_back_is_told(script: Script) -> None:
    script.submit()
    script.send()
    script.told(paid(KEY))
    script.told(invoice())
    assert script.states == ("open", "done", "confirmed")
    assert script.conflicts == ["erp_reversed"]


def test_an_intent_waits_for_its_invoice_and_is_planned_when_it_comes(script: Script) -> None:
    doc = invoice(key="2", number="INV2")
    part = Allocation("2", Decimal("100.00"), doc.content_version())
    asked = ApplyPayment(
        id="early",
        system="erp",
        customer="7",
        currency="EUR",
        amount=Decimal("100.00"),
        date=NOW.date(),
        allocations=(part,),
    )
    script.play(IntentSubmitted(asked, NOW))
    assert script.view.intents["early"].state == "waiting"
    script.told(doc)
    assert script.view.intents["early"].state == "planned"


def test_the_echo_after_a_refusal_is_a_late_effect(script: Script) -> None:
    script.submit()
    script.send()
    script.answer(OutcomeKind.REJECTED)
    script.told(paid(KEY))
    assert script.states[2] == "confirmed"
    assert script.conflicts == ["erp_rejected", "late_effect"]
