"""An invoice's number may be spelled as another one's key: no decision may take one for the other."""

import datetime as dt
from decimal import Decimal

import msgspec
import pytest

from engine.model.commands import PostPayment
from engine.model.documents import Invoice, InvoiceType, Phase
from engine.model.events import DocumentCompared, DocumentsTold, FieldDiffers, IntentSubmitted, Told
from engine.model.intents import Allocation, ApplyPayment
from engine.model.records import ConflictKind, IntentRecord
from engine.rules.decide import decide
from engine.rules.desk import View
from engine.rules.policy import Naming, Policy
from statemachines import InvoiceState

NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
EITHER = Policy()


def invoice(key: str, number: str, total: str = "121.00", left: str | None = None) -> Invoice:
    return Invoice(
        key=key, company="1", type=InvoiceType.INVOICE, number=number, customer="7", currency="EUR",
        total_amount=Decimal(total), open_amount=Decimal(left or total), phase=Phase.OPEN, erp_state="posted",
        invoice_date=None,
    )  # fmt: skip


def told(*documents: Invoice, tx: str = "tx") -> DocumentsTold:
    return DocumentsTold(tx, NOW, tuple(Told(doc.key, doc, {}) for doc in documents), commit=1)


class House:
    """Invoice 7 has the number 12, and invoice 12 the number 17. The ERP tells, the AR side pays."""

    def __init__(self, policy: Policy = EITHER) -> None:
        self.policy = policy
        self.view = View(numbers={"12": ("7",), "17": ("12",)})
        self.take(told(invoice("7", "12"), invoice("12", "17", "242.00")))

    def take(self, event: DocumentsTold | IntentSubmitted) -> None:
        self.view.absorb(decide(self.view, event, self.policy, "erp"))

    def version(self, key: str) -> str:
        return self.view.invoices[key].version

    def pay(self, *parts: tuple[str, str], amount: str = "50.00") -> IntentRecord:
        """Pay invoices (name, basis); gives what became of it."""
        asked = tuple(Allocation(name, Decimal(amount), basis) for name, basis in parts)
        total = len(parts) * Decimal(amount)
        intent = ApplyPayment(id="pay", system="erp", customer="7", currency="EUR", amount=total, date=NOW.date(),
                              allocations=asked)  # fmt: skip
        self.take(IntentSubmitted(intent, NOW))
        return self.view.intents["pay"]

    @property
    def paid(self) -> list[str]:
        (command,) = self.view.commands.values()
        assert isinstance(command.write, PostPayment)
        return [allocation.invoice for allocation in command.write.allocations]


def test_a_new_invoice_is_not_taken_for_the_one_whose_number_is_its_key() -> None:
    view = View()
    view.absorb(decide(view, told(invoice("7", "12")), EITHER, "erp"))
    # An intent has asked for it by its number.
    view.numbers["12"] = ("7",)
    decision = decide(view, told(invoice("12", "17")), EITHER, "erp")
    assert list(decision.invoices) == ["12"]
    new = decision.invoices["12"]
    assert (new.doc.number, new.state, new.moves) == ("17", InvoiceState.OPEN, 1)
    assert set(decision.seen) <= {"invoice/12"}


def test_what_is_compared_is_not_taken_for_another_one() -> None:
    view = View(numbers={"12": ("7",)})
    view.absorb(decide(view, told(invoice("7", "12")), EITHER, "erp"))
    differs = (FieldDiffers("open_amount", "1.00", None, None),)
    decision = decide(view, DocumentCompared("invoice/12", differs, NOW, "7", 1), EITHER, "erp")
    (conflict,) = decision.conflicts.values()
    assert conflict.document == "invoice/12"


@pytest.mark.parametrize("meant", ["7", "12"])
def test_the_basis_says_which_is_meant(meant: str) -> None:
    house = House()
    assert house.pay(("12", house.version(meant))).invoices == (meant,)
    assert house.paid == [meant]


@pytest.mark.parametrize("meant", ["7", "12"])
def test_a_basis_that_one_of_them_had_says_so_too(meant: str) -> None:
    house = House()
    basis = house.version(meant)
    house.take(told(invoice("7", "12", left="100.00"), invoice("12", "17", "242.00", "200.00"), tx="next"))
    intent = house.pay(("12", basis))
    assert house.paid == [meant]
    assert [c.kind for c in house.view.conflicts.values()] == [ConflictKind.STALE_BASIS], "and it was rebased"
    assert intent.invoices == (meant,)


def test_a_key_may_be_the_number_of_an_invoice_that_is_still_to_be_told() -> None:
    house = House()
    house.view = View()
    house.take(told(invoice("12", "9", "242.00")))
    assert house.pay(("12", "NEVERSEEN")).state == "held"
    house.take(told(invoice("31", "12"), tx="next"))
    assert house.view.commands == {}
    (conflict,) = house.view.conflicts.values()
    assert (conflict.rule, conflict.open) == ("plan.ambiguous", True)
    assert "number 12 that the ERP has not told of yet" in conflict.sentence


def test_a_key_that_its_own_basis_names_is_no_doubt() -> None:
    house = House()
    house.view = View()
    house.take(told(invoice("12", "9", "242.00")))
    house.pay(("12", house.version("12")))
    assert house.paid == ["12"]


def test_money_goes_nowhere_when_it_cannot_be_told() -> None:
    house = House()
    intent = house.pay(("12", "NEVERSEEN"))
    assert (intent.state, house.view.commands) == ("held", {})
    (conflict,) = house.view.conflicts.values()
    assert (conflict.kind, conflict.rule) == (ConflictKind.PRECONDITION_FAILED, "plan.ambiguous")
    assert "key 7 and number 12" in conflict.sentence
    assert "key 12 and number 17" in conflict.sentence
    assert set(conflict.documents) == {"invoice/7", "invoice/12"}


def test_money_goes_to_no_number_that_may_be_a_key_yet_to_be_told() -> None:
    house = House()
    house.take(told(invoice("20", "30"), tx="third"))
    house.view.numbers["30"] = ("20",)
    assert house.pay(("30", "NEVERSEEN")).state == "held"
    (conflict,) = house.view.conflicts.values()
    assert "key 20 and number 30 or one with key 30 that the ERP has not told of yet" in conflict.sentence


def test_a_number_that_is_spelled_as_no_key_is_decided_again() -> None:
    house = House()
    house.take(told(invoice("20", "INV30"), tx="third"))
    house.view.numbers["INV30"] = ("20",)
    house.pay(("INV30", "NEVERSEEN"))
    assert house.paid == ["20"]


def test_two_that_look_alike_to_the_basis_are_not_told_apart() -> None:
    house = House()
    house.take(told(invoice("7", "12", "242.00"), tx="alike"))
    assert house.version("7") == house.version("12")
    assert house.pay(("12", house.version("12"))).state == "held"


@pytest.mark.parametrize(("by", "meant"), [(Naming.KEY, "12"), (Naming.NUMBER, "7")])
def test_a_system_may_say_what_its_intents_call_an_invoice(by: Naming, meant: str) -> None:
    house = House(msgspec.structs.replace(EITHER, invoices_named_by=by))
    house.pay(("12", "NEVERSEEN"))
    assert house.paid == [meant], "a stale basis is decided again, on the one that is meant"


def test_what_was_found_to_be_meant_stays_so() -> None:
    house = House()
    house.pay(("12", house.version("7")), ("17", house.version("12")))
    assert house.paid == ["7", "12"]
    # Both change: the command is decided again, each part on its own invoice.
    house.take(told(invoice("7", "12", left="100.00"), invoice("12", "17", "242.00", "60.00"), tx="next"))
    command = house.view.commands[max(house.view.commands)]
    assert command.revision == 2
    assert isinstance(command.write, PostPayment)
    assert [(a.invoice, a.version) for a in command.write.allocations] == [
        ("7", house.version("7")), ("12", house.version("12")),
    ]  # fmt: skip
