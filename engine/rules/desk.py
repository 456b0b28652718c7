"""The working copy on which one event is decided: records in, records and effects out.

`decide` makes one for each event. Steps of the machines are taken here and nowhere else, so that every step, and
every refusal, becomes an effect.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from engine.model.events import Effect, Moved, Refused
from engine.model.records import CommandRecord, ConflictRecord, CustomerRecord, IntentRecord, InvoiceRecord
from engine.rules.policy import Naming, Policy
from statemachines import MACHINES


class View(msgspec.Struct):
    """The records that a decision may need, loaded beforehand. `numbers` leads from a number to the keys of the
    invoices that carry it or may come to carry it.

    `commands` holds the newest revision of each. A record that is not here does not exist.
    """

    invoices: dict[str, InvoiceRecord] = {}
    customers: dict[str, CustomerRecord] = {}
    intents: dict[str, IntentRecord] = {}
    commands: dict[str, CommandRecord] = {}
    conflicts: dict[str, ConflictRecord] = {}
    numbers: dict[str, tuple[str, ...]] = {}

    def absorb(self, decision: "Decision") -> None:
        """Take a decision's records in, so that the next event of the batch is decided on them."""
        self.invoices.update(decision.invoices)
        self.customers.update(decision.customers)
        self.intents.update(decision.intents)
        for (key, _), command in sorted(decision.commands.items()):
            self.commands[key] = command
        self.conflicts.update(decision.conflicts)


class Decision(msgspec.Struct):
    """What follows from one event: effects for the journal, and every record that is different now."""

    effects: list[Effect] = []
    invoices: dict[str, InvoiceRecord] = {}
    customers: dict[str, CustomerRecord] = {}
    intents: dict[str, IntentRecord] = {}
    commands: dict[tuple[str, int], CommandRecord] = {}
    conflicts: dict[str, ConflictRecord] = {}
    seen: dict[str, str] = {}
    """Content versions of the documents that the decision looked at, by `kind/key`."""


class Desk:
    """One event's working copy over a view that stays as it is.

    `rules` is the version of the rules: a former one (`engine.rules.frozen`) does not know what came later.
    """

    rules: ClassVar[int] = 2

    def __init__(self, view: View, policy: Policy, system: str) -> None:
        self.view = view
        self.policy = policy
        self.system = system
        self.out = Decision()

    # Reading: what this decision has already changed comes first.

    def invoice(self, key: str) -> InvoiceRecord | None:
        """An invoice by its key. Another one's number may be spelled alike; see `engine.rules.naming`."""
        found = self._invoice(key)
        return None if found is None else self._seen(found)

    def invoices_named(self, name: str) -> list[InvoiceRecord]:
        """Every invoice that an intent can mean by this name; the one with that key first."""
        by = self.policy.invoices_named_by
        keyed = self._invoice(name) if by is not Naming.NUMBER else None
        numbered = self._numbered(name) if by is not Naming.KEY else []
        named = {record.key: record for record in ([keyed] if keyed else []) + numbered}
        return [self._seen(record) for record in named.values()]

    def _numbered(self, number: str) -> list[InvoiceRecord]:
        found = [self._invoice(key) for key in self.view.numbers.get(number, ())]
        numbered = [one for one in found if one is not None and one.doc.number == number]
        # One that was deleted keeps its number, unless another has it now: what names it is told that it is gone.
        return [one for one in numbered if not one.deleted] or numbered

    def _seen(self, found: InvoiceRecord) -> InvoiceRecord:
        self.out.seen.setdefault(f"invoice/{found.key}", found.version)
        return found

    def _invoice(self, key: str) -> InvoiceRecord | None:
        return self.out.invoices.get(key) or self.view.invoices.get(key)

    def customer(self, key: str) -> CustomerRecord | None:
        found = self.out.customers.get(key) or self.view.customers.get(key)
        if found is not None:
            self.out.seen.setdefault(f"customer/{key}", found.version)
        return found

    def intent(self, key: str) -> IntentRecord | None:
        return self.out.intents.get(key) or self.view.intents.get(key)

    def command(self, key: str | None) -> CommandRecord | None:
        if key is None:
            return None
        if not self.out.commands:
            return self.view.commands.get(key)
        mine = [command for (name, _), command in self.out.commands.items() if name == key]
        return max(mine, key=lambda c: c.revision) if mine else self.view.commands.get(key)

    def conflict(self, key: str) -> ConflictRecord | None:
        return self.out.conflicts.get(key) or self.view.conflicts.get(key)

    # Writing.

    def put_invoice(self, record: InvoiceRecord) -> None:
        self.out.invoices[record.key] = record

    def put_customer(self, record: CustomerRecord) -> None:
        self.out.customers[record.key] = record

    def put_intent(self, record: IntentRecord) -> None:
        self.out.intents[record.id] = record

    def put_command(self, record: CommandRecord) -> None:
        self.out.commands[record.key, record.revision] = record

    def put_conflict(self, record: ConflictRecord) -> None:
        self.out.conflicts[record.id] = record

    def say(self, effect: Effect) -> None:
        """Record an effect."""
        self.out.effects.append(effect)

    # Machine steps. Each returns whether the machine has the step; a refusal is recorded and changes nothing.

    def move_invoice(self, key: str, trigger: str, reason: str | None = None, **changes: Any) -> bool:
        """Take a step of an invoice's life; `changes` are further fields of its record."""
        record = self._invoice(key)
        if record is None:
            return False
        to = self._step("invoice", key, record.state, trigger, reason)
        if to is None:
            return False
        self.put_invoice(msgspec.structs.replace(record, state=to, moves=record.moves + 1, **changes))
        return True

    def move_intent(self, key: str, trigger: str, reason: str | None = None, **changes: Any) -> bool:
        """Take a step of an intent."""
        record = self.intent(key)
        if record is None:
            return False
        to = self._step("intent", key, record.state, trigger, reason)
        if to is None:
            return False
        self.put_intent(msgspec.structs.replace(record, state=to, reason=reason or record.reason, **changes))
        return True

    def move_command(self, key: str, trigger: str, reason: str | None = None, **changes: Any) -> bool:
        """Take a step of a command's newest revision."""
        record = self.command(key)
        if record is None:
            return False
        to = self._step("command", key, record.state, trigger, reason)
        if to is None:
            return False
        self.put_command(msgspec.structs.replace(record, state=to, **changes))
        return True

    def move_conflict(self, key: str, trigger: str, reason: str | None = None, **changes: Any) -> bool:
        """Take a step of a conflict."""
        record = self.conflict(key)
        if record is None:
            return False
        to = self._step("conflict", key, record.state, trigger, reason)
        if to is None:
            return False
        self.put_conflict(msgspec.structs.replace(record, state=to, **changes))
        return True

    def move_dispute(self, invoice: str, name: str, trigger: str, reason: str | None = None, **changes: Any) -> bool:
        """Take a step of a dispute about an invoice."""
        record = self._invoice(invoice)
        known = record.dispute(name) if record else None
        if record is None or known is None:
            return False
        to = self._step("dispute", name, known.state, trigger, reason)
        if to is None:
            return False
        moved = msgspec.structs.replace(known, state=to, **changes)
        disputes = tuple(moved if one.id == name else one for one in record.disputes)
        self.put_invoice(msgspec.structs.replace(record, disputes=disputes))
        return True

    def _step(self, machine: str, subject: str, state: str, trigger: str, reason: str | None) -> str | None:
        to = MACHINES[machine].next(state, trigger)
        if to is None:
            self.say(Refused(machine, subject, trigger, state))
        else:
            self.say(Moved(machine, subject, str(trigger), str(state), str(to), reason))
        return to


def plain(mapping: Mapping[str, object]) -> dict[str, Any]:
    """A mapping with every value as text or None, for what people read in a conflict."""
    return {key: None if value is None else str(value) for key, value in mapping.items()}
