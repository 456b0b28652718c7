"""Which invoice an intent means: it may name it by the ERP's key or by its number.

Numbers of many ERPs are plain figures, and so are keys: one name can be the key of one invoice and the number of
another. What its author had seen, the basis, then says which is meant; money goes to none of them on a guess.
"""

import msgspec

from engine.model.intents import Allocation
from engine.model.records import IntentRecord, InvoiceRecord
from engine.rules.desk import Desk
from engine.rules.policy import Naming


class Meant(msgspec.Struct, frozen=True):
    """The invoices that a name can mean. `doubt` says why it cannot be told which, or is None: then it is the one
    that stands here, or none is known."""

    records: list[InvoiceRecord]
    doubt: str | None = None


def meant(desk: Desk, part: Allocation) -> Meant:
    """What a part of an intent means by its name and its basis."""
    found = desk.invoices_named(part.invoice)
    seen = [one for one in found if _was(one, part.basis)]
    if len(seen) == 1:
        return Meant(seen)
    if len(found) > 1:
        return Meant(found, " or ".join(map(_called, found)))
    if found and _may_be_a_key(desk, part.invoice, found[0]):
        return Meant(found, f"{_called(found[0])} or one with key {part.invoice} that the ERP has not told of yet")
    if found and _may_be_a_number(desk, part.invoice, found[0]):
        return Meant(found, f"{_called(found[0])} or one with number {part.invoice} that the ERP has not told of yet")
    return Meant(found)


def invoices_of(desk: Desk, intent: IntentRecord | None) -> list[InvoiceRecord]:
    """The invoices that an intent is about, or may be about as long as that is not known."""
    if intent is None:
        return []
    if intent.invoices:
        return [record for key in intent.invoices if (record := desk.invoice(key)) is not None]
    found = (record for part in intent.intent.parts for record in meant(desk, part).records)
    return list({record.key: record for record in found}.values())


def _called(record: InvoiceRecord) -> str:
    return f"the one with key {record.key}" + (f" and number {record.doc.number}" if record.doc.number else "")


def _may_be_a_key(desk: Desk, name: str, numbered: InvoiceRecord) -> bool:
    """Whether a name under which only a number is known is spelled as keys are."""
    asked = desk.rules > 1 and desk.policy.invoices_named_by is not Naming.NUMBER and numbered.key != name
    return asked and name.isdecimal() and numbered.key.isdecimal()


def _may_be_a_number(desk: Desk, name: str, keyed: InvoiceRecord) -> bool:
    """Whether a name under which only a key is known is spelled as numbers are."""
    asked = desk.rules > 1 and desk.policy.invoices_named_by is not Naming.KEY and keyed.key == name
    number = keyed.doc.number or ""
    return asked and name.isdecimal() and number != name and number.isdecimal()


def _was(record: InvoiceRecord, version: str) -> bool:
    """Whether an invoice has or had this content version, as far as it is remembered."""
    return version == record.version or version in record.ancestors or any(p.version == version for p in record.past)
