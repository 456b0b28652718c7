"""How a conflict stands: what the ERP and the engine say of everything that it is about, and a version of that.

Who chooses names the version that was shown; a choice is refused, or goes back to people, when it is another one by
then. A row that was touched and says the same as before keeps it.
"""

from decimal import Decimal

from engine.model.canonical import short_digest
from engine.model.intents import SetCreditLimit
from engine.model.records import ConflictRecord
from engine.rules.desk import Desk
from engine.rules.naming import invoices_of


def standing(desk: Desk, conflict: ConflictRecord) -> dict[str, str]:
    """Word by subject: content versions of documents, states of intent and commands."""
    found: dict[str, str] = {}
    intent = desk.intent(conflict.intent) if conflict.intent else None
    names = [name.removeprefix("invoice/") for name in conflict.documents if name.startswith("invoice/")]
    records = [*map(desk.invoice, names), *invoices_of(desk, intent)]
    for record in records:
        if record is not None:
            found[f"invoice/{record.key}"] = "deleted" if record.deleted else record.version
    if intent is not None:
        found[f"intent/{intent.id}"] = intent.state
        if isinstance(intent.intent, SetCreditLimit):
            found |= _limit(desk, intent.intent)
    own = (conflict.command,) if conflict.command else ()
    for key in dict.fromkeys((*(intent.commands if intent else ()), *own)):
        command = desk.command(key)
        if command is not None:
            shown = sum(command.echoed.values(), Decimal(0))
            found[f"command/{key}"] = f"{command.state}, revision {command.revision}, {shown} shown"
    return found


def version_of(desk: Desk, conflict: ConflictRecord) -> str:
    """The version that whoever looks at the conflict now is shown."""
    said = (conflict.id, conflict.state, conflict.choice, conflict.sentence)
    return short_digest(("shown/1", said, standing(desk, conflict)))


def _limit(desk: Desk, asked: SetCreditLimit) -> dict[str, str]:
    customer = desk.customer(asked.customer)
    limits = [one.credit_limit for one in customer.doc.accounts if one.company == asked.company] if customer else []
    return {f"customer/{asked.customer}": f"limit {limits[0]}"} if limits else {}
