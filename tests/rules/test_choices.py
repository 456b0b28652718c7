"""What people choose about conflicts: carried out once, undone until then, and never at the cost of an ERP fact."""

import datetime as dt
from decimal import Decimal

import msgspec
import pytest

from engine.model.commands import Found, Outcome, OutcomeKind
from engine.model.documents import Phase
from engine.model.events import (
    ChoiceMade,
    ChoiceUndone,
    Chosen,
    Declined,
    DocumentCompared,
    FieldDiffers,
    KeyLookedUp,
    OutcomeReceived,
    Timer,
    TimerFired,
)
from engine.model.records import ConflictKind, ConflictRecord
from engine.rules.choices import why_not
from engine.rules.desk import Decision, Desk
from engine.rules.policy import Choice, Policy
from engine.rules.standing import version_of
from tests.rules.payment_script import KEY, NOW, Script, invoice, paid, part

LATER = NOW + dt.timedelta(seconds=30)


@pytest.fixture
def script() -> Script:
    return Script()


def conflict(script: Script, kind: str | None = None) -> ConflictRecord:
    (found,) = [c for c in script.view.conflicts.values() if kind in (None, c.kind)]
    return found


def choose(
    script: Script, choice: str, *, shown: str | None = None, apply_at: dt.datetime | None = None, kind: str = ""
) -> Decision:
    name = conflict(script, kind or None).id
    return script.play(ChoiceMade(name, choice, "ann", "spoke to the bank", NOW, shown, apply_at))


def declined(decision: Decision) -> list[str]:
    return [effect.sentence for effect in decision.effects if isinstance(effect, Declined)]


def able(script: Script) -> set[str]:
    desk = Desk(script.view, script.policy, "erp")
    return {choice for choice in Choice if why_not(desk, conflict(script), choice, NOW) is None}


def version(script: Script) -> str:
    return version_of(Desk(script.view, script.policy, "erp"), conflict(script))


def rejected(script: Script, reason: str | None = None) -> None:
    script.submit()
    script.send()
    outcome = Outcome(OutcomeKind.REJECTED, "the period is closed", reason=reason)
    script.play(OutcomeReceived(KEY, script.view.commands[KEY].fence, outcome, NOW))


def test_the_erp_s_word_is_accepted_and_the_intent_is_refused(script: Script) -> None:
    rejected(script)
    decision = choose(script, "accept_erp")
    assert script.states == ("open", "refused", "rejected")
    found = conflict(script)
    assert (found.state, found.choice, found.chosen_by, found.why) == (
        "applied",
        "accept_erp",
        "ann",
        "spoke to the bank",
    )
    assert (found.default_choice, found.ended_at) == ("hold", NOW)
    (said,) = [effect for effect in decision.effects if isinstance(effect, Chosen)]
    assert said.shown[f"command/{KEY}"] == "rejected, revision 1, 0 shown"
    assert said.shown["invoice/1"] == script.view.invoices["1"].version


def test_a_refused_write_is_sent_again_under_its_key_once_the_cause_is_gone(script: Script) -> None:
    rejected(script, "period_closed")
    assert script.conflicts == ["period_closed"]
    before = script.view.commands[KEY]
    choose(script, "retry")
    again = script.view.commands[KEY]
    assert script.states == ("matched", "planned", "pending")
    assert (again.revision, again.write, again.sends) == (2, before.write, before.sends)
    assert again.fence > before.fence, "a late answer to the first send changes nothing"
    script.send()
    assert script.view.commands[KEY].sends == 2, "so it is looked up before it leaves"
    script.told(paid(KEY))
    assert script.states == ("posted", "done", "confirmed")


def test_what_was_decided_on_other_facts_is_rebased_and_not_retried(script: Script) -> None:
    rejected(script)
    script.told(invoice(due=((dt.date(2026, 12, 24), Decimal("100.00")),)))
    assert able(script) == {"accept_erp", "rebase", "hold"}
    (sentence,) = declined(choose(script, "retry"))
    assert "has changed in the ERP" in sentence
    assert conflict(script).state == "held"
    choose(script, "rebase")
    again = script.view.commands[KEY]
    assert (again.revision, again.write.allocations[0].version) == (2, script.view.invoices["1"].version)
    assert script.states[1:] == ("planned", "pending")


def test_no_choice_applies_more_than_the_erp_has_open(script: Script) -> None:
    rejected(script)
    script.told(part("60.00", None, left="40.00"))
    assert able(script) == {"accept_erp", "hold"}
    (sentence,) = declined(choose(script, "rebase"))
    assert "only 40.00 is open" in sentence
    assert script.states[1:] == ("held", "rejected")


def test_a_choice_can_be_undone_until_it_is_applied_and_not_after(script: Script) -> None:
    rejected(script)
    choose(script, "accept_erp", apply_at=LATER)
    found = conflict(script)
    assert (found.state, found.choice, found.default_choice, found.apply_at) == (
        "chosen",
        "accept_erp",
        "hold",
        LATER,
    )
    assert script.view.intents["pay-1"].state == "held"
    script.play(ChoiceUndone(found.id, "ben", "wait for the bank", NOW))
    undone = conflict(script)
    assert (undone.state, undone.choice, undone.why, undone.apply_at) == ("held", None, "wait for the bank", None)
    script.play(TimerFired(Timer.APPLY_CHOICE, found.id, LATER))
    assert script.view.intents["pay-1"].state == "held", "nothing waits any more"
    choose(script, "retry", apply_at=LATER)
    script.play(TimerFired(Timer.APPLY_CHOICE, found.id, LATER))
    assert (conflict(script).state, script.states[1:]) == ("applied", ("planned", "pending"))
    (sentence,) = declined(script.play(ChoiceUndone(found.id, "ben", "too late", LATER)))
    assert "is applied" in sentence
    assert declined(choose(script, "accept_erp"))


def test_whoever_chooses_anew_replaces_the_choice(script: Script) -> None:
    rejected(script)
    choose(script, "accept_erp", apply_at=LATER)
    choose(script, "retry")
    assert (conflict(script).choice, script.states[1:]) == ("retry", ("planned", "pending"))


def test_a_choice_on_what_is_no_longer_so_is_declined(script: Script) -> None:
    rejected(script)
    seen = version(script)
    script.told(invoice())
    assert version(script) == seen, "a touched row says the same"
    script.told(invoice(blocked=True))
    (sentence,) = declined(choose(script, "accept_erp", shown=seen))
    assert f"What was shown as {seen}" in sentence
    assert conflict(script).state == "held"
    choose(script, "accept_erp", shown=version(script))
    assert conflict(script).state == "applied"


def test_a_choice_goes_back_to_people_when_the_erp_moves_on_before_it_is_applied(script: Script) -> None:
    rejected(script)
    choose(script, "retry", apply_at=LATER)
    script.told(invoice(blocked=True))
    decision = script.play(TimerFired(Timer.APPLY_CHOICE, conflict(script).id, LATER))
    assert "moved on" in declined(decision)[0]
    assert (conflict(script).state, conflict(script).choice, script.states[1:]) == (
        "held",
        None,
        ("held", "rejected"),
    )


@pytest.mark.parametrize("choice", ["accept_erp", "retry", "rebase"])
def test_no_choice_sends_what_may_stand_in_the_erp(script: Script, choice: str) -> None:
    script.submit()
    script.send()
    script.answer(OutcomeKind.ACCEPTED)
    script.play(TimerFired(Timer.ECHO_OVERDUE, KEY, NOW))
    assert able(script) == {"accept_erp", "retry", "hold"}
    choose(script, choice)
    command = script.view.commands[KEY]
    assert (command.revision, command.sends) == (1, 1)
    wanted = {"accept_erp": ("refused", "overdue"), "retry": ("planned", "accepted"), "rebase": ("held", "overdue")}
    assert script.states[1:] == wanted[choice]
    if choice == "retry":
        assert command.due_at == NOW + script.policy.settle_time, "it waits for the echo once more"
        assert script.states[0] == "matched"
    script.told(paid(KEY))
    assert script.view.commands[KEY].state == "confirmed"


def test_the_refused_step_of_several_is_tried_again_and_the_first_is_not_done_again(script: Script) -> None:
    script.submit()
    script.send()
    script.answer(OutcomeKind.UNKNOWN)
    command = script.view.commands[KEY]
    script.play(KeyLookedUp(KEY, command.fence, Found("D1", complete=False), proves_absence=False, at=NOW))
    script.answer(OutcomeKind.REJECTED)
    assert (script.conflicts, script.states[1:]) == (["partly_done"], ("held", "held"))
    assert able(script) == {"accept_erp", "retry", "hold"}
    choose(script, "retry")
    assert script.states == ("matched", "planned", "part_done")
    assert script.view.commands[KEY].due_at == NOW


def test_an_intent_that_was_held_before_it_had_a_command_is_decided_again(script: Script) -> None:
    script.policy = Policy(choices={ConflictKind.STALE_BASIS: Choice.HOLD})
    script.submit(basis="AAAAAAAAAAAAAAAA")
    assert able(script) == {"accept_erp", "rebase", "hold"}
    choose(script, "rebase")
    assert script.states == ("matched", "planned", "pending")


def test_what_was_a_draft_is_paid_once_it_is_posted(script: Script) -> None:
    script.told(invoice(phase=Phase.DRAFT))
    script.submit()
    assert script.intent("pay-1") == ("held", "precondition_failed")
    assert "retry" not in able(script)
    script.told(invoice())
    choose(script, "rebase")
    assert script.states[1:] == ("planned", "pending")


def test_hold_leaves_it_held_and_says_who_wants_it_so(script: Script) -> None:
    rejected(script)
    choose(script, "hold")
    found = conflict(script)
    assert (found.state, found.choice, found.chosen_by, found.why) == ("held", None, "ann", "spoke to the bank")


def test_one_choice_settles_the_intent_s_other_conflicts(script: Script) -> None:
    rejected(script)
    script.told(part("50.00", left="50.00"), invoice(key="2", applications=part("9", left="1").applications))
    assert script.conflicts == ["echo_mismatch", "erp_rejected"]
    script.play(ChoiceMade(conflict(script, "erp_rejected").id, "accept_erp", "ann", "as booked", LATER))
    other = conflict(script, "echo_mismatch")
    assert other.state == "dismissed"
    assert other.why == f"settled with conflict {conflict(script, 'erp_rejected').id}"


def test_what_is_over_can_only_be_acknowledged(script: Script) -> None:
    script.policy = Policy(choices={ConflictKind.ERP_REVERSED: Choice.HOLD})
    script.submit()
    script.send()
    script.told(paid(KEY))
    script.told(invoice())
    assert script.conflicts == ["erp_reversed"]
    assert able(script) == {"accept_erp", "hold"}
    choose(script, "accept_erp")
    assert (conflict(script).state, script.states[1:]) == ("applied", ("done", "confirmed"))


def test_a_word_that_is_no_choice_is_declined(script: Script) -> None:
    rejected(script)
    (sentence,) = declined(choose(script, "overwrite_erp"))
    assert "possible are accept_erp, rebase, retry, hold" in sentence


def test_a_drift_is_one_conflict_until_both_sides_agree(script: Script) -> None:
    differs = (FieldDiffers("open_amount", "90.00", "100.00"),)
    for _ in range(2):
        script.play(DocumentCompared("invoice/1", differs, NOW, customer="7", through=5))
    found = conflict(script)
    assert (str(found.kind), found.state, found.fields, found.erp) == (
        "drift", "held", ("open_amount",), {"open_amount": "90.00"},
    )  # fmt: skip
    assert "open_amount is 90.00 there and 100.00 here" in found.sentence
    script.play(DocumentCompared("invoice/1", (), LATER, through=9))
    assert (conflict(script).state, conflict(script).ended_at) == ("dismissed", LATER)
    assert "verified through position 9" in (conflict(script).why or "")
    script.play(DocumentCompared("invoice/1", differs, LATER, through=11))
    assert script.conflicts == ["drift", "drift"]


def test_an_invoice_s_past_is_shown_beside_its_present(script: Script) -> None:
    seen = script.view.invoices["1"].version
    script.told(part("70.00", "BANK 4", left="30.00"))
    script.submit(basis=seen)
    found = conflict(script)
    assert (str(found.kind), found.base["content_version"], found.base["open_amount"]) == (
        "over_application",
        seen,
        "100.00",
    )
    assert (found.erp["open_amount"], found.erp["applied"]) == ("30.00", "70.00 BANK 4")
    assert found.fields[:1] == ("open_amount",)
    assert {"applied", "content_version"} <= set(found.fields)
    assert found.told is not None
    assert (found.documents, found.company, found.tags) == (("invoice/1",), "1", ("stale_basis",))


def test_an_older_version_is_put_together_from_what_each_later_one_changed(script: Script) -> None:
    seen = script.view.invoices["1"].version
    script.told(invoice(blocked=True))
    script.told(part("30.00", "BANK 1", left="70.00", blocked=True))
    script.told(part("70.00", "BANK 4", left="30.00"))
    assert [sorted(past.facts) for past in script.view.invoices["1"].past][-1] == ["blocked"]
    script.submit(basis=seen)
    found = conflict(script)
    assert {name: found.base[name] for name in ("open_amount", "blocked", "applied", "number")} == {
        "open_amount": "100.00", "blocked": "no", "applied": None, "number": "INV1",
    }  # fmt: skip
    script.submit(basis="AAAAAAAAAAAAAAAA", name="pay-2")
    other = next(c for c in script.view.conflicts.values() if c.intent == "pay-2")
    assert other.base == {"content_version": "AAAAAAAAAAAAAAAA"}


def test_a_step_that_no_machine_has_is_a_conflict_and_changes_nothing(script: Script) -> None:
    record = script.view.invoices["1"]
    odd = msgspec.structs.replace(record, state="cleared", clearing="applied", doc=paid("by hand"))
    script.view.invoices["1"] = msgspec.structs.replace(odd, state="nowhere")
    script.told(invoice(number="INV1-B"))
    assert script.conflicts == ["refused_transition"]
    assert "erp_changed in nowhere" in conflict(script).sentence
    assert script.view.invoices["1"].state == "nowhere"
