"""Holds one document against the ERP's word, field by field. Pure; `engine.flow.reconciling` calls it."""

from collections.abc import Iterator
from decimal import Decimal

import msgspec

from engine.model.documents import Customer, DocumentKind, Invoice
from engine.ports.target import Reading

_RECEIVABLE, _LIMIT = "receivable/", "credit_limit/"


class Difference(msgspec.Struct, frozen=True):
    """One field of one document that differs.

    `document` is its name (`invoice/7`), `field` is `document` where one side does not have it at all; `erp` and
    `arsync` are both words as text, None where that side has none. `amount` is the money between them.
    """

    document: str
    number: str | None
    field: str
    erp: str | None
    arsync: str | None
    customer: str | None = None
    amount: Decimal | None = None
    currency: str | None = None


def differences(
    kind: DocumentKind, key: str, reading: Reading | None, document: Invoice | Customer | None
) -> Iterator[Difference]:
    """What differs between the ERP's reading and the mirror's document; either may not be there."""
    name = f"{kind}/{key}"
    if reading is None and document is None:
        return
    if reading is None or document is None:
        yield _missing(name, reading, document)
        return
    ours = _facts(document)
    for field, value in reading.facts.items():
        own = ours.get(field, _absent(field))
        if _text(value) != _text(own):
            yield Difference(
                document=name,
                number=_number(reading, document),
                field=field,
                erp=_text(value),
                arsync=_text(own),
                customer=document.customer if isinstance(document, Invoice) else key,
                amount=_between(value, own),
                currency=_currency(document, field),
            )


def _missing(name: str, reading: Reading | None, document: Invoice | Customer | None) -> Difference:
    facts = reading.facts if reading is not None else _facts(document) if document is not None else {}
    amount = facts.get("open_amount")
    return Difference(
        document=name,
        number=_number(reading, document),
        field="document",
        erp="there" if reading is not None else None,
        arsync="there" if document is not None else None,
        customer=_text(facts.get("customer")),
        amount=abs(amount) if isinstance(amount, Decimal) else None,
        currency=_text(facts.get("currency")),
    )


def _number(reading: Reading | None, document: Invoice | Customer | None) -> str | None:
    if reading is not None and reading.facts.get("number"):
        return str(reading.facts["number"])
    return document.number if isinstance(document, Invoice) else None


def _between(erp: object, own: object) -> Decimal | None:
    """The money between both words; None where the field is none."""
    if not isinstance(erp, Decimal) and not isinstance(own, Decimal):
        return None
    return abs((erp if isinstance(erp, Decimal) else Decimal(0)) - (own if isinstance(own, Decimal) else Decimal(0)))


def _currency(document: Invoice | Customer, field: str) -> str | None:
    if isinstance(document, Invoice):
        return document.currency
    company = field.partition("/")[2]
    return next((account.currency for account in document.accounts if account.company == company), None)


def _facts(document: Invoice | Customer) -> dict[str, object]:
    if isinstance(document, Invoice):
        return msgspec.structs.asdict(document)
    facts: dict[str, object] = {"active": document.active}
    for account in document.accounts:
        facts[f"{_RECEIVABLE}{account.company}"] = account.receivable
        facts[f"{_LIMIT}{account.company}"] = account.credit_limit
    return facts


def _absent(field: str) -> object:
    """What a customer without an account at a company has there."""
    return Decimal(0) if field.startswith(_RECEIVABLE) else None


def _text(value: object) -> str | None:
    """One spelling for both sides."""
    if isinstance(value, Decimal):
        return f"{value.normalize():f}" if value else "0"
    return None if value is None else str(value)
