"""What arsync asks an ERP to write, and what the ERP answered."""

import datetime as dt
import re
from decimal import Decimal
from enum import StrEnum

import msgspec
from msgspec import UNSET, UnsetType

from engine.model.canonical import short_digest

_KEY_FORM = re.compile("[A-Z2-7]{16}")


def command_key(system: str, intent: str, ordinal: int) -> str:
    """The permanent idempotency key of one write: 16 characters A-Z, 2-7.

    A pure function of its three arguments and of nothing else, so that it survives rebase, retry and policy change.
    """
    return short_digest(("command/1", system, intent, ordinal))


def is_command_key(text: str | None) -> bool:
    """Whether a text has the form of a command's key; only the store knows whether it is one."""
    return text is not None and _KEY_FORM.fullmatch(text) is not None


class PromisedAllocation(msgspec.Struct, frozen=True):
    """One part of a promise: `amount` (own direction of the invoice) will have been taken off `invoice`.

    `number` and `version` are the invoice's number and content version when the command was decided. `written_off`
    is the part of `amount` that no money covers: the ERP books it as a loss.
    """

    invoice: str
    amount: Decimal
    number: str | None
    version: str
    written_off: Decimal = Decimal(0)


class _Write(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """What every write says: whose it is, and the documents that it was decided on and will change.

    `amount` is the money that it moves, zero where none does.
    """

    company: str
    customer: str
    currency: str
    amount: Decimal
    allocations: tuple[PromisedAllocation, ...] = ()
    reference: str | None = None

    @property
    def promise(self) -> dict[str, Decimal]:
        """What the documents will show, by invoice key or `kind/key`. One that is only changed shows 1."""
        return {a.invoice: a.amount for a in self.allocations}

    @property
    def carried(self) -> Decimal | None:
        """What the document will show that the ERP makes for this write, our key on it; None if it makes none."""
        return None

    @property
    def claims(self) -> bool:
        """Whether it takes its amounts off the open balance of the invoices that it names."""
        return False

    @property
    def by_value(self) -> bool:
        """Whether the ERP has no place for a key in it: it is known by what the documents show."""
        return False

    @property
    def title(self) -> str:
        """What it is, in a few words."""
        return f"{self.amount} {self.currency}"


class PostPayment(_Write, frozen=True, kw_only=True, tag="post_payment"):
    """Post a receipt and apply it. What it promises is what it says.

    `amount` is the money received: what is applied, less what is written off, plus what stays `on_account`, an open
    credit of the customer.
    """

    date: dt.date
    on_account: Decimal = Decimal(0)

    @property
    def claims(self) -> bool:
        return True


class Memo(StrEnum):
    """In which direction a memo goes: a credit lowers what the customer owes, a debit raises it."""

    CREDIT = "credit"
    DEBIT = "debit"


class IssueMemo(_Write, frozen=True, kw_only=True, tag="issue_memo"):
    """Issue a credit or debit memo about the one invoice in `allocations`: a document of its own, with the key as
    its reference.

    `clears`: it equals what is open, so that the two clear each other; any other stands open by itself. `lift_block`:
    the invoice's open items are free to be paid again afterwards.
    """

    date: dt.date
    memo: Memo
    clears: bool = False
    lift_block: bool = False

    @property
    def promise(self) -> dict[str, Decimal]:
        return {a.invoice: Decimal(1) for a in self.allocations} if self.clears or self.lift_block else {}

    @property
    def carried(self) -> Decimal:
        return self.amount

    @property
    def title(self) -> str:
        return f"a {self.memo} memo of {self.amount} {self.currency}"


class SetBlock(_Write, frozen=True, kw_only=True, tag="set_block"):
    """Hold the open items of the one invoice in `allocations` back from payment, or free them."""

    blocked: bool

    @property
    def promise(self) -> dict[str, Decimal]:
        return {a.invoice: Decimal(1) for a in self.allocations}

    @property
    def by_value(self) -> bool:
        return True

    @property
    def title(self) -> str:
        return f"{'blocking' if self.blocked else 'unblocking'} of invoice {_named(self.allocations)}"


class ApplyReceipt(_Write, frozen=True, kw_only=True, tag="apply_receipt"):
    """Apply a receipt that the ERP holds on account to the one invoice in `allocations`.

    `receipt` is the text that its open item carries, or the item itself. `clears`: it equals what is open. `before`
    are the items of this name that were applied to the invoice already when it was decided, if any: they are others.
    """

    receipt: str
    clears: bool = False
    before: tuple[str, ...] | UnsetType = UNSET

    def stood_before(self, item: str) -> bool:
        """Whether it is one of the items that were applied already."""
        return not isinstance(self.before, UnsetType) and item in self.before

    def is_item(self, item: str, text: str | None, amount: Decimal) -> bool:
        """Whether it is the item that was to be applied, by its name and amount."""
        return self.receipt in (text, item) and amount == self.amount and not self.stood_before(item)

    @property
    def claims(self) -> bool:
        return True

    @property
    def by_value(self) -> bool:
        return True

    @property
    def title(self) -> str:
        return f"application of {self.amount} {self.currency} of receipt {self.receipt}"


class ReverseApplication(_Write, frozen=True, kw_only=True, tag="reverse_application"):
    """Take the money of one `item` off the one invoice in `allocations`; it stays with the customer, on account."""

    item: str

    @property
    def by_value(self) -> bool:
        return True

    @property
    def title(self) -> str:
        return f"reversal of {self.amount} {self.currency} on invoice {_named(self.allocations)}"


class SetCreditLimit(_Write, frozen=True, kw_only=True, tag="set_credit_limit"):
    """Set what a customer may owe a company; None means any amount. `replaces` is the limit that stood before."""

    limit: Decimal | None
    replaces: Decimal | None

    @property
    def promise(self) -> dict[str, Decimal]:
        return {f"customer/{self.customer}": Decimal(1)}

    @property
    def by_value(self) -> bool:
        return True

    @property
    def title(self) -> str:
        limit = "none" if self.limit is None else f"{self.limit} {self.currency}"
        return f"credit limit of {limit} for customer {self.customer}"


class ReleaseOrder(_Write, frozen=True, kw_only=True, tag="release_order"):
    """Let an order go on that the ERP holds back because of the customer's credit. `at_most` is what it came to as
    its author saw it: one that comes to more by now is another decision.
    """

    order: str
    at_most: Decimal | UnsetType = UNSET

    @property
    def carried(self) -> Decimal:
        return Decimal(1)  # it is the order itself, known by its key or its number

    @property
    def by_value(self) -> bool:
        return True

    @property
    def title(self) -> str:
        return f"release of order {self.order}"


class EntryLine(msgspec.Struct, frozen=True):
    """One side of an entry: `account` is the account's number; one of the amounts is zero."""

    account: str
    debit: Decimal
    credit: Decimal
    customer: str | None = None


class PostEntry(_Write, frozen=True, kw_only=True, tag="post_entry"):
    """Post an entry in the general ledger, its lines in the company's currency; debits equal credits."""

    date: dt.date
    lines: tuple[EntryLine, ...]

    @property
    def carried(self) -> Decimal:
        return Decimal(1)

    @property
    def title(self) -> str:
        return f"an entry of {self.amount} {self.currency} in the general ledger"


Write = (
    PostPayment | IssueMemo | SetBlock | ApplyReceipt | ReverseApplication | SetCreditLimit | ReleaseOrder | PostEntry
)


def _named(allocations: tuple[PromisedAllocation, ...]) -> str:
    return ", ".join(a.number or a.invoice for a in allocations)


class OutcomeKind(StrEnum):
    """What the ERP's answer means for the command."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    STALE = "stale"
    THROTTLED = "throttled"
    UNKNOWN = "unknown"


class Outcome(msgspec.Struct, frozen=True):
    """The ERP's answer. `detail` is its own text with secrets removed; `reference` the ERP's document.

    `reason` names a conflict kind when the answer leaves no other reading (an invoice found already cleared under
    the lease, a closed period); otherwise None.
    """

    kind: OutcomeKind
    detail: str = ""
    reference: str | None = None
    reason: str | None = None


class Found(msgspec.Struct, frozen=True):
    """A write that carries a command's key was found in the ERP. `complete` is False when steps are still missing."""

    reference: str
    amount: Decimal | None = None
    complete: bool = True
