"""What a payment meets when something goes wrong twice: further troubles, wrong echoes, guards that lag or move."""

import datetime as dt
from decimal import Decimal

import msgspec
import pytest

from engine.model.commands import Outcome, OutcomeKind
from engine.model.documents import Application, Phase
from engine.model.events import (
    DocumentsTold,
    IntentSubmitted,
    OutcomeReceived,
    Timer,
    TimerFired,
    Told,
)
from engine.model.intents import Allocation, ApplyPayment
from engine.model.records import ConflictKind
from engine.rules.policy import Choice, Policy
from tests.rules.payment_script import KEY, NOW, Script, invoice, paid, part, refusals


@pytest.fixture
def script() -> Script:
    return Script()


def test_a_second_trouble_of_a_held_intent_is_kept_without_a_refused_step(script: Script) -> None:
    script.submit("60.00")
    script.send()
    script.answer(OutcomeKind.REJECTED)
    decision = script.told(
        part("50.00", left="50.00"), invoice(key="2", applications=(Application("1", Decimal(9), KEY),))
    )
    assert refusals(decision) == []
    assert script.view.intents["pay-1"].reason == "erp_rejected, echo_mismatch"
    assert script.states[1:] == ("held", "mismatched")


def test_a_contradicted_promise_holds_its_intent_and_a_later_right_echo_ends_the_matter(script: Script) -> None:
    script.submit("60.00")
    script.send()
    script.answer(OutcomeKind.ACCEPTED)
    script.told(part("70.00", left="30.00"))
    assert script.states == ("open", "held", "mismatched")
    script.told(part("60.00", item="10", left="40.00"))
    assert script.states == ("open", "done", "confirmed")
    (conflict,) = script.view.conflicts.values()
    assert (str(conflict.kind), conflict.state) == ("echo_mismatch", "dismissed")


def test_more_than_was_promised_after_it_was_done_is_told_and_no_step_is_refused(script: Script) -> None:
    script.submit("40.00")
    script.send()
    script.told(part("40.00", left="60.00"))
    decision = script.told(part("80.00", left="20.00"))
    assert refusals(decision) == []
    assert script.conflicts == ["echo_mismatch"]
    assert script.states[1:] == ("done", "confirmed")


def test_lines_written_anew_under_the_same_key_are_no_second_effect_and_no_reversal(script: Script) -> None:
    script.submit("40.00")
    script.send()
    script.told(part("40.00", left="60.00"))
    two = (Application("10", Decimal("15.00"), KEY), Application("11", Decimal("25.00"), KEY))
    script.told(msgspec.structs.replace(part("40.00", left="60.00"), applications=two))
    assert script.conflicts == []


def test_a_part_of_an_echo_leaves_only_the_rest_on_its_way(script: Script) -> None:
    script.submit("40.00")
    script.send()
    script.told(part("15.00", left="85.00"))
    (match,) = script.view.invoices["1"].matches
    assert match.amount == Decimal("25.00")
    script.submit("60.00", name="pay-2")
    assert script.view.intents["pay-2"].state == "planned"


def test_an_answer_that_comes_twice_changes_nothing_the_second_time(script: Script) -> None:
    script.submit()
    script.send()
    script.answer(OutcomeKind.ACCEPTED)
    assert script.answer(OutcomeKind.ACCEPTED).effects == []
    assert script.answer(OutcomeKind.REJECTED).effects == []


def test_money_whose_echo_is_missing_stays_claimed_while_people_look(script: Script) -> None:
    script.submit()
    script.send()
    script.answer(OutcomeKind.ACCEPTED)
    script.play(TimerFired(Timer.ECHO_OVERDUE, KEY, NOW))
    assert script.states == ("matched", "held", "overdue")
    script.submit("10.00", name="pay-2")
    assert script.view.intents["pay-2"].reason == "concurrent_claims"


def test_an_echo_is_missed_only_when_the_change_stream_would_have_told_it(script: Script) -> None:
    """The stream stands still: for how long ever, its silence says nothing about the ERP."""
    script.submit("60.00")
    script.send()
    script.answer(OutcomeKind.ACCEPTED)
    due = NOW + script.policy.settle_time
    for told_until, later in ((due - dt.timedelta(seconds=1), dt.timedelta(days=2)), (NOW, dt.timedelta(hours=1))):
        decision = script.play(TimerFired(Timer.ECHO_OVERDUE, KEY, NOW + later, told_until))
        assert (decision.effects, script.states) == ([], ("matched", "planned", "accepted"))
    script.play(TimerFired(Timer.ECHO_OVERDUE, KEY, due + dt.timedelta(hours=1), due))
    assert script.conflicts == ["echo_missing"]
    assert script.states[1:] == ("held", "overdue")


def test_an_effect_after_the_intent_was_refused_is_a_late_effect(script: Script) -> None:
    script.policy = Policy(choices={ConflictKind.ECHO_MISSING: Choice.ACCEPT_ERP})
    script.submit()
    script.send()
    script.answer(OutcomeKind.ACCEPTED)
    script.play(TimerFired(Timer.ECHO_OVERDUE, KEY, NOW))
    assert script.states == ("open", "refused", "overdue")
    script.told(paid(KEY))
    assert script.conflicts == ["echo_missing", "late_effect"]


def test_one_invoice_named_by_key_and_by_number_is_not_paid_twice(script: Script) -> None:
    script.view.numbers["INV1"] = ("1",)
    version = script.view.invoices["1"].version
    parts = (Allocation("1", Decimal("60.00"), version), Allocation("INV1", Decimal("60.00"), version))
    asked = ApplyPayment(
        id="pay-1",
        system="erp",
        customer="7",
        currency="EUR",
        amount=Decimal("120.00"),
        date=NOW.date(),
        allocations=parts,
    )
    script.play(IntentSubmitted(asked, NOW))
    assert script.view.intents["pay-1"].state == "held"
    assert script.view.commands == {}


def test_a_stale_basis_waits_for_people_where_the_policy_says_so(script: Script) -> None:
    script.policy = Policy(choices={ConflictKind.STALE_BASIS: Choice.HOLD})
    script.submit(basis="AAAAAAAAAAAAAAAA")
    assert script.view.intents["pay-1"].state == "held"
    assert script.view.commands == {}


def test_a_policy_that_cannot_be_carried_out_leaves_it_to_people(script: Script) -> None:
    script.policy = Policy(choices={ConflictKind.OVER_APPLICATION: Choice.RETRY})
    script.submit("160.00")
    (conflict,) = script.view.conflicts.values()
    assert (conflict.state, conflict.default_choice) == ("held", "retry")
    assert script.view.intents["pay-1"].state == "held"


def test_a_reason_that_the_rules_do_not_know_is_a_plain_refusal(script: Script) -> None:
    script.submit()
    script.send()
    outcome = Outcome(OutcomeKind.REJECTED, "told so", reason="moon_phase")
    script.play(OutcomeReceived(KEY, script.view.commands[KEY].fence, outcome, NOW))
    assert script.conflicts == ["erp_rejected"]


def stale_again(script: Script) -> float:
    """Send and find stale; gives the seconds until the timer."""
    script.send()
    script.answer(OutcomeKind.STALE)
    return (script.view.commands[KEY].due_at - NOW).total_seconds()


def test_while_the_stream_lags_a_stale_command_is_tried_more_and_more_seldom(script: Script) -> None:
    script.submit()
    pauses = []
    for _ in range(Policy().most_stales):
        pauses.append(stale_again(script))
        script.play(TimerFired(Timer.RETRY_STALE, KEY, NOW))
    assert pauses[:7] == [2, 4, 8, 16, 32, 60, 60]
    assert sum(pauses) > 900
    assert script.view.commands[KEY].stales == 0
    assert script.conflicts == []
    stale_again(script)
    (conflict,) = script.view.conflicts.values()
    assert (str(conflict.kind), conflict.rule) == ("precondition_failed", "outcome.stale_unexplained")
    assert script.states == ("open", "held", "superseded")


def test_a_stale_command_waits_for_another_guard_and_not_for_any_word(script: Script) -> None:
    script.submit()
    stale_again(script)
    script.told(invoice(), touched=False)
    assert script.states[2] == "stale"
    script.told(invoice())
    assert script.states[2] == "pending"
    assert script.view.commands[KEY].waits == 1
    script.send()
    assert script.view.commands[KEY].waits == 0


def test_guards_that_keep_moving_call_a_person(script: Script) -> None:
    script.submit()
    for _ in range(Policy().most_stales):
        script.send()
        script.told(invoice())
        script.answer(OutcomeKind.STALE)
        assert (script.view.commands[KEY].due_at - NOW) == Policy().retry_after
        script.play(TimerFired(Timer.RETRY_STALE, KEY, NOW))
    assert script.conflicts == []
    script.send()
    script.told(invoice())
    script.answer(OutcomeKind.STALE)
    (conflict,) = script.view.conflicts.values()
    assert conflict.rule == "outcome.stale_too_often"


def test_facts_that_change_to_and_fro_are_a_conflict_each_time(script: Script) -> None:
    script.submit()
    for day in (2, 1, 2):
        script.told(invoice(due=((dt.date(2026, 12, day), Decimal("100.00")),)))
    assert script.conflicts == ["stale_basis"] * 3
    assert script.view.commands[KEY].revision == 4


def test_a_deleted_invoice_that_comes_back_is_what_it_was(script: Script) -> None:
    script.told(paid("by hand"))
    gone = Told("1", None, {})
    script.play(DocumentsTold("tx", NOW, (gone,)))
    assert (script.view.invoices["1"].state, script.view.invoices["1"].clearing) == ("cleared", "void")
    script.told(paid("by hand"))
    assert (script.view.invoices["1"].state, script.view.invoices["1"].clearing) == ("posted", "applied")


def test_paid_anew_before_anybody_looked_is_cleared_and_no_longer_posted(script: Script) -> None:
    script.told(paid("by hand"))
    script.told(msgspec.structs.replace(paid("again"), phase=Phase.CLEARED))
    assert script.view.invoices["1"].state == "cleared"


def test_money_that_is_taken_back_twice_is_told_twice(script: Script) -> None:
    script.submit()
    script.send()
    for item in ("9", "10"):
        script.told(part("100.00", item=item, left="0"))
        script.told(invoice())
    assert script.conflicts == ["erp_reversed", "erp_reversed"]


def test_money_that_is_taken_back_again_while_people_look_is_a_conflict_of_its_own(script: Script) -> None:
    """Each says how much is gone: 40 of the first time are not the 20 of the second."""
    script.policy = Policy(choices={ConflictKind.ERP_REVERSED: Choice.HOLD})
    script.submit("60.00")
    script.send()
    script.told(part("60.00", left="40.00"))
    script.told(part("20.00", left="80.00"))
    script.told(invoice())
    found = [c for c in script.view.conflicts.values() if c.kind is ConflictKind.ERP_REVERSED]
    assert sorted((c.amount, c.state) for c in found) == [(Decimal("20.00"), "held"), (Decimal("40.00"), "held")]


def test_a_claimed_command_is_decided_once_more_on_the_documents_as_they_stand(script: Script) -> None:
    script.submit()
    record, doc = script.view.invoices["1"], paid("by hand")
    other = msgspec.structs.replace(record, doc=doc, version=doc.content_version())
    script.view.invoices["1"] = other  # by whatever way it came to be so
    script.send()
    assert script.view.commands[KEY].state == "superseded"
    assert script.conflicts == ["already_cleared"]
