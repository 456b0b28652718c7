"""What the AR side asks for. Each intent names the content versions that its author had seen."""

import datetime as dt
from decimal import Decimal
from typing import Annotated, Any

import msgspec

from engine.model.commands import Memo

_STORABLE = "^[^\\x00]*$"
Key = Annotated[
    str,
    msgspec.Meta(
        min_length=1, max_length=200, pattern=_STORABLE, description="an identifier, at most 200 characters"
    ),
]
Text = Annotated[str, msgspec.Meta(max_length=200, pattern=_STORABLE)]
Currency = Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$", description="ISO 4217 code")]
Amount = Annotated[
    Decimal, msgspec.Meta(description="a decimal as text, greater than zero, in the intent's currency")
]

Limit = Annotated[Decimal, msgspec.Meta(description="a decimal as text, zero or more")]


class Allocation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much of a payment goes to which invoice.

    `invoice` is the document's key or number, `basis` its content version as the author saw it; where the name is
    one's key and another's number, the basis says which is meant. `write_off` is what the customer deducted and is
    given up: it comes off the invoice besides `amount`.
    """

    invoice: Key
    amount: Amount
    basis: Key
    write_off: Amount | None = None

    @property
    def taken_off(self) -> Decimal:
        """What comes off the invoice's balance."""
        return self.amount + (self.write_off or 0)


class _Intent(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", forbid_unknown_fields=True):
    """What every intent says. `id` is the AR side's own and permanent: the same id is the same intent, however often
    it is submitted.
    """

    id: Key
    system: Key
    customer: Key

    # What it asks for, in the same words for every kind. An intent that has a field of the same name says it itself.

    @property
    def parts(self) -> tuple[Allocation, ...]:
        """The invoices that it is about."""
        return ()

    @property
    def money(self) -> tuple[Decimal, str] | None:
        """(amount, currency) that it is about, if any."""
        return None

    def amounts(self) -> list[Decimal]:
        """Every amount that must be greater than zero."""
        return []


class ApplyPayment(_Intent, frozen=True, kw_only=True, tag="apply_payment"):
    """A receipt settles invoices: post it and apply it as allocated.

    `amount` is the receipt; it must equal the sum of its allocations and of what stays `on_account`, as the
    customer's open credit. `date` is its value date.
    """

    currency: Currency
    amount: Amount
    date: dt.date
    allocations: Annotated[tuple[Allocation, ...], msgspec.Meta(min_length=1, max_length=500)]
    on_account: Amount | None = None
    reference: Text | None = None

    @property
    def parts(self) -> tuple[Allocation, ...]:
        return self.allocations

    @property
    def money(self) -> tuple[Decimal, str] | None:
        return self.amount, self.currency

    def amounts(self) -> list[Decimal]:
        further = [self.on_account, *(a.write_off for a in self.allocations)]
        return [self.amount, *(a.amount for a in self.allocations), *(one for one in further if one is not None)]


class _OfInvoice(_Intent, frozen=True, kw_only=True):
    """An intent about one amount of one invoice; `basis` is the invoice's content version as the author saw it."""

    invoice: Key
    basis: Key
    currency: Currency
    amount: Amount

    @property
    def parts(self) -> tuple[Allocation, ...]:
        return (Allocation(self.invoice, self.amount, self.basis),)

    @property
    def money(self) -> tuple[Decimal, str] | None:
        return self.amount, self.currency

    def amounts(self) -> list[Decimal]:
        return [self.amount]


class RaiseDispute(_OfInvoice, frozen=True, kw_only=True, tag="raise_dispute"):
    """The customer contests `amount` of an invoice. The intent's id is the dispute's.

    `hold`: the ERP shall hold the invoice's open items back from payment and dunning until the dispute ends.
    """

    reason_code: Text
    hold: bool = False


class RejectDispute(_OfInvoice, frozen=True, kw_only=True, tag="reject_dispute"):
    """A dispute was judged wrong, or its approval is taken back: the customer owes what the invoice says."""

    dispute: Key
    reason_code: Text | None = None


class IssueMemo(_OfInvoice, frozen=True, kw_only=True, tag="issue_memo"):
    """Credit or debit the customer about an invoice, by a document of its own. `amount` is its total with tax.

    `dispute`: the dispute that this approves; it is over when the ERP shows the memo. `date` is the memo's.
    """

    memo: Memo
    date: dt.date
    dispute: Key | None = None
    reason_code: Text | None = None


class ApplyReceipt(_OfInvoice, frozen=True, kw_only=True, tag="apply_receipt"):
    """Apply a receipt that the ERP holds on account. `receipt` is the number or key that the receipt carries in the
    ERP, or its open item; `amount` is the whole of that item.
    """

    receipt: Key


class ReverseApplication(_OfInvoice, frozen=True, kw_only=True, tag="reverse_application"):
    """Take money off an invoice that was applied to it; it stays with the customer, on account.

    `item` and `amount` are those of one of the invoice's applications.
    """

    item: Key
    reason_code: Text | None = None


class SetCreditLimit(_Intent, frozen=True, kw_only=True, tag="set_credit_limit"):
    """What a customer may owe a company, in the company's currency; null for any amount.

    `replaces` is the limit that the author saw: what the customer owes changes with each invoice, and may.
    """

    company: Key
    currency: Currency
    limit: Limit | None
    replaces: Limit | None


class ReleaseOrder(_Intent, frozen=True, kw_only=True, tag="release_order"):
    """Let an order go on that the ERP holds back because of the customer's credit.

    `order` is the key or number of one of the customer's orders in the ERP (refused where it is one's key and
    another's number); `amount` is what it comes to, as the author saw it.
    """

    company: Key
    order: Key
    currency: Currency
    amount: Amount

    @property
    def money(self) -> tuple[Decimal, str] | None:
        return self.amount, self.currency

    def amounts(self) -> list[Decimal]:
        return [self.amount]


class Side(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of an entry: the account's number in the ERP, and a debit or a credit. `customer` where the account
    is kept by customer."""

    account: Key
    debit: Amount | None = None
    credit: Amount | None = None
    customer: Key | None = None


class PostEntry(_Intent, frozen=True, kw_only=True, tag="post_entry"):
    """Post an entry in the general ledger of a company, in its currency. Its debits equal its credits.

    `customer` is whom it is about; entries about one customer are posted in the order in which they were asked for.
    """

    company: Key
    currency: Currency
    date: dt.date
    lines: Annotated[tuple[Side, ...], msgspec.Meta(min_length=2, max_length=500)]
    reference: Text | None = None

    @property
    def money(self) -> tuple[Decimal, str] | None:
        return sum((line.debit or Decimal(0) for line in self.lines), Decimal(0)), self.currency

    def amounts(self) -> list[Decimal]:
        return [amount for line in self.lines for amount in (line.debit, line.credit) if amount is not None]


class Withdraw(_Intent, frozen=True, kw_only=True, tag="withdraw"):
    """Take another intent back. It succeeds only while nothing of that one has been sent to the ERP."""

    intent: Key


Intent = (
    ApplyPayment
    | RaiseDispute
    | RejectDispute
    | IssueMemo
    | ApplyReceipt
    | ReverseApplication
    | SetCreditLimit
    | ReleaseOrder
    | PostEntry
    | Withdraw
)


_MOST_DIGITS = 18
"""Digits before and behind an amount's point, at the most."""


class IntentError(ValueError):
    """An intent that cannot be taken: what is wrong with which field."""


class UnsoundIntentError(IntentError):
    """An intent that can be read and makes no sense: its amounts."""


def parse_intent(raw: bytes | str) -> Intent:
    """One intent from JSON.

    Raises:
        IntentError: not JSON, a field missing, unknown or out of bounds.
        UnsoundIntentError: amounts that are none, or do not add up.
    """
    try:
        intent: Intent = msgspec.json.decode(raw, type=Intent)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise IntentError(f"{error}; `arsync intents schema` prints what an intent must look like") from None
    if not all(_is_amount(amount) and amount > 0 for amount in intent.amounts()):
        raise UnsoundIntentError(
            f"intent {intent.id}: every amount must be a number greater than zero, of a usual size"
        )
    if isinstance(intent, ApplyPayment):
        _check_sum(intent)
    if isinstance(intent, PostEntry):
        _check_sides(intent)
    if isinstance(intent, SetCreditLimit):
        limits = [limit for limit in (intent.limit, intent.replaces) if limit is not None]
        if not all(_is_amount(limit) and limit >= 0 for limit in limits):
            raise UnsoundIntentError(f"intent {intent.id}: a credit limit must be a number, zero or more")
    return intent


def _is_amount(number: Decimal) -> bool:
    exponent = number.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -_MOST_DIGITS and number.adjusted() < _MOST_DIGITS


def _check_sum(intent: ApplyPayment) -> None:
    parts = [a.amount for a in intent.allocations]
    whole = sum(parts, intent.on_account or Decimal(0))
    if whole != intent.amount:
        what = "its allocations and what stays on account" if intent.on_account else "its allocations"
        raise UnsoundIntentError(f"intent {intent.id}: its amount is {intent.amount}, {what} add up to {whole}")
    invoices = [a.invoice for a in intent.allocations]
    if len(set(invoices)) != len(invoices):
        raise UnsoundIntentError(f"intent {intent.id}: it names the same invoice twice; add the two amounts together")


def _check_sides(intent: PostEntry) -> None:
    if any((line.debit is None) == (line.credit is None) for line in intent.lines):
        raise UnsoundIntentError(f"intent {intent.id}: each line must have either a debit or a credit")
    debits = sum((line.debit or Decimal(0) for line in intent.lines), Decimal(0))
    credits_ = sum((line.credit or Decimal(0) for line in intent.lines), Decimal(0))
    if debits != credits_:
        raise UnsoundIntentError(f"intent {intent.id}: its debits come to {debits}, its credits to {credits_}")


def intent_schema() -> dict[str, Any]:
    """The JSON Schema of an intent."""
    return msgspec.json.schema(Intent)
