"""Before a command leaves it is decided once more: by then something else may have to be written, or nothing."""

import datetime as dt
from decimal import Decimal

import pytest

from engine.model.commands import ApplyReceipt as ReceiptWrite
from engine.model.commands import IssueMemo as MemoWrite
from engine.model.commands import Memo, OutcomeKind, SetBlock
from engine.model.events import ChoiceMade, Timer, TimerFired
from engine.model.intents import Allocation, ApplyPayment, ApplyReceipt, IssueMemo, RaiseDispute, RejectDispute
from tests.rules.payment_script import NOW, Script, invoice, paid, part
from tests.rules.test_other_intents import key, memo, withdraw


@pytest.fixture
def script() -> Script:
    return Script()


def hold(script: Script, name: str = "d1", amount: str = "100.00") -> None:
    script.ask(RaiseDispute(**script.about(name, amount), reason_code="PRICE", hold=True))


def reject(script: Script, name: str, dispute: str) -> None:
    script.ask(RejectDispute(**script.about(name), dispute=dispute))


def credit(script: Script, name: str, amount: str, dispute: str | None = None) -> None:
    script.ask(IssueMemo(**script.about(name, amount), memo=Memo.CREDIT, date=NOW.date(), dispute=dispute))


def test_a_receipt_clears_once_the_money_before_it_has_come(script: Script) -> None:
    script.submit("60.00")
    script.ask(ApplyReceipt(**script.about("a1", "40.00"), receipt="BANK-7"))
    script.send()
    script.answer(OutcomeKind.ACCEPTED)
    script.told(part("60.00", left="40.00"))
    script.send(key("a1"))
    command = script.view.commands[key("a1")]
    assert isinstance(command.write, ReceiptWrite)
    assert (command.write.clears, command.revision, command.state) == (True, 2, "sent")
    assert script.conflicts == []


def test_a_memo_does_not_clear_what_was_paid_in_part_before_it(script: Script) -> None:
    script.submit("60.00")
    credit(script, "m1", "100.00")
    script.send()
    script.answer(OutcomeKind.ACCEPTED)
    script.told(part("60.00", left="40.00"))
    script.send(key("m1"))
    command = script.view.commands[key("m1")]
    assert isinstance(command.write, MemoWrite)
    assert (command.write.clears, command.revision) == (False, 2)


def test_a_memo_lifts_the_block_that_has_come_before_it(script: Script) -> None:
    hold(script, amount="30.00")
    credit(script, "m1", "30.00", "d1")
    script.send(key("d1"))
    script.told(invoice(blocked=True))
    script.send(key("m1"))
    command = script.view.commands[key("m1")]
    assert isinstance(command.write, MemoWrite)
    assert command.write.lift_block
    script.send(key("m1"))
    script.told(memo("m1", "30.00"))
    assert script.command("m1") == "sent", "the block is still there"
    script.told(invoice())
    assert (script.intent("m1")[0], script.conflicts) == ("done", [])


def test_a_dispute_that_was_rejected_meanwhile_blocks_nothing(script: Script) -> None:
    hold(script)
    reject(script, "r1", "d1")
    script.send(key("d1"))
    assert (script.command("d1"), script.intent("d1")[0]) == ("superseded", "done")
    assert script.view.invoices["1"].changes == ()


def test_a_dispute_that_was_rejected_while_its_block_is_on_its_way_is_unblocked(script: Script) -> None:
    hold(script)
    script.send(key("d1"))
    script.answer(OutcomeKind.ACCEPTED, key("d1"))
    reject(script, "r1", "d1")
    script.told(invoice(terms="30 days"))
    assert script.command("r1") == "pending", "free it is only because the block has not come yet"
    script.told(invoice(terms="30 days", blocked=True))
    assert script.intent("d1")[0] == "done"
    script.send(key("r1"))
    assert script.command("r1") == "sent"
    script.told(invoice(terms="30 days"))
    assert (script.intent("r1")[0], script.command("r1")) == ("done", "confirmed")


def test_a_dispute_that_came_to_nothing_is_not_unblocked(script: Script) -> None:
    hold(script)
    script.send(key("d1"))
    reject(script, "r1", "d1")
    script.answer(OutcomeKind.REJECTED, key("d1"))
    script.send(key("r1"))
    assert (script.command("r1"), script.intent("r1")[0]) == ("superseded", "done")


def test_a_block_stays_for_another_dispute(script: Script) -> None:
    hold(script)
    script.send(key("d1"))
    script.told(invoice(blocked=True))
    reject(script, "r1", "d1")
    assert script.command("r1") == "pending"
    hold(script, "d2")
    script.send(key("r1"))
    assert (script.command("r1"), script.intent("r1")[0]) == ("superseded", "done")
    assert (script.intent("d2")[0], script.command("d2")) == ("done", None)


def test_another_dispute_blocks_anew_what_is_being_unblocked(script: Script) -> None:
    hold(script)
    script.send(key("d1"))
    script.told(invoice(blocked=True))
    reject(script, "r1", "d1")
    script.send(key("r1"))
    hold(script, "d2")
    write = script.view.commands[key("d2")].write
    assert isinstance(write, SetBlock)
    assert write.blocked
    script.told(invoice(terms="30 days", blocked=True))
    assert script.command("d2") == "pending", "blocked it is only because it has not been unblocked yet"
    script.told(invoice(terms="30 days"))
    script.send(key("d2"))
    script.told(invoice(terms="30 days", blocked=True))
    assert [script.intent(name)[0] for name in ("r1", "d2")] == ["done", "done"]


def test_a_hold_on_what_is_paid_by_then_is_done(script: Script) -> None:
    hold(script)
    script.told(paid("by hand"))
    assert (script.intent("d1")[0], script.command("d1")) == ("done", "superseded")
    assert not [one for one in script.view.conflicts.values() if one.open]


def test_a_hold_that_another_dispute_keeps_is_done_also_when_terms_change(script: Script) -> None:
    hold(script)
    script.send(key("d1"))
    script.told(invoice(blocked=True))
    reject(script, "r1", "d1")
    hold(script, "d2")
    script.told(invoice(blocked=True, due=((dt.date(2027, 1, 1), Decimal("100.00")),)))
    assert script.intent("r1")[0] == "done"


def test_a_dispute_that_is_withdrawn_is_none(script: Script) -> None:
    hold(script)
    assert script.view.invoices["1"].state == "disputed"
    withdraw(script, "w1", "d1")
    assert (script.intent("d1")[0], script.intent("w1")[0]) == ("withdrawn", "done")
    record = script.view.invoices["1"]
    assert (record.state, [dispute.alive for dispute in record.disputes]) == ("open", [False])


def test_nothing_takes_itself_back(script: Script) -> None:
    withdraw(script, "w1", "w1")
    assert script.intent("w1") == ("refused", "there is no other intent w1")
    assert script.conflicts == []


def test_a_dispute_that_is_decided_again_is_still_one(script: Script) -> None:
    hold(script)
    script.send(key("d1"))
    script.answer(OutcomeKind.REJECTED, key("d1"))
    script.told(invoice(blocked=True))
    (conflict,) = [one for one in script.view.conflicts.values() if one.open]
    script.play(ChoiceMade(conflict.id, "rebase", "me", "it is blocked by now", NOW))
    assert script.intent("d1")[0] == "done"
    assert [dispute.id for dispute in script.view.invoices["1"].disputes] == ["d1"]


def test_what_waited_for_an_invoice_is_decided_on_in_the_order_in_which_it_was_asked(script: Script) -> None:
    for name in ("z-first", "a-second"):
        parts = (Allocation("2", Decimal("80.00"), "NEVERSEEN"),)
        script.ask(ApplyPayment(id=name, system="erp", customer="7", currency="EUR", amount=Decimal("80.00"),
                                date=NOW.date(), allocations=parts))  # fmt: skip
    script.told(invoice(key="2", number="INV2"))
    assert [script.intent(name)[0] for name in ("z-first", "a-second")] == ["planned", "refused"]


def test_a_rejection_that_is_decided_again_rejects_once(script: Script) -> None:
    hold(script)
    script.send(key("d1"))
    script.told(invoice(blocked=True))
    reject(script, "r1", "d1")
    script.send(key("r1"))
    script.answer(OutcomeKind.REJECTED, key("r1"))
    script.told(invoice())
    (conflict,) = [one for one in script.view.conflicts.values() if one.open]
    script.play(ChoiceMade(conflict.id, "rebase", "me", "it is free by now", NOW))
    assert script.intent("r1")[0] == "done"
    assert script.conflicts == ["erp_rejected"]


def test_a_hold_does_not_rely_on_a_block_that_may_never_come(script: Script) -> None:
    hold(script)
    script.send(key("d1"))
    hold(script, "d2")
    assert script.command("d2") == "pending"
    reject(script, "r1", "d1")
    script.answer(OutcomeKind.STALE, key("d1"))
    script.told(invoice(terms="30 days"))
    assert (script.intent("d1")[0], script.command("d1")) == ("done", "superseded")
    script.send(key("d2"))
    assert script.command("d2") == "sent"
    script.told(invoice(terms="30 days", blocked=True))
    assert [script.intent(name)[0] for name in ("d2", "r1")] == ["done", "done"]


def test_a_hold_is_asked_for_by_itself_when_the_other_one_was_refused(script: Script) -> None:
    hold(script)
    script.send(key("d1"))
    hold(script, "d2")
    script.answer(OutcomeKind.REJECTED, key("d1"))
    assert script.intent("d2")[0] == "planned"
    script.send(key("d2"))
    assert script.command("d2") == "sent"


def test_a_hold_that_came_with_another_one_is_done(script: Script) -> None:
    hold(script)
    script.send(key("d1"))
    hold(script, "d2")
    script.told(invoice(blocked=True))
    assert [script.intent(name)[0] for name in ("d1", "d2")] == ["done", "done"]


def test_a_block_that_is_overdue_may_still_come(script: Script) -> None:
    hold(script)
    script.send(key("d1"))
    script.answer(OutcomeKind.ACCEPTED, key("d1"))
    script.play(TimerFired(Timer.ECHO_OVERDUE, key("d1"), NOW + dt.timedelta(hours=1)))
    reject(script, "r1", "d1")
    assert script.command("r1") == "pending"
    script.told(invoice(blocked=True))
    assert script.intent("r1")[0] == "planned"
    script.send(key("r1"))
    assert script.command("r1") == "sent"


def test_a_dispute_is_not_withdrawn_from_a_memo_that_is_on_its_way(script: Script) -> None:
    hold(script, amount="30.00")
    script.send(key("d1"))
    script.answer(OutcomeKind.REJECTED, key("d1"))
    credit(script, "m1", "30.00", "d1")
    withdraw(script, "w1", "d1")
    assert [one.state for one in script.view.invoices["1"].disputes] == ["approved"]
    script.send(key("m1"))
    script.told(memo("m1", "30.00"))
    assert (script.intent("m1")[0], [one.alive for one in script.view.invoices["1"].disputes]) == ("done", [False])
