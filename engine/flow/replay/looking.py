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
    with open_duckdb() as duck:
        fold_documents(duck, steps, until)
        cursor = duck.execute("SELECT * FROM documents")
        while part := cursor.fetchmany(5000):
            for name, guards, *values in part:
                seen.add(name)
                yield name, _built(name, known.get(name), guards, values)
    for name, record in known.items():
        if name not in seen:
            yield name, record


def fold_documents(duck: Any, steps: Sequence[str], until: Until) -> int:
    """Make the table `documents`: for each by its name the last text of every field. Gives their number."""
    fields = [column(f, of_document=True) for f in DOC_FIELDS] + [column(f, of_document=False) for f in RECORD_FIELDS]
    last = ", ".join(f"arg_max({c}, pos) AS {c}" for c in fields)
    if not steps:
        nothing = ", ".join(f"NULL::JSON AS {c}" for c in fields)
        duck.execute(f"CREATE TABLE documents AS SELECT '' AS name, NULL::JSON[] AS guards, {nothing} LIMIT 0")
        return 0
    duck.execute(
        f"""CREATE TABLE documents AS
            SELECT name, list(guard ORDER BY pos) FILTER (guard IS NOT NULL) AS guards, {last}
            FROM (SELECT *, (batch * 1048576 + place) * 2 + part AS pos
                  FROM read_parquet(?, hive_partitioning = false)) WHERE {until.where} GROUP BY name""",  # noqa: S608
        [list(steps)],
    )
    return int(duck.execute("SELECT count(*) FROM documents").fetchone()[0])


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


def fold_states(moves: Sequence[str], until: Until, start: dict[str, str] | None = None) -> Folded:
    """Lead every invoice through its machine's compiled table, all at once, step by step of each one's own count.

    `moves` are the Parquet files of moves, `start` the states at the checkpoint where they begin.

    Raises:
        FoldedApartError: a step leads elsewhere, or is not in the table.
    """
    machine = MACHINES["invoice"]
    states, triggers = list(machine.state_names), list(machine.triggers)
    begun = start or {}
    with open_duckdb() as duck:
        names, docs, fired, led = _moves(duck, moves, until, states, triggers)
    if not len(docs):
        return Folded(dict(begun), 0)
    number = {name: place for place, name in enumerate(states)}
    table = np.full((len(states), len(triggers)), -1, dtype=np.int16)
    for (state, trigger), to in machine.table.items():
        table[number[state], triggers.index(trigger)] = number[to]
    first = np.full(len(names), number[machine.initial], dtype=np.int16)
    for place, name in enumerate(names if begun else ()):
        first[place] = number[begun.get(name, machine.initial)]
    last, wrong = folded(table, first, docs, fired, led)
    if wrong is not None:
        name, to = names[docs[wrong]], led[wrong]
        step = triggers[fired[wrong]] if fired[wrong] >= 0 else "an unknown trigger"
        raise FoldedApartError(f"invoice {name}: {step} does not lead to {states[to]} by the machine's table")
    return Folded(begun | {name: states[s] for name, s in zip(names, last.tolist(), strict=True)}, len(docs))


def _moves(
    duck: Any, files: Sequence[str], until: Until, states: list[str], triggers: list[str]
) -> tuple[list[str], NDArray[np.int64], NDArray[np.int16], NDArray[np.int16]]:
    """Names of the invoices; and step by step the place of its invoice among them, its trigger, its destination."""
    if not files:
        return [], np.zeros(0, np.int64), np.zeros(0, np.int16), np.zeros(0, np.int16)
    duck.execute(
        f"""CREATE TABLE moved AS
            SELECT batch, place, number, subject, (list_position(?, trigger) - 1)::SMALLINT AS fired,
                   (list_position(?, destination) - 1)::SMALLINT AS led
            FROM read_parquet(?, hive_partitioning = false) WHERE machine = 'invoice' AND {until.where}""",  # noqa: S608
        [triggers, states, list(files)],
    )
    duck.execute("CREATE TABLE subjects AS SELECT subject, row_number() OVER () - 1 AS code FROM "
                 "(SELECT DISTINCT subject FROM moved)")  # fmt: skip
    names = [str(name) for (name,) in duck.execute("SELECT subject FROM subjects ORDER BY code").fetchall()]
    found = duck.execute(
        """SELECT code, coalesce(fired, -1) AS fired, coalesce(led, -1) AS led
           FROM moved JOIN subjects USING (subject) ORDER BY batch, place, number"""
    ).fetchnumpy()
    return names, found["code"].astype(np.int64), found["fired"].astype(np.int16), found["led"].astype(np.int16)


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
