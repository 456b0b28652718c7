"""What the AR side asks for. Each intent names the content versions that its author had seen."""

import datetime as dt
from decimal import Decimal
from typing import Annotated, Any

import msgspec

Key = Annotated[str, msgspec.Meta(min_length=1, max_length=200, description="an identifier, at most 200 characters")]
Amount = Annotated[
    Decimal, msgspec.Meta(description="a decimal as text, greater than zero, in the intent's currency")
]


class Allocation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much of a payment goes to which invoice.

    `invoice` is the document's key (or its number, where only one invoice has it); `basis` its content version as
    the author saw it.
    """

    invoice: Key
    amount: Amount
    basis: Key


class ApplyPayment(msgspec.Struct, frozen=True, tag="apply_payment", tag_field="kind", forbid_unknown_fields=True):
    """A receipt settles invoices: post it and apply it as allocated.

    `id` is the AR side's own and permanent: the same id is the same intent, however often it is submitted.
    `amount` is the receipt and must equal the sum of its allocations; `date` is its value date.
    """

    id: Key
    system: Key
    customer: Key
    currency: Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$", description="ISO 4217 code")]
    amount: Amount
    date: dt.date
    allocations: Annotated[tuple[Allocation, ...], msgspec.Meta(min_length=1, max_length=500)]
    reference: Annotated[str, msgspec.Meta(max_length=200)] | None = None


Intent = ApplyPayment


class IntentError(ValueError):
    """An intent that cannot be taken: what is wrong with which field."""


def parse_intent(raw: bytes | str) -> Intent:
    """One intent from JSON.

    Raises:
        IntentError: not JSON, a field missing, unknown or out of bounds, or amounts that do not add up.
    """
    try:
        intent = msgspec.json.decode(raw, type=Intent)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise IntentError(f"{error}; `arsync intents schema` prints what an intent must look like") from None
    amounts = [intent.amount, *(a.amount for a in intent.allocations)]
    if not all(amount.is_finite() and amount > 0 for amount in amounts):
        raise IntentError(f"intent {intent.id}: every amount must be a number greater than zero")
    allocated = sum((a.amount for a in intent.allocations), Decimal(0))
    if allocated != intent.amount:
        raise IntentError(f"intent {intent.id}: its amount is {intent.amount}, its allocations add up to {allocated}")
    invoices = [a.invoice for a in intent.allocations]
    if len(set(invoices)) != len(invoices):
        raise IntentError(f"intent {intent.id}: it names the same invoice twice; add the two amounts together")
    return intent


def intent_schema() -> dict[str, Any]:
    """The JSON Schema of an intent."""
    return msgspec.json.schema(Intent)
