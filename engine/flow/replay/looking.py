"""Every document as it was at a time or a position: folded over all documents at once, out of an archive's steps.

A field is what the last step before then left. The states are folded apart from that, by numpy with the machines'
compiled tables, and must come out the same. The store is looked at in the same way: it is archived for the moment.
"""

import datetime as dt
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.flow.replay.state import KINDS
from engine.model.canonical import canonical_bytes
from engine.model.documents import Customer, Invoice
from engine.model.records import CustomerRecord, InvoiceRecord
from engine.store.archive import open_duckdb
from engine.store.steps import DOC_FIELDS, RECORD_FIELDS, column
from statemachines import MACHINES

Record = InvoiceRecord | CustomerRecord


class Until(msgspec.Struct, frozen=True):
    """Up to when entries count, both included; None for all that there are."""

    batch: int | None = None
    at: dt.datetime | None = None

    @property
    def where(self) -> str:
        """As a condition on a step or an entry."""
        if self.batch is not None:
            return f"batch <= {self.batch}"
        if self.at is not None:
            return f"\"at\" <= TIMESTAMP '{self.at.astimezone(dt.UTC).replace(tzinfo=None).isoformat(sep=' ')}'"
        return "true"


class FoldedApartError(RuntimeError):
    """A document's state is not the one to which its steps lead by the machine's table."""


def as_of(
    steps: Sequence[str], until: Until, begin: Iterator[tuple[str, str]] | None = None
) -> Iterator[tuple[str, Record]]:
    """(name, record) of every document, by the Parquet files of steps, oldest first.

    `begin` are the records of the checkpoint at which the steps begin, if there is one.
    """
    known: dict[str, Record] = {}
    for name, text in begin or ():
        if name.startswith(("invoice/", "customer/")):
            known[name] = msgspec.json.decode(text, type=KINDS[name.partition("/")[0]])
    seen: set[str] = set()
    columns = [column(f, of_document=True) for f in DOC_FIELDS] + [
        column(f, of_document=False) for f in RECORD_FIELDS
    ]
    with open_duckdb() as duck:
        if steps:
            cursor = duck.execute(_last_of_each(columns, until), [list(steps)])
            while part := cursor.fetchmany(5000):
                for name, guards, *values in part:
                    seen.add(name)
                    yield name, _built(name, known.get(name), guards, values)
    for name, record in known.items():
        if name not in seen:
            yield name, record


def _last_of_each(columns: Sequence[str], until: Until) -> str:
    last = ", ".join(f"arg_max({c}, pos) AS {c}" for c in columns)
    return f"""
        SELECT name, list(guard ORDER BY pos) FILTER (guard IS NOT NULL), {last}
        FROM (SELECT *, (batch * 1048576 + place) * 2 + part AS pos FROM read_parquet(?, hive_partitioning = false))
        WHERE {until.where} GROUP BY name"""  # noqa: S608 - columns and conditions of this file


def _built(name: str, known: Record | None, guards: Sequence[str] | None, values: Sequence[str | None]) -> Record:
    """A record out of the last text of each of its fields."""
    invoice = name.startswith("invoice/")
    kind: Any = InvoiceRecord if invoice else CustomerRecord
    told = dict(zip(DOC_FIELDS, values, strict=False))
    left = dict(zip(RECORD_FIELDS, values[len(DOC_FIELDS) :], strict=True))
    guard = dict(known.guard) if known else {}
    for text in guards or ():
        for record, token in msgspec.json.decode(text).items():
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


# The states by themselves: from every step that an entry names, over all documents at once.


class Folded(msgspec.Struct):
    """The state of every invoice by its key, and how many steps led to them."""

    states: dict[str, str]
    steps: int


def fold_states(entries: Sequence[str], until: Until, start: dict[str, str] | None = None) -> Folded:
    """Lead every invoice through its machine's compiled table, all at once, step by step of each one's own count.

    `start` are the states at the checkpoint where the entries begin.

    Raises:
        FoldedApartError: an entry names a step that leads elsewhere, or that the table does not have.
    """
    machine = MACHINES["invoice"]
    states, triggers = list(machine.state_names), list(machine.triggers)
    moved = _moves(entries, until) if entries else None
    begun = start or {}
    if moved is None or not len(moved["subject"]):
        return Folded(dict(begun), 0)
    names, docs = np.unique(moved["subject"].astype(str), return_inverse=True)
    code = {name: number for number, name in enumerate(triggers)}
    fired = np.array([code.get(one, -1) for one in moved["trigger"]], dtype=np.int16)
    number = {name: place for place, name in enumerate(states)}
    led = np.array([number.get(one, -1) for one in moved["destination"]], dtype=np.int16)
    table = np.full((len(states), len(triggers)), -1, dtype=np.int16)
    for (state, trigger), to in machine.table.items():
        table[number[state], code[trigger]] = number[to]
    first = np.array([number[begun.get(name, machine.initial)] for name in names], dtype=np.int16)
    last, wrong = folded(table, first, docs.astype(np.int64), fired, led)
    if wrong is not None:
        raise FoldedApartError(
            f"invoice {moved['subject'][wrong]}: {moved['trigger'][wrong]} does not lead to "
            f"{moved['destination'][wrong]} by the machine's table"
        )
    return Folded(begun | {str(name): states[s] for name, s in zip(names, last, strict=True)}, len(docs))


def _moves(entries: Sequence[str], until: Until) -> Any:
    """Subject, trigger and destination of every step of an invoice, in order."""
    with open_duckdb() as duck:
        return duck.execute(
            f"""SELECT e ->> '$.subject' AS subject, e ->> '$.trigger' AS trigger,
                       e ->> '$.destination' AS destination
                FROM (SELECT unnest(from_json(json_extract(body, '$.effects'), '["JSON"]')) AS e
                      FROM read_parquet(?, hive_partitioning = false)
                      WHERE {until.where} AND contains(body, '"machine":"invoice"'))
                WHERE e ->> '$.type' = 'moved' AND e ->> '$.machine' = 'invoice'""",  # noqa: S608 - own conditions
            [list(entries)],
        ).fetchnumpy()


def folded(
    table: NDArray[np.int16],
    first: NDArray[np.int16],
    docs: NDArray[np.int64],
    fired: NDArray[np.int16],
    led: NDArray[np.int16],
) -> tuple[NDArray[np.int16], int | None]:
    """The last state of each document, and the first step that does not lead where it says; None when all do.

    `docs`, `fired` and `led` are, step by step in order, document, trigger and destination. In each round every
    document takes its next step, so that there are as many rounds as the longest life has steps.
    """
    order = np.argsort(docs, kind="stable")
    counts = np.bincount(docs, minlength=len(first))
    starts = np.concatenate(([0], np.cumsum(counts)[:-1]))
    rank = np.arange(len(docs)) - np.repeat(starts, counts)
    by_rank = np.argsort(rank, kind="stable")
    bounds = np.searchsorted(rank[by_rank], np.arange(int(counts.max(initial=0)) + 1))
    states = first.copy()
    wrong: int | None = None
    for begin, end in itertools.pairwise(bounds):
        steps = order[by_rank[begin:end]]
        to = table[states[docs[steps]], fired[steps]]
        apart = (to < 0) | (to != led[steps]) | (fired[steps] < 0)
        if apart.any():
            found = int(steps[apart].min())
            wrong = found if wrong is None else min(wrong, found)
        states[docs[steps]] = led[steps]
    return states, wrong
