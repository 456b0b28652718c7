"""What the ERP says later: closes what has become moot, once, with its word as the reason; and what is told."""

import datetime as dt
from decimal import Decimal

import pytest

from engine.model.commands import Found, Outcome, OutcomeKind
from engine.model.documents import Application, Phase
from engine.model.events import ChoiceMade, KeyLookedUp, OutcomeReceived, Timer, TimerFired
from engine.model.intents import Withdraw
from engine.model.records import ConflictKind, ConflictRecord
from engine.rules.policy import Choice, Exemption, Policy
from tests.rules.payment_script import KEY, NOW, Script, invoice, paid, part, refusals

BY_HAND = dt.date(2026, 11, 20)


@pytest.fixture
def script() -> Script:
    return Script()


def one(script: Script, kind: str) -> ConflictRecord:
    (found,) = [c for c in script.view.conflicts.values() if c.kind == kind]
    return found


def rejected(script: Script) -> None:
    script.submit()
    script.send()
    script.answer(OutcomeKind.REJECTED)


def look_up(script: Script, after: float, *, found: Found | None = None, proves: bool = False) -> None:
    at = NOW + dt.timedelta(seconds=after)
    fence = script.view.commands[KEY].fence
    script.play(KeyLookedUp(KEY, fence, found, proves_absence=proves, at=at))


def test_a_held_payment_that_is_booked_by_hand_meanwhile_is_refused_as_that_and_asked_no_more(script: Script) -> None:
    rejected(script)
    decision = script.told(paid("BANK 9", BY_HAND))
    held, overtaken = one(script, "erp_rejected"), one(script, "already_cleared")
    assert (held.state, overtaken.state, overtaken.choice) == ("dismissed", "applied", "accept_erp")
    assert held.why == f"the ERP has said since: {overtaken.sentence}"
    assert script.intent("pay-1")[0] == "refused"
    assert refusals(decision) == []


def test_the_very_receipt_booked_by_hand_is_told_as_that(script: Script) -> None:
    rejected(script)
    script.told(paid("BANK 9", NOW.date()))
    found = one(script, "duplicate_receipt")
    assert found.tags == ("already_cleared",)
    assert "already booked this receipt" in found.sentence


def test_where_the_policy_holds_such_it_is_one_question_and_not_two(script: Script) -> None:
    script.policy = Policy(choices={ConflictKind.VOIDED_TARGET: Choice.HOLD})
    rejected(script)
    for _ in range(2):
        script.told(invoice(phase=Phase.VOID, open_amount=Decimal("0.00"), due=()))
    assert [(str(c.kind), c.state) for c in script.view.conflicts.values()] == [
        ("erp_rejected", "dismissed"), ("voided_target", "held"),
    ]  # fmt: skip


def test_a_change_that_leaves_the_intent_possible_leaves_the_question_open(script: Script) -> None:
    rejected(script)
    script.told(invoice(due=((dt.date(2026, 12, 24), Decimal("100.00")),)))
    assert one(script, "erp_rejected").state == "held"
    assert script.conflicts == ["erp_rejected"]


def test_the_same_disagreement_is_one_conflict_that_learns_the_latest_word(script: Script) -> None:
    script.submit("60.00")
    script.send()
    script.answer(OutcomeKind.ACCEPTED)
    script.told(part("70.00", left="30.00"))
    first = one(script, "echo_mismatch")
    script.told(part("80.00", left="20.00"))
    again = one(script, "echo_mismatch")
    assert (again.id, again.amount, again.erp["open_amount"]) == (first.id, Decimal("80.00"), "20.00")


def test_a_withdrawn_intent_asks_nothing_any_more(script: Script) -> None:
    script.policy = Policy(choices={ConflictKind.OVER_APPLICATION: Choice.HOLD})
    script.submit("160.00")
    script.ask(Withdraw(id="w1", system="erp", customer="7", intent="pay-1"))
    found = one(script, "over_application")
    assert (found.state, found.why) == ("dismissed", "intent pay-1 was withdrawn by w1")


def test_money_taken_back_and_applied_again_is_no_question_any_more(script: Script) -> None:
    script.policy = Policy(choices={ConflictKind.ERP_REVERSED: Choice.HOLD})
    script.submit()
    script.send()
    script.told(paid(KEY))
    script.told(invoice())
    assert one(script, "erp_reversed").state == "held"
    script.told(paid(KEY))
    assert (one(script, "erp_reversed").state, one(script, "erp_reversed").why) == (
        "dismissed", "the ERP has applied it again",
    )  # fmt: skip


def test_an_invoice_over_applied_by_hand_after_ours_is_a_duplicate_or_too_much(script: Script) -> None:
    script.policy = Policy(
        choices={ConflictKind.DUPLICATE_RECEIPT: Choice.HOLD, ConflictKind.OVER_APPLICATION: Choice.HOLD}
    )
    script.submit()
    script.send()
    script.told(paid(KEY))
    ours = Application("9", Decimal("100.00"), KEY)
    for amount in ("100.00", "30.00"):
        by_hand = Application("10", Decimal(amount), "BANK 4", BY_HAND)
        script.told(invoice(open_amount=-Decimal(amount), due=(), applications=(ours, by_hand)))
        script.told(paid(KEY))
    twice, more = one(script, "duplicate_receipt"), one(script, "over_application")
    assert (twice.amount, twice.intent, twice.state) == (Decimal("100.00"), "pay-1", "dismissed")
    assert "stands twice in the ERP" in twice.sentence
    assert (more.amount, more.state, more.why) == (
        Decimal("30.00"),
        "dismissed",
        "the ERP has put it right: 0.00 is open",
    )


def test_an_outcome_that_stays_unknown_is_told_and_looked_up_all_the_same(script: Script) -> None:
    script.submit()
    script.send()
    script.answer(OutcomeKind.UNKNOWN)
    look_up(script, 60)
    assert script.conflicts == []
    look_up(script, 901)
    look_up(script, 930)
    assert script.conflicts == ["outcome_unknown"]
    assert script.states == ("matched", "held", "unknown")
    look_up(script, 960, found=Found("M1"))
    assert script.states[1:] == ("held", "accepted")
    script.told(paid(KEY))
    assert (script.states[1:], one(script, "outcome_unknown").state) == (("done", "confirmed"), "dismissed")


def test_what_never_reached_the_erp_goes_on_by_itself_and_what_nobody_wants_does_not(script: Script) -> None:
    for choice in ("wait", "accept_erp"):
        script = Script()
        script.submit()
        script.send()
        script.answer(OutcomeKind.UNKNOWN)
        look_up(script, 901)
        if choice == "accept_erp":
            found = one(script, "outcome_unknown")
            script.play(ChoiceMade(found.id, "accept_erp", "ann", "the bank has it back", NOW))
        look_up(script, 930, proves=True)
        wanted = ("planned", "pending") if choice == "wait" else ("refused", "superseded")
        assert script.states[1:] == wanted
        assert one(script, "outcome_unknown").state == ("dismissed" if choice == "wait" else "applied")
        assert "refused_transition" not in script.conflicts


def test_an_echo_that_is_missing_once_more_is_asked_once_more(script: Script) -> None:
    script.submit()
    script.send()
    script.answer(OutcomeKind.ACCEPTED)
    script.play(TimerFired(Timer.ECHO_OVERDUE, KEY, NOW))
    script.play(ChoiceMade(one(script, "echo_missing").id, "retry", "ann", "the stream was slow", NOW))
    script.play(TimerFired(Timer.ECHO_OVERDUE, KEY, NOW + script.policy.settle_time))
    states = sorted(c.state for c in script.view.conflicts.values())
    assert (script.states[1:], states) == (("held", "overdue"), ["applied", "held"])


def test_a_policy_of_retry_sends_again_a_bounded_number_of_times(script: Script) -> None:
    script.policy = Policy(choices={ConflictKind.PERIOD_CLOSED: Choice.RETRY}, most_retries=2)
    script.submit()
    pauses = []
    for _ in range(3):
        script.send()
        fence = script.view.commands[KEY].fence
        script.play(OutcomeReceived(KEY, fence, Outcome(OutcomeKind.REJECTED, "closed", reason="period_closed"), NOW))
        pauses.append((script.view.commands[KEY].due_at - NOW).total_seconds())
    assert pauses[:2] == [60, 120]
    assert [c.state for c in script.view.conflicts.values()] == ["applied", "applied", "held"]
    assert script.states == ("open", "held", "rejected")
    assert (script.view.commands[KEY].revision, script.view.commands[KEY].sends) == (3, 3)


@pytest.mark.parametrize(("amount", "state"), [("40.00", "refused"), ("60.00", "held")])
def test_a_policy_may_treat_small_amounts_of_one_company_otherwise(script: Script, amount: str, state: str) -> None:
    small = Exemption(Choice.ACCEPT_ERP, (ConflictKind.ERP_REJECTED,), company="1", currency="EUR", up_to=Decimal(50))
    other = Exemption(Choice.ACCEPT_ERP, (ConflictKind.ERP_REJECTED,), company="2")
    script.policy = Policy(exemptions=(other, small))
    script.submit(amount)
    script.send()
    script.answer(OutcomeKind.REJECTED)
    assert script.intent("pay-1")[0] == state
