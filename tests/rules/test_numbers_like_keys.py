"""An invoice's number may be spelled as another one's key: what the ERP tells of is found by its key alone."""

import datetime as dt
from decimal import Decimal

from engine.model.documents import Invoice, InvoiceType, Phase
from engine.model.events import DocumentsTold, Told
from engine.rules.decide import decide
from engine.rules.desk import View
from engine.rules.policy import Policy
from statemachines import InvoiceState

NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)


def invoice(key: str, number: str) -> Invoice:
    return Invoice(
        key=key, company="1", type=InvoiceType.INVOICE, number=number, customer="7", currency="EUR",
        total_amount=Decimal("121.00"), open_amount=Decimal("121.00"), phase=Phase.OPEN, erp_state="posted",
        invoice_date=None,
    )  # fmt: skip


def told(*documents: Invoice) -> DocumentsTold:
    return DocumentsTold("tx", NOW, tuple(Told(doc.key, doc, {}) for doc in documents), commit=1)


def test_a_new_invoice_is_not_taken_for_the_one_whose_number_is_its_key() -> None:
    view = View()
    view.absorb(decide(view, told(invoice("7", "12")), Policy(), "erp"))
    # An intent has asked for it by its number.
    view.numbers["12"] = ("7",)
    decision = decide(view, told(invoice("12", "17")), Policy(), "erp")
    assert list(decision.invoices) == ["12"]
    new = decision.invoices["12"]
    assert (new.doc.number, new.state, new.moves) == ("17", InvoiceState.OPEN, 1)
    assert set(decision.seen) <= {"invoice/12"}
