"""Echoes in parts, too late, or beside what others do: none of them is a false conflict, and none is lost."""

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from engine.model.commands import Found, OutcomeKind, command_key
from engine.model.documents import Phase
from engine.model.events import KeyLookedUp, Moved, Timer, TimerFired
from tests.rules.payment_script import KEY, NOW, Script, part

SECOND = command_key("erp", "pay-2", 0)


@pytest.fixture
def script() -> Script:
    return Script()


def submit_two(script: Script) -> None:
    script.submit("40.00")
    script.submit("60.00", name="pay-2")


def look_up(script: Script, found: Found | None) -> None:
    script.play(KeyLookedUp(KEY, script.view.commands[KEY].fence, found, found is None, NOW))


def test_what_an_automation_writes_beside_our_payment_makes_no_other_one_stale(script: Script) -> None:
    submit_two(script)
    script.send()
    script.told(part("40.00", left="60.00", reference="PO-7", terms="30 days"))
    assert script.conflicts == []
    assert (script.view.commands[SECOND].state, script.view.commands[SECOND].revision) == ("pending", 1)


@pytest.mark.parametrize("changes", [{"blocked": True}, {"invoice_date": dt.date(2026, 11, 2)}])
def test_a_fact_that_changes_beside_our_payment_does(script: Script, changes: dict[str, Any]) -> None:
    submit_two(script)
    script.send()
    script.told(part("40.00", left="60.00", **changes))
    assert script.conflicts == ["stale_basis"]
    assert script.view.commands[SECOND].revision == 2


@pytest.mark.parametrize("kind", [OutcomeKind.THROTTLED, OutcomeKind.STALE, OutcomeKind.UNKNOWN])
@pytest.mark.parametrize("first", ["answer", "echo"])
def test_of_what_was_thought_not_done_a_part_is_there(script: Script, kind: OutcomeKind, first: str) -> None:
    script.submit("80.00")
    script.send()
    if first == "answer":
        script.answer(kind)
    script.told(part("30.00", left="70.00"))
    if first == "echo":
        script.answer(kind)
    assert script.states[2] == "unknown"
    look_up(script, None)
    assert script.states[2] == "unknown"  # it is there, whoever does not find it
    look_up(script, Found("move 5", complete=False))
    assert script.states[2] == "part_done"
    script.told(part("80.00", left="20.00"))
    assert script.states == ("open", "done", "confirmed")
    assert script.conflicts == []


def test_a_refusal_of_what_is_partly_there_asks_people(script: Script) -> None:
    script.submit("80.00")
    script.send()
    script.told(part("30.00", left="70.00"))
    script.answer(OutcomeKind.REJECTED)
    assert script.conflicts == ["partly_done"]
    assert script.states == ("matched", "held", "rejected")
    assert script.view.invoices["1"].claimed() == Decimal("50.00")


def test_a_part_of_what_was_refused_is_a_late_effect_at_once_and_only_once(script: Script) -> None:
    script.submit("80.00")
    script.send()
    script.answer(OutcomeKind.REJECTED)
    script.told(part("30.00", left="70.00"))
    assert script.conflicts == ["erp_rejected", "late_effect"]
    script.told(part("80.00", left="20.00"))
    assert script.conflicts == ["erp_rejected", "late_effect"]
    assert script.states == ("open", "done", "confirmed")


def test_a_part_that_stays_the_only_one_is_told_as_such(script: Script) -> None:
    script.submit("80.00")
    script.send()
    script.answer(OutcomeKind.ACCEPTED)
    script.told(part("30.00", left="70.00"))
    script.play(TimerFired(Timer.ECHO_OVERDUE, KEY, NOW))
    assert script.conflicts == ["partly_done"]
    script.told(part("80.00", left="20.00"))
    assert script.states == ("open", "done", "confirmed")
    assert {conflict.state for conflict in script.view.conflicts.values()} == {"dismissed"}


def test_our_key_in_another_currency_is_a_mismatch(script: Script) -> None:
    script.submit("40.00")
    script.send()
    script.told(part("40.00", left="60.00", currency="USD"))
    assert script.states[1:] == ("held", "mismatched")
    assert script.conflicts == ["echo_mismatch"]


def test_who_was_decided_first_is_served_first_when_less_is_left(script: Script) -> None:
    submit_two(script)
    script.told(part("50.00", "by hand", left="50.00"))
    assert script.view.intents["pay-1"].state == "planned"
    assert script.view.intents["pay-2"].state == "refused"
    assert script.conflicts == ["over_application", "stale_basis"]
    (match,) = script.view.invoices["1"].matches
    assert (match.command, match.amount) == (KEY, Decimal("40.00"))


def test_a_rebased_command_keeps_its_place(script: Script) -> None:
    script.submit("40.00")
    script.submit("20.00", name="pay-2")
    script.told(part("50.00", "by hand", left="50.00"))
    assert [match.command for match in script.view.invoices["1"].matches] == [KEY]
    assert script.view.intents["pay-2"].state == "refused"
    assert script.conflicts == ["concurrent_claims", "stale_basis"]


def test_what_has_left_is_counted_though_it_was_decided_later(script: Script) -> None:
    submit_two(script)
    script.play(TimerFired(Timer.SEND, SECOND, NOW))
    script.told(part("50.00", "by hand", left="50.00"))
    assert script.view.intents["pay-1"].state == "refused"
    assert script.conflicts == ["concurrent_claims"]


def test_what_left_once_is_given_up_without_a_send_that_never_was(script: Script) -> None:
    script.submit("40.00")
    script.send()
    script.answer(OutcomeKind.THROTTLED)
    decision = script.told(part("100.00", "by hand", left="0.00"))
    steps = [e.trigger for e in decision.effects if isinstance(e, Moved) and e.machine == "command"]
    assert steps == ["find_stale", "supersede"]
    assert script.view.invoices["1"].doc.phase is Phase.FINAL
