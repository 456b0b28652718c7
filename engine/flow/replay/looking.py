"""Every document as it was at a time or a position, as the records that the store holds, out of an archive's steps.

`engine.flow.replay.folding` folds them in columns; only what is asked for becomes a record here. The store is looked
at in the same way: it is archived for the moment.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from engine.flow.replay.folding import Until, fold_documents
from engine.flow.replay.state import KINDS
from engine.model.canonical import canonical_bytes
from engine.model.documents import Customer, Invoice
from engine.model.records import CustomerRecord, InvoiceRecord
from engine.store.archive import Part, open_duckdb
from engine.store.steps import COLUMNS, DOC_FIELDS, RECORD_FIELDS

Record = InvoiceRecord | CustomerRecord


def as_of(
    parts: Sequence[Part],
    until: Until,
    begin: Iterator[tuple[str, str]] | None = None,
    moves: Sequence[str] = (),
) -> Iterator[tuple[str, Record]]:
    """(name, record) of every document, by an archive's parts, oldest first.

    `begin` are the records of the checkpoint at which the steps begin, if there is one. With the files of `moves`
    the states are folded apart as well, and must come out the same.

    Raises:
        FoldedApartError: they do not.
    """
    known: dict[str, Record] = {}
    for name, text in begin or ():
        if name.startswith(("invoice/", "customer/")):
            known[name] = msgspec.json.decode(text, type=KINDS[name.partition("/")[0]])
    begun = {name: record.state for name, record in known.items() if isinstance(record, InvoiceRecord)}
    with open_duckdb() as duck:
        for _ in fold_documents(duck, parts, until, moves, begun):
            cursor = duck.execute(f"SELECT name, guard, {', '.join(COLUMNS)} FROM documents")  # noqa: S608
            while part := cursor.fetchmany(5000):
                for name, guard, *values in part:
                    yield name, _built(name, known.pop(name, None), guard, values)
    yield from known.items()


def _built(name: str, known: Record | None, changed: str | None, values: Sequence[str | None]) -> Record:
    """A record out of the last text of each of its fields."""
    invoice = name.startswith("invoice/")
    kind: Any = InvoiceRecord if invoice else CustomerRecord
    told = dict(zip(DOC_FIELDS, values, strict=False))
    left = dict(zip(RECORD_FIELDS, values[len(DOC_FIELDS) :], strict=True))
    guard = dict(known.guard) if known else {}
    for record, token in msgspec.json.decode(changed or "{}").items():
        if token is None:
            guard.pop(record, None)
        else:
            guard[record] = token
    doc = _joined(told, Invoice if invoice else Customer, known.doc if known else None)
    fields = {n: msgspec.json.decode(t, type=_type(kind, n)) for n, t in left.items() if t is not None}
    if known is not None:
        built: Record = msgspec.structs.replace(known, doc=doc, version=doc.content_version(), guard=guard, **fields)
        return built
    fresh: Record = kind(doc=doc, version=doc.content_version(), guard=guard, **fields)
    return fresh


def _joined(told: dict[str, str | None], kind: Any, before: Any) -> Any:
    text = ",".join(f'"{name}":{value}' for name, value in told.items() if value is not None)
    if before is None:
        return msgspec.json.decode("{" + text + "}", type=kind)
    whole = msgspec.to_builtins(before) | msgspec.json.decode("{" + text + "}")
    return msgspec.convert(whole, kind)


_TYPES: dict[tuple[type, str], Any] = {}


def _type(kind: type, name: str) -> Any:
    if (kind, name) not in _TYPES:
        _TYPES.update({(kind, field.name): field.type for field in msgspec.structs.fields(kind)})
    return _TYPES[kind, name]


def records(found: Iterator[tuple[str, Record]]) -> Iterator[tuple[str, str]]:
    """(name, canonical JSON), as a checkpoint holds them."""
    for name, record in found:
        yield name, canonical_bytes(record).decode()
