"""What the AR side asks for besides payments: disputes, memos, receipts on account, credit limits, withdrawals."""

import datetime as dt
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from engine.model.commands import IssueMemo as MemoWrite
from engine.model.commands import Memo, OutcomeKind, PostPayment, SetBlock, SetCreditLimit, command_key
from engine.model.commands import PostEntry as EntryWrite
from engine.model.commands import ReleaseOrder as OrderWrite
from engine.model.documents import (
    Application,
    CreditAccount,
    Customer,
    Invoice,
    InvoiceType,
    LedgerEntry,
    Phase,
    SalesOrder,
)
from engine.model.events import DocumentsTold, Moved, Timer, TimerFired, Told
from engine.model.intents import (
    Allocation,
    ApplyPayment,
    ApplyReceipt,
    IntentError,
    IssueMemo,
    PostEntry,
    RaiseDispute,
    RejectDispute,
    ReleaseOrder,
    ReverseApplication,
    Side,
    Withdraw,
    parse_intent,
)
from engine.model.intents import SetCreditLimit as AskLimit
from engine.model.records import ConflictKind
from engine.rules.desk import Decision
from engine.rules.policy import Choice, Policy
from tests.rules.payment_script import KEY, NOW, Script, invoice, paid, part, refusals


@pytest.fixture
def script() -> Script:
    return Script()


def key(name: str) -> str:
    return command_key("erp", name, 0)


def disputes(script: Script) -> list[tuple[str, str]]:
    return [(one.id, one.state) for one in script.view.invoices["1"].disputes]


def memo(name: str, amount: str = "30.00", **changes: Any) -> Invoice:
    """A credit memo that carries the key of an intent's command."""
    money = -Decimal(amount)
    made = invoice(key="90", number="CN1", type=InvoiceType.CREDIT_MEMO, total_amount=money, open_amount=money,
                   due=(), reference=key(name))  # fmt: skip
    return msgspec.structs.replace(made, **changes)


# Disputes


def test_a_dispute_without_a_hold_asks_nothing_of_the_erp(script: Script) -> None:
    script.ask(RaiseDispute(**script.about("d1", "30.00"), reason_code="damaged"))
    assert script.intent("d1")[0] == "done"
    assert script.view.commands == {}
    assert script.view.invoices["1"].state == "disputed"
    script.ask(RejectDispute(**script.about("r1", "30.00"), dispute="d1", reason_code="was fine"))
    assert disputes(script) == [("d1", "closed")]
    assert script.view.invoices["1"].state == "open"


def test_a_held_dispute_blocks_the_invoice_and_its_rejection_frees_it(script: Script) -> None:
    before = script.view.invoices["1"].version
    script.ask(RaiseDispute(**script.about("d1"), reason_code="wrong price", hold=True))
    write = script.view.commands[key("d1")].write
    assert isinstance(write, SetBlock)
    assert (write.blocked, write.allocations[0].invoice) == (True, "1")
    script.send(key("d1"))
    script.answer(OutcomeKind.ACCEPTED, key("d1"))
    assert script.intent("d1")[0] == "planned", "an answer is no echo"
    script.told(invoice(blocked=True))
    assert (script.intent("d1")[0], script.command("d1")) == ("done", "confirmed")
    assert script.view.invoices["1"].changes == ()
    assert before in script.view.invoices["1"].ancestors, "our own block makes nobody's basis stale"
    script.ask(RejectDispute(**script.about("r1"), dispute="d1"))
    free = script.view.commands[key("r1")].write
    assert isinstance(free, SetBlock)
    assert free.blocked is False
    script.send(key("r1"))
    script.told(invoice())
    assert script.intent("r1")[0] == "done"
    assert script.conflicts == []


def test_the_block_stays_while_another_dispute_holds(script: Script) -> None:
    script.ask(RaiseDispute(**script.about("d1"), reason_code="one", hold=True))
    script.told(invoice(blocked=True))
    script.ask(RaiseDispute(**script.about("d2"), reason_code="two", hold=True))
    assert script.intent("d2")[0] == "done", "it is blocked already"
    script.ask(RejectDispute(**script.about("r1"), dispute="d1"))
    assert script.command("r1") is None
    assert script.view.invoices["1"].state == "disputed"


def test_an_approved_dispute_is_credited_once_and_over_when_the_erp_shows_the_memo(script: Script) -> None:
    script.ask(RaiseDispute(**script.about("d1", "30.00"), reason_code="damaged", hold=True))
    script.told(invoice(blocked=True))
    asked = {**script.about("m1", "30.00"), "memo": Memo.CREDIT, "date": NOW.date(), "dispute": "d1"}
    script.ask(IssueMemo(**asked))
    write = script.view.commands[key("m1")].write
    assert isinstance(write, MemoWrite)
    assert write.lift_block
    assert disputes(script) == [("d1", "approved")]
    script.ask(IssueMemo(**{**asked, "id": "m2"}))
    assert script.intent("m2") == ("held", "precondition_failed"), "it is approved already: no second credit"
    script.send(key("m1"))
    script.answer(OutcomeKind.UNKNOWN, key("m1"))
    script.told(memo("m1"))
    assert script.command("m1") == "unknown", "the invoice is still blocked"
    script.told(invoice())
    assert (script.intent("m1")[0], script.command("m1")) == ("done", "confirmed")
    assert disputes(script) == [("d1", "closed")]
    assert script.view.invoices["1"].state == "open"


def test_a_dispute_that_nobody_raised_is_not_credited(script: Script) -> None:
    script.ask(IssueMemo(**script.about("m1", "30.00"), memo=Memo.CREDIT, date=NOW.date(), dispute="d1"))
    assert script.intent("m1") == ("held", "precondition_failed")
    assert script.view.commands == {}


# Memos


@pytest.mark.parametrize(
    "shown",
    [
        {"total_amount": Decimal("-31.00"), "open_amount": Decimal("-31.00")},
        {"customer": "8"},
        {"type": InvoiceType.INVOICE, "total_amount": Decimal("30.00"), "open_amount": Decimal("30.00")},
    ],
)
def test_a_memo_that_is_not_what_was_promised_is_a_conflict(script: Script, shown: dict[str, Any]) -> None:
    script.ask(IssueMemo(**script.about("m1", "30.00"), memo=Memo.CREDIT, date=NOW.date()))
    script.send(key("m1"))
    script.told(memo("m1", **shown))
    assert script.command("m1") != "confirmed"
    if "type" not in shown:
        assert script.conflicts == ["echo_mismatch"]


def test_a_second_memo_under_one_key_is_a_conflict(script: Script) -> None:
    script.ask(IssueMemo(**script.about("m1", "30.00"), memo=Memo.CREDIT, date=NOW.date()))
    script.send(key("m1"))
    script.told(memo("m1"))
    assert script.command("m1") == "confirmed"
    script.told(memo("m1", key="91", number="CN2"))
    assert script.conflicts == ["echo_mismatch"]


def test_a_draft_that_carries_the_key_is_no_echo(script: Script) -> None:
    script.ask(IssueMemo(**script.about("m1", "30.00"), memo=Memo.CREDIT, date=NOW.date()))
    script.send(key("m1"))
    script.told(memo("m1", phase=Phase.DRAFT))
    assert script.command("m1") == "sent"
    script.told(memo("m1"))
    assert script.command("m1") == "confirmed"
    script.told(memo("m1", phase=Phase.VOID))
    assert script.conflicts == ["erp_reversed"]


@pytest.mark.parametrize("first", ["memo", "invoice"])
def test_a_memo_over_all_that_is_open_is_done_when_the_two_have_cleared_each_other(
    script: Script, first: str
) -> None:
    script.ask(IssueMemo(**script.about("m1"), memo=Memo.CREDIT, date=NOW.date()))
    write = script.view.commands[key("m1")].write
    assert isinstance(write, MemoWrite)
    assert write.clears
    script.send(key("m1"))
    cleared = invoice(open_amount=Decimal("0.00"), phase=Phase.FINAL, due=())
    script.told(*[memo("m1", "100.00"), cleared][:: 1 if first == "memo" else -1][:1])
    assert script.command("m1") == "sent"
    script.told(*[memo("m1", "100.00"), cleared][:: 1 if first == "memo" else -1][1:])
    assert (script.command("m1"), script.intent("m1")[0]) == ("confirmed", "done")
    assert script.conflicts == []


def test_that_a_memo_of_ours_is_cleared_as_asked_surprises_nobody_and_anything_later_does(script: Script) -> None:
    script.ask(IssueMemo(**script.about("m1"), memo=Memo.CREDIT, date=NOW.date()))
    script.send(key("m1"))
    script.told(memo("m1", "100.00"))
    seen = script.view.invoices["90"].version
    used = memo("m1", "100.00", open_amount=Decimal("0.00"), phase=Phase.FINAL)
    script.told(used, invoice(open_amount=Decimal("0.00"), phase=Phase.FINAL, due=()))
    assert seen in script.view.invoices["90"].ancestors
    assert script.command("m1") == "confirmed"
    script.told(memo("m1", "100.00"))
    script.told(used)
    assert seen not in script.view.invoices["90"].ancestors


def test_what_a_memo_is_followed_by_proves_nothing_of_the_memo(script: Script) -> None:
    script.ask(IssueMemo(**script.about("m1"), memo=Memo.CREDIT, date=NOW.date()))
    script.send(key("m1"))
    script.told(invoice(open_amount=Decimal("0.00"), phase=Phase.FINAL, due=()))
    assert script.view.commands[key("m1")].echoed == {}
    script.answer(OutcomeKind.REJECTED, key("m1"))
    assert (script.command("m1"), script.conflicts) == ("rejected", ["erp_rejected"])


def test_no_more_is_credited_than_the_invoice_comes_to(script: Script) -> None:
    script.ask(IssueMemo(**script.about("m1", "100.01"), memo=Memo.CREDIT, date=NOW.date()))
    assert script.intent("m1") == ("refused", "over_application")
    script.ask(IssueMemo(**script.about("m2", "100.01"), memo=Memo.DEBIT, date=NOW.date()))
    assert script.intent("m2")[0] == "planned"


# Receipts


def test_a_deduction_comes_off_the_invoice_besides_the_money(script: Script) -> None:
    version = script.view.invoices["1"].version
    part_ = Allocation("1", Decimal("95.00"), version, write_off=Decimal("5.00"))
    script.ask(
        ApplyPayment(
            id="pay-1", system="erp", customer="7", currency="EUR", amount=Decimal("105.00"), date=NOW.date(),
            allocations=(part_,), on_account=Decimal("10.00"),
        )
    )  # fmt: skip
    write = script.view.commands[KEY].write
    assert isinstance(write, PostPayment)
    assert (write.allocations[0].amount, write.allocations[0].written_off) == (Decimal("100.00"), Decimal("5.00"))
    assert write.on_account == Decimal("10.00")
    assert script.view.invoices["1"].claimed() == Decimal("100.00")
    script.send()
    script.told(paid(KEY))
    assert script.states[1:] == ("done", "confirmed")


def test_what_stays_on_account_may_be_applied_elsewhere_later(script: Script) -> None:
    version = script.view.invoices["1"].version
    script.ask(
        ApplyPayment(
            id="pay-1", system="erp", customer="7", currency="EUR", amount=Decimal("120.00"), date=NOW.date(),
            allocations=(Allocation("1", Decimal("100.00"), version),), on_account=Decimal("20.00"),
        )
    )  # fmt: skip
    script.send()
    script.told(paid(KEY))
    other = invoice(key="2", number="INV2", applications=(Application("10", Decimal("20.00"), KEY),))
    script.told(other)
    assert script.conflicts == []
    script.told(msgspec.structs.replace(other, applications=(Application("10", Decimal("20.01"), KEY),)))
    assert script.conflicts == ["echo_mismatch"]


def test_a_receipt_on_account_is_applied_and_known_by_what_the_invoice_shows(script: Script) -> None:
    script.ask(ApplyReceipt(**script.about("a1", "40.00"), receipt="BANK-7"))
    assert script.view.invoices["1"].state == "matched"
    script.send(key("a1"))
    script.answer(OutcomeKind.ACCEPTED, key("a1"))
    script.told(part("39.00", key="BANK-7", left="61.00"))
    assert script.command("a1") == "accepted", "another amount of the same receipt is not ours"
    script.told(part("40.00", key="BANK-7", left="60.00"))
    assert (script.intent("a1")[0], script.view.invoices["1"].state) == ("done", "open")
    assert script.conflicts == []


def test_our_own_reversal_is_no_conflict_and_somebody_elses_is(script: Script) -> None:
    script.submit("100.00")
    script.send()
    script.told(paid(KEY))
    assert script.view.invoices["1"].state == "posted"
    script.ask(ReverseApplication(**script.about("u1"), item="9"))
    script.send(key("u1"))
    script.told(invoice())
    assert (script.intent("u1")[0], script.conflicts) == ("done", [])
    assert script.view.invoices["1"].state == "open"
    script.told(paid(KEY))
    script.told(invoice())
    assert script.conflicts == ["erp_reversed"]


def test_an_application_that_is_not_there_is_not_reversed(script: Script) -> None:
    script.told(part("40.00", key="BANK", left="60.00"))
    script.ask(ReverseApplication(**script.about("u1", "41.00"), item="9"))
    assert script.intent("u1") == ("held", "precondition_failed")


# Credit limits


def customer(limit: str | None, receivable: str = "100.00") -> Customer:
    known = None if limit is None else Decimal(limit)
    return Customer("7", True, (CreditAccount("1", "EUR", Decimal(receivable), known),))


def tell(script: Script, doc: Customer) -> Decision:
    script.token += 1
    guard = {"party": str(script.token)}
    return script.play(DocumentsTold("tx", NOW, customers=(Told(doc.key, doc, guard),)))


def limit(name: str, new: str | None, seen: str | None) -> AskLimit:
    amounts = [None if text is None else Decimal(text) for text in (new, seen)]
    return AskLimit(
        id=name, system="erp", customer="7", company="1", currency="EUR", limit=amounts[0], replaces=amounts[1]
    )


def test_a_credit_limit_is_done_when_the_customer_shows_it(script: Script) -> None:
    tell(script, customer("500.00"))
    script.ask(limit("l1", "800.00", "500.00"))
    write = script.view.commands[key("l1")].write
    assert isinstance(write, SetCreditLimit)
    assert (write.limit, write.replaces) == (Decimal("800.00"), Decimal("500.00"))
    script.send(key("l1"))
    script.answer(OutcomeKind.ACCEPTED, key("l1"))
    tell(script, customer("500.00", receivable="130.00"))
    assert script.command("l1") == "accepted"
    tell(script, customer("800.00", receivable="130.00"))
    assert (script.command("l1"), script.intent("l1")[0]) == ("confirmed", "done")
    assert script.view.customers["7"].changes == ()
    script.ask(limit("l2", None, "800.00"))
    script.send(key("l2"))
    tell(script, customer(None))
    assert script.intent("l2")[0] == "done"
    assert script.conflicts == []


def test_a_limit_that_somebody_changed_meanwhile_is_not_overwritten(script: Script) -> None:
    tell(script, customer("500.00"))
    script.ask(limit("l1", "800.00", "400.00"))
    assert script.intent("l1") == ("held", "credit_limit_race")
    script.ask(limit("l2", "800.00", "500.00"))
    tell(script, customer("600.00"))
    assert (script.intent("l2"), script.command("l2")) == (("held", "credit_limit_race"), "superseded")
    assert script.view.customers["7"].changes == ()


def test_an_intent_waits_for_a_customer_that_is_not_known_yet(script: Script) -> None:
    script.ask(limit("l1", "800.00", None))
    assert script.intent("l1")[0] == "waiting"
    tell(script, customer(None))
    assert script.intent("l1")[0] == "planned"


def test_a_limit_that_waited_too_long_for_another_one_is_held_for_people(script: Script) -> None:
    tell(script, customer("500.00"))
    script.ask(limit("l1", "800.00", "500.00"))
    script.ask(limit("l2", "900.00", "800.00"))
    script.play(TimerFired(Timer.STILL_UNKNOWN, "l2", NOW + dt.timedelta(minutes=15)))
    assert script.intent("l2") == ("held", "credit_limit_race")


def test_a_customer_gets_its_first_limit_in_a_company_that_has_not_told_of_it(script: Script) -> None:
    tell(script, Customer("7", True, ()))
    script.ask(limit("l1", None, None))
    assert (script.intent("l1")[0], script.command("l1")) == ("done", None)
    script.ask(limit("l2", "800.00", "500.00"))
    assert script.intent("l2") == ("held", "credit_limit_race")
    script.ask(limit("l3", "800.00", None))
    script.send(key("l3"))
    tell(script, customer("800.00"))
    assert (script.intent("l3")[0], script.command("l3")) == ("done", "confirmed")


def test_a_limit_waits_for_the_one_before_it(script: Script) -> None:
    """Until it has arrived the ERP says neither what its author saw nor what it is to replace."""
    tell(script, customer("500.00"))
    script.ask(limit("l1", "800.00", "500.00"))
    script.ask(limit("l2", "500.00", "800.00"))
    script.ask(limit("l3", "1.00", "500.00"))
    assert [script.intent(name)[0] for name in ("l1", "l2", "l3")] == ["planned", "waiting", "waiting"]
    script.send(key("l1"))
    tell(script, customer("500.00", receivable="130.00"))
    assert [script.intent(name)[0] for name in ("l1", "l2", "l3")] == ["planned", "waiting", "waiting"]
    tell(script, customer("800.00"))
    assert [script.intent(name)[0] for name in ("l1", "l2", "l3")] == ["done", "planned", "waiting"]
    script.send(key("l2"))
    tell(script, customer("500.00"))
    assert [script.intent(name)[0] for name in ("l2", "l3")] == ["done", "planned"]


def test_a_limit_that_stands_already_needs_no_command(script: Script) -> None:
    tell(script, customer("800.00"))
    script.ask(limit("l1", "800.00", "500.00"))
    assert (script.intent("l1")[0], script.command("l1")) == ("done", None)


# Withdrawals


def withdraw(script: Script, name: str, other: str, customer: str = "7") -> Decision:
    return script.ask(Withdraw(id=name, system="erp", customer=customer, intent=other))


def test_what_has_not_been_sent_can_be_taken_back(script: Script) -> None:
    script.submit("60.00")
    decision = withdraw(script, "w1", "pay-1")
    assert script.states == ("open", "withdrawn", "withdrawn")
    assert script.intent("w1")[0] == "done"
    assert refusals(decision) == []
    assert script.send().commands == {}


@pytest.mark.parametrize("answer", [None, OutcomeKind.THROTTLED, OutcomeKind.UNKNOWN, OutcomeKind.STALE])
def test_what_may_have_reached_the_erp_cannot(script: Script, answer: OutcomeKind | None) -> None:
    script.submit("60.00")
    script.send()
    if answer is not None:
        script.answer(answer)
    withdraw(script, "w1", "pay-1")
    assert script.intent("w1")[0] == "refused"
    assert script.states[1] == "planned"


@pytest.mark.parametrize(("other", "whose"), [("nothing", "7"), ("pay-1", "8")])
def test_only_a_known_intent_of_the_same_customer_is_taken_back(script: Script, other: str, whose: str) -> None:
    script.submit("60.00")
    withdraw(script, "w1", other, whose)
    assert script.intent("w1")[0] == "refused"
    assert script.states == ("matched", "planned", "pending")


def test_a_withdrawn_payment_that_shows_up_all_the_same_is_told(script: Script) -> None:
    script.submit("100.00")
    withdraw(script, "w1", "pay-1")
    decision = script.told(paid(KEY))
    assert script.conflicts == ["late_effect"]
    assert any(isinstance(effect, Moved) and effect.trigger == "confirm" for effect in decision.effects)


# Orders and entries


def papers(script: Script, *docs: SalesOrder | LedgerEntry) -> Decision:
    return script.play(DocumentsTold("tx", NOW, papers=tuple(Told(doc.key, doc, {}) for doc in docs)))


@pytest.mark.parametrize("named", ["1", "SO-1"])
def test_an_order_is_released_when_the_erp_lets_it_go_on(script: Script, named: str) -> None:
    script.told(invoice(customer="8"))  # an invoice may have the same number in its own table
    script.ask(
        ReleaseOrder(
            id="o1", system="erp", customer="7", company="1", order=named, currency="EUR", amount=Decimal("900.00")
        )
    )
    assert isinstance(script.view.commands[key("o1")].write, OrderWrite)
    script.send(key("o1"))
    script.answer(OutcomeKind.ACCEPTED, key("o1"))
    papers(script, SalesOrder("1", "SO-1", held=True), SalesOrder("2", "SO-2", held=False))
    assert script.command("o1") == "accepted"
    papers(script, SalesOrder("1", "SO-1", held=False))
    assert (script.command("o1"), script.intent("o1")[0], script.conflicts) == ("confirmed", "done", [])


def test_another_customer_s_order_of_the_same_name_releases_nothing(script: Script) -> None:
    script.ask(release("o1"))
    script.send(key("o1"))
    script.answer(OutcomeKind.ACCEPTED, key("o1"))
    papers(script, SalesOrder("5", "1", held=False, customer="8", company="1"))
    papers(script, SalesOrder("1", "5", held=False, customer="7", company="2"))
    assert script.command("o1") == "accepted"
    papers(script, SalesOrder("5", "1", held=False, customer="7", company="1"))
    assert (script.command("o1"), script.intent("o1")[0], script.conflicts) == ("confirmed", "done", [])


def release(name: str) -> ReleaseOrder:
    return ReleaseOrder(
        id=name, system="erp", customer="7", company="1", order="1", currency="EUR", amount=Decimal("900.00")
    )


def test_an_order_is_released_for_what_its_author_saw(script: Script) -> None:
    script.ask(release("o1"))
    write = script.view.commands[key("o1")].write
    assert isinstance(write, OrderWrite)
    assert write.at_most == Decimal("900.00")


def test_an_order_that_goes_on_although_its_release_was_refused_answers_the_question(script: Script) -> None:
    script.ask(release("o1"))
    script.send(key("o1"))
    script.answer(OutcomeKind.REJECTED, key("o1"))
    assert (script.intent("o1")[0], script.conflicts) == ("held", ["erp_rejected"])
    papers(script, SalesOrder("1", "SO-1", held=True))
    assert script.intent("o1")[0] == "held"
    papers(script, SalesOrder("1", "SO-1", held=False))
    assert (script.command("o1"), script.intent("o1")[0]) == ("confirmed", "done")
    (conflict,) = script.view.conflicts.values()
    assert (conflict.kind, conflict.state) == ("erp_rejected", "dismissed")


def test_an_order_that_goes_on_after_its_release_was_given_up_is_nobody_s_business(script: Script) -> None:
    script.policy = Policy(choices={ConflictKind.ERP_REJECTED: Choice.ACCEPT_ERP})
    script.ask(release("o1"))
    script.send(key("o1"))
    script.answer(OutcomeKind.REJECTED, key("o1"))
    assert script.intent("o1")[0] == "refused"
    papers(script, SalesOrder("1", "SO-1", held=False))
    assert (script.command("o1"), script.intent("o1")[0], script.conflicts) == (
        "rejected",
        "refused",
        ["erp_rejected"],
    )


def entry(name: str, second: str = "70.00") -> PostEntry:
    sides = (Side("4000", debit=Decimal("70.00")), Side("1200", credit=Decimal(second), customer="7"))
    return PostEntry(
        id=name, system="erp", customer="7", company="1", currency="EUR", date=NOW.date(), lines=sides
    )  # fmt: skip


def test_an_entry_is_done_when_it_stands_posted_with_its_key_and_twice_is_a_conflict(script: Script) -> None:
    script.ask(entry("e1"))
    write = script.view.commands[key("e1")].write
    assert isinstance(write, EntryWrite)
    assert (write.amount, write.lines[1].credit) == (Decimal("70.00"), Decimal("70.00"))
    script.send(key("e1"))
    papers(script, LedgerEntry("5", None, key("e1"), final=False), LedgerEntry("6", "M6", "other", final=True))
    assert script.command("e1") == "sent"
    papers(script, LedgerEntry("5", "M5", key("e1"), final=True))
    assert (script.command("e1"), script.intent("e1")[0]) == ("confirmed", "done")
    papers(script, LedgerEntry("7", "M7", key("e1"), final=True))
    assert script.conflicts == ["echo_mismatch"]


def test_a_limit_is_not_taken_for_what_an_invoice_of_the_same_number_says(script: Script) -> None:
    script.told(invoice(key="7", number="INV7", customer="8"))
    tell(script, customer("500.00"))
    script.ask(limit("l1", "800.00", "500.00"))
    script.send(key("l1"))
    tell(script, customer("800.00"))
    assert (script.command("l1"), script.conflicts) == ("confirmed", [])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"lines": (Side("1", debit=Decimal(1)), Side("2", credit=Decimal(2)))},
            "its credits to 2",
        ),
        ({"lines": (Side("1", debit=Decimal(1), credit=Decimal(1)), Side("2"))}, "either a debit or a credit"),
        ({"lines": (Side("1", debit=Decimal(-1)), Side("2", credit=Decimal(-1)))}, "greater than zero"),
    ],
)
def test_an_entry_that_does_not_add_up_is_not_taken(changes: dict[str, Any], words: str) -> None:
    wrong = msgspec.structs.replace(entry("e1"), **changes)
    with pytest.raises(IntentError, match=words):
        parse_intent(msgspec.json.encode(wrong))
    assert parse_intent(msgspec.json.encode(entry("e1"))) == entry("e1")


def test_what_is_older_than_the_start_date_is_left_to_people(script: Script) -> None:
    script.policy = Policy(start_date=dt.date(2026, 11, 2))
    script.submit("60.00")
    assert script.intent("pay-1") == ("held", "precondition_failed")
    (conflict,) = script.view.conflicts.values()
    assert conflict.rule == "plan.before_start"
    script.told(invoice(key="2", number="INV2", invoice_date=dt.date(2026, 11, 2)))
    newer = {**script.about("a1"), "invoice": "2", "basis": script.view.invoices["2"].version}
    script.ask(ApplyReceipt(**newer, receipt="BANK"))
    assert script.intent("a1")[0] == "planned"


# Our own echoes make nobody's basis stale


def test_our_own_memo_makes_nobodys_basis_stale(script: Script) -> None:
    before = script.view.invoices["1"].version
    script.ask(IssueMemo(**script.about("m1"), memo=Memo.CREDIT, date=NOW.date()))
    script.send(key("m1"))
    line = Application("70", Decimal("100.00"), "CN1")
    cleared = invoice(open_amount=Decimal("0.00"), phase=Phase.FINAL, due=(), applications=(line,))
    script.told(memo("m1", "100.00"), cleared)
    assert before in script.view.invoices["1"].ancestors


def test_what_somebody_else_clears_while_our_memo_is_under_way_makes_a_basis_stale(script: Script) -> None:
    script.ask(IssueMemo(**script.about("m1"), memo=Memo.CREDIT, date=NOW.date()))
    script.send(key("m1"))
    line = Application("70", Decimal("100.00"), "by hand")
    script.told(invoice(open_amount=Decimal("0.00"), phase=Phase.FINAL, due=(), applications=(line,)))
    assert script.view.invoices["1"].ancestors == ()


def test_our_own_reversal_makes_nobodys_basis_stale(script: Script) -> None:
    line = Application("70", Decimal("40.00"), "by hand")
    script.told(invoice(open_amount=Decimal("60.00"), due=((NOW.date(), Decimal("60.00")),), applications=(line,)))
    before = script.view.invoices["1"].version
    script.ask(ReverseApplication(**script.about("r1", "40.00"), item="70"))
    script.send(key("r1"))
    script.told(invoice())
    assert script.intent("r1")[0] == "done"
    assert before in script.view.invoices["1"].ancestors


def test_our_own_block_of_a_paid_invoice_makes_nobodys_basis_stale(script: Script) -> None:
    script.ask(RaiseDispute(**script.about("d1"), reason_code="wrong price", hold=True))
    script.send(key("d1"))
    line = Application("70", Decimal("100.00"), "by hand")
    paid = {"open_amount": Decimal("0.00"), "phase": Phase.FINAL, "due": (), "applications": (line,)}
    script.told(invoice(**paid))
    before = script.view.invoices["1"].version
    script.told(invoice(**paid, blocked=True))
    assert script.intent("d1")[0] == "done"
    assert before in script.view.invoices["1"].ancestors


def test_an_invoice_that_was_deleted_is_known_by_its_number_too(script: Script) -> None:
    number = script.view.invoices["1"].doc.number
    assert number is not None
    script.view.numbers[number] = ("1",)
    about = {**script.about("d1"), "invoice": number}
    script.play(DocumentsTold("gone", NOW, (Told("1", None, {}),)))
    script.ask(RaiseDispute(**about, reason_code="wrong price"))
    assert script.conflicts == ["voided_target"], "not one of which the ERP has told nothing"


def test_a_dispute_ends_on_a_cleared_invoice_while_money_is_still_on_its_way(script: Script) -> None:
    """Somebody pays by hand; ending the dispute is no step back to `matched`."""
    script.ask(RaiseDispute(**script.about("dis-1"), reason_code="short"))
    script.submit("60.00")
    script.send()
    script.told(paid("Bank 1"))
    assert script.view.invoices["1"].matches
    decision = script.ask(RejectDispute(**script.about("rej-1"), dispute="dis-1"))
    assert refusals(decision) == []
    assert script.view.invoices["1"].state == "posted"
    assert [one.state for one in script.view.invoices["1"].disputes] == ["closed"]
