"""Every record of a system as it was at one point of the journal, and the way from one entry to the next.

The fold needs no rules: an entry's `input` and `after` say all that is different. Verifying and looking back in time
both walk with one of these.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from engine.flow.replay.reading import Body
from engine.flow.replay.spilling import Spill, SpillingMap
from engine.flow.telling import documents_read, fields_of
from engine.model.canonical import canonical_bytes
from engine.model.commands import ReleaseOrder
from engine.model.documents import Customer, Invoice
from engine.model.events import DocumentsTold, Told
from engine.model.records import CommandRecord, ConflictRecord, CustomerRecord, IntentRecord, InvoiceRecord
from engine.rules.desk import View
from engine.rules.leaving import beginning
from engine.store.journal import Settings
from statemachines import IntentState

KINDS: dict[str, type] = {
    "invoice": InvoiceRecord,
    "customer": CustomerRecord,
    "intent": IntentRecord,
    "command": CommandRecord,
    "conflict": ConflictRecord,
}
Record = InvoiceRecord | CustomerRecord | IntentRecord | CommandRecord | ConflictRecord
_READ: dict[str, Callable[..., Any]] = {kind: msgspec.json.Decoder(record).decode for kind, record in KINDS.items()}

RECENT = 20_000
"""Records of each kind that a state keeps in memory; as many again may be there that were not used lately."""


_KEYS = msgspec.json.Decoder(tuple[str, ...])


class _Revision(msgspec.Struct):
    revision: int


_REVISION = msgspec.json.Decoder(_Revision)


class FoldError(RuntimeError):
    """An entry cannot be applied: it is about a record that no entry before it has told of."""


class State:
    """All records of one system. `view` is what the rules decide on; older revisions of commands stand beside it.

    Of each kind some `recent` stay in memory, and the others on disk.
    """

    def __init__(self, recent: int = RECENT) -> None:
        self._spill = Spill()

        def held(kind: str) -> SpillingMap[Any]:
            return SpillingMap(self._spill, kind, recent, canonical_bytes, _READ[kind])

        def keys(name: str) -> SpillingMap[tuple[str, ...]]:
            return SpillingMap(self._spill, name, recent, canonical_bytes, _KEYS.decode)

        self._kinds = {kind: held(kind) for kind in KINDS}
        self._numbers = keys("numbers")
        self.view = View(**{f"{kind}s": held for kind, held in self._kinds.items()}, numbers=self._numbers)
        self.former: SpillingMap[CommandRecord] = SpillingMap(
            self._spill, "former", recent, canonical_bytes, _READ["command"]
        )
        self.parked: dict[str, str] = {}
        self.settings: dict[str, Settings] = {}
        self.waiting: dict[str, None] = {}
        """Intents that wait for a document."""
        self.conflicts_of = keys("conflicts_of")
        """By intent, the keys of its conflicts."""
        self.conflicts_about = keys("conflicts_about")
        """By `kind/key` of a document."""
        self.releases = keys("releases")
        """By order, the keys of the commands that let it go on."""

    def close(self) -> None:
        """Give the space on disk back. What is not in memory is gone."""
        self._spill.close()

    def load(self, records: Iterable[tuple[str, str]]) -> None:
        """Take in the records of a checkpoint."""
        for name, text in records:
            kind, _, key = name.partition("/")
            if kind == "parked":
                self.parked[key] = msgspec.json.decode(text, type=str)
            elif kind == "settings":
                self.settings[key] = msgspec.json.decode(text, type=Settings)
            else:
                self.put(name, _READ[kind](text))

    def records(self) -> Iterator[tuple[str, str]]:
        """(name, canonical JSON) of everything, as a checkpoint holds it."""
        view = self.view
        for kind, held in self._kinds.items():
            for key, text in held.texts():
                revision = f"/{_REVISION.decode(text).revision}" if kind == "command" else ""
                yield f"{kind}/{key}{revision}", text.decode()
        for name, text in self.former.texts():
            yield name, text.decode()
        for name, reason in self.parked.items():
            kind, _, key = name.partition("/")
            if key in (view.invoices if kind == "invoice" else view.customers):
                yield f"parked/{name}", canonical_bytes(reason).decode()
        for digest, settings in self.settings.items():
            yield f"settings/{digest}", canonical_bytes(settings).decode()

    def text(self, name: str) -> str | None:
        """What `records` gives under a name."""
        kind, _, key = name.partition("/")
        found: Any
        if kind == "parked":
            of, _, document = key.partition("/")
            found = self.parked.get(key) if document in self._kinds[of] else None
        elif kind == "settings":
            found = self.settings.get(key)
        else:
            found = self.get(name) if kind in KINDS else None
        return None if found is None else canonical_bytes(found).decode()

    def get(self, name: str) -> Record | None:
        """A record by its name."""
        kind, _, key = name.partition("/")
        if kind == "command":
            key, _, revision = key.partition("/")
            newest = self.view.commands.get(key)
            return newest if newest is not None and str(newest.revision) == revision else self.former.get(name)
        found: Record | None = self._kinds[kind].get(key)
        return found

    def put(self, name: str, record: Record) -> None:
        """Insert or replace a record."""
        kind, _, key = name.partition("/")
        if isinstance(record, CommandRecord):
            newest = self.view.commands.get(record.key)
            if newest is not None and newest.revision > record.revision:
                self.former[name] = record
                return
            if newest is not None and newest.revision < record.revision:
                self.former[f"command/{newest.key}/{newest.revision}"] = newest
            self.view.commands[record.key] = record
            if isinstance(record.write, ReleaseOrder):
                _enter(self.releases, record.write.order, record.key)
            return
        if isinstance(record, InvoiceRecord):
            self.put_invoice(key, record)
            return
        if isinstance(record, IntentRecord):
            self._wait(key, record)
        elif isinstance(record, ConflictRecord):
            if record.intent is not None:
                _enter(self.conflicts_of, record.intent, key)
            for document in (*record.documents, *([record.document] if record.document else [])):
                _enter(self.conflicts_about, document, key)
        self._kinds[kind][key] = record

    def put_invoice(self, key: str, record: InvoiceRecord) -> None:
        """Insert or replace an invoice."""
        self._number(key, record)
        self.view.invoices[key] = record

    def apply(self, kind: str, at: dt.datetime, body: Body) -> None:
        """Go over one entry, as it is recorded.

        Raises:
            FoldError: it does not fit what came before it.
        """
        try:
            self._apply(kind, at, body)
        except (msgspec.ValidationError, KeyError, TypeError, AttributeError, ValueError) as error:
            raise FoldError(f"its content cannot be read: {error!r}") from None

    def note(self, kind: str, body: Body) -> None:
        """What an entry says besides what is decided on it: settings, and what is parked."""
        told = body.input
        if not isinstance(told, dict):
            return
        if kind == "config" and "settings" in told:
            settings = msgspec.convert(told["settings"], Settings)
            self.settings[settings.digest] = settings
        for name, reason in told.get("parked", {}).items() if kind == "change" else ():
            self.set_parked(name, reason)

    def set_parked(self, name: str, reason: str | None) -> None:
        if reason is None:
            self.parked.pop(name, None)
        else:
            self.parked[name] = reason

    def told(self, event: DocumentsTold) -> None:
        """A document that is told can be read."""
        if not self.parked:
            return
        for kind, told in (("invoice", event.invoices), ("customer", event.customers)):
            for one in told:
                self.parked.pop(f"{kind}/{one.key}", None)

    def _apply(self, kind: str, at: dt.datetime, body: Body) -> None:
        after = dict(body.after)
        if kind == "change" and "documents" in body.input:
            event = documents_read(body.input, at, self.view)
            for name, told in (("invoice", event.invoices), ("customer", event.customers)):
                for one in told:
                    self._document(f"{name}/{one.key}", one, after.pop(f"{name}/{one.key}", {}))
            self.told(event)
        self.note(kind, body)
        planned = {
            f"command/{e['command']}/{e['revision']}": e["write"] for e in body.effects if e["type"] == "planned"
        }
        for name, fields in after.items():
            given: dict[str, Any] = {}
            if name in planned:
                given = {"write": planned[name]}
            elif name.startswith("intent/") and self.get(name) is None:
                given = {"intent": body.input["intent"]}
            self.put(name, self._built(name, {**fields, **given}))

    def _document(self, name: str, told: Told, fields: dict[str, Any]) -> None:
        known = self.get(name)
        if told.document is None:
            if known is not None and fields:
                self.put(name, self._built(name, fields))
            return
        document = told.document
        if not isinstance(document, Invoice | Customer):
            return
        version = document.content_version()
        kind: Any = InvoiceRecord if isinstance(document, Invoice) else CustomerRecord
        changed = {field: _typed(kind, field, value) for field, value in fields.items()}
        if known is None:
            self.put(name, kind(doc=document, version=version, guard=told.guard, **changed))
        else:
            again: Any = msgspec.structs.replace(known, doc=document, version=version, guard=told.guard, **changed)
            self.put(name, again)

    def _built(self, name: str, fields: dict[str, Any]) -> Record:
        kind = KINDS[name.partition("/")[0]]
        changed = {field: _typed(kind, field, value) for field, value in fields.items()}
        known = self.get(name)
        if known is not None:
            return msgspec.structs.replace(known, **changed)
        missing = [f for f, value in beginning(kind).items() if value is msgspec.NODEFAULT and f not in changed]
        if missing:
            raise FoldError(f"{name} is not known before it, and {', '.join(missing)} of it nowhere told")
        built: Record = kind(**changed)
        return built

    def _wait(self, key: str, record: IntentRecord) -> None:
        if record.state == IntentState.WAITING:
            self.waiting[key] = None
        else:
            self.waiting.pop(key, None)

    def _number(self, key: str, record: InvoiceRecord) -> None:
        """An invoice may be asked for by every number that it ever had; the desk looks whether it still has it."""
        number = record.doc.number
        known = self.view.invoices.get(key)
        if number is not None and (known is None or known.doc.number != number):
            _enter(self._numbers, number, key)


def _enter(index: SpillingMap[tuple[str, ...]], name: str, key: str) -> None:
    known = index.get(name, ())
    if key not in known:
        index[name] = (*known, key)


def _typed(kind: type, field: str, value: Any) -> Any:
    of = fields_of(kind)[field]
    return value if type(value) is of else msgspec.convert(value, of)
