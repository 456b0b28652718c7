"""A journal's normal form: what must come out the same, however often programs died and answers were lost meanwhile.

`arsync replay normal` prints it: two runs of the same work are held against each other by it. It has the final
documents, what each intent came to with the money that the ERP shows for it, and the steps of each document. Left out
are attempts, retries and times, and what the ERP numbers by itself: a document that a command of ours made is named
after its intent.
"""

from decimal import Decimal
from typing import Any

import msgspec

from engine.flow.replay.reading import DECODER, Journal
from engine.flow.replay.state import State
from engine.model.canonical import digest, to_plain
from engine.model.documents import Application, Customer, Invoice
from engine.model.records import CommandRecord
from statemachines import CommandState


class Normal(msgspec.Struct):
    """`documents` by name; `intents` by id; `effects` as (intent, ordinal, kind, amount, shown by document); `lives`
    hold the triggers of each invoice in order."""

    system: str
    documents: dict[str, Any]
    intents: dict[str, str]
    effects: list[tuple[str, int, str, str, dict[str, str]]]
    lives: dict[str, list[str]]

    @property
    def digest(self) -> str:
        """One word for all of it; the system's name is not part of it."""
        return digest((self.documents, self.intents, self.effects, self.lives))


def normal_form(journal: Journal, system: str) -> Normal:
    """Fold one system's journal.

    Raises:
        FoldError: an entry does not fit what came before it; `arsync replay verify` says more.
    """
    state, fired = State(), dict[str, list[str]]()
    state.load(journal.records(system, journal.pruned_to(system)))
    for part in journal.rows(system, journal.pruned_to(system)):
        for _, _, _, _, place, at, kind, text, _, _ in part:
            if place is None:
                continue
            body = DECODER.decode(text)
            state.apply(kind, at, body)
            for effect in body.effects:
                if effect["type"] == "moved" and effect["machine"] == "invoice":
                    fired.setdefault(effect["subject"], []).append(effect["trigger"])
    names = _Names(state)
    invoices = {names.of(key): names.invoice(record) for key, record in state.view.invoices.items()}
    customers = {f"customer/{key}": _customer(record.doc) for key, record in state.view.customers.items()}
    return Normal(
        system,
        {f"invoice/{name}": told for name, told in invoices.items()} | customers,
        {key: str(record.state) for key, record in state.view.intents.items()},
        sorted(names.effect(one) for one in state.view.commands.values() if one.state == CommandState.CONFIRMED),
        {names.of(key): triggers for key, triggers in fired.items()},
    )


class _Names:
    """Names that do not depend on the order in which an ERP numbered things."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._commands = state.view.commands

    def of(self, key: str) -> str:
        """An invoice's: its key, or the intent whose command made it."""
        record = self._state.view.invoices.get(key)
        maker = self._commands.get(record.doc.reference or "") if record else None
        return f"of intent {maker.intent}" if maker is not None else key

    def invoice(self, record: Any) -> dict[str, Any]:
        doc: Invoice = record.doc
        ours = self._commands.get(doc.reference or "") is not None
        due = sorted(str(amount) for _, amount in doc.due) if ours else to_plain(doc.due)
        return {
            "customer": doc.customer, "company": doc.company, "type": str(doc.type), "currency": doc.currency,
            "total_amount": str(doc.total_amount), "open_amount": str(doc.open_amount), "phase": str(doc.phase),
            "blocked": doc.blocked, "due": due, "state": str(record.state), "deleted": record.deleted,
            "applications": sorted(self._application(one) for one in doc.applications),
        }  # fmt: skip

    def _application(self, one: Application) -> tuple[str, str, bool]:
        ours = self._commands.get(one.text or "")
        return str(one.amount), f"intent {ours.intent}" if ours else str(one.text), one.final

    def effect(self, command: CommandRecord) -> tuple[str, int, str, str, dict[str, str]]:
        shown: dict[str, Decimal] = {}
        for key, amount in command.echoed.items():
            name = f"entry of intent {command.intent}" if key.startswith("entry/") else self.of(key)
            shown[name] = shown.get(name, Decimal(0)) + amount
        kind = str(command.write.__struct_config__.tag)
        told = {name: str(amount) for name, amount in shown.items()}
        return command.intent, command.ordinal, kind, str(command.write.amount), told


def _customer(doc: Customer) -> dict[str, Any]:
    return {"active": doc.active, "accounts": to_plain(doc.accounts)}
