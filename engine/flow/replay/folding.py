"""Folds an archive's steps over all documents at once, in columns: no JSON is read, no record is made.

`looking` and the benchmark call it. A field is what the last step before the moment left. The states are folded apart
from that, by numpy with the machines' compiled tables, and must come out the same.
"""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.store.archive import open_duckdb
from engine.store.steps import BUCKETS, DOC_FIELDS, RECORD_FIELDS, column
from statemachines import MACHINES

COLUMNS = (
    *(column(f, of_document=True) for f in DOC_FIELDS),
    *(column(f, of_document=False) for f in RECORD_FIELDS),
)
"""The columns of a document's fields."""

AT_ONCE = 1_000_000
"""Steps that are folded in one go, about; of more, some buckets after the others, so that memory stays bounded."""

_MACHINE = MACHINES["invoice"]
_STATES, _TRIGGERS = list(_MACHINE.state_names), list(_MACHINE.triggers)
Numbers = NDArray[np.int64]


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


def fold_documents(
    duck: Any, steps: Sequence[str], until: Until, moves: Sequence[str] = (), begun: Mapping[str, str] | None = None
) -> Iterator[int]:
    """Make the table `documents`, some buckets at a time: for each document the last text of every field, and its
    guards as (position, text), in no order.

    Gives the number of documents each time that the table holds the next ones. With the files of `moves` their states
    are led through the machine's table too; `begun` are those at the checkpoint where the steps begin, by name.

    Raises:
        FoldedApartError: the table leads to other states.
    """
    if not steps:
        return
    (count,) = duck.execute("SELECT count(*) FROM read_parquet(?)", [list(steps)]).fetchone()
    last = ", ".join(f"arg_max({c}, pos) AS {c}" for c in COLUMNS)
    abreast = max(1, min(BUCKETS, BUCKETS * AT_ONCE // max(1, count)))
    for bucket in range(0, BUCKETS, abreast):
        where = f"{until.where} AND bucket BETWEEN {bucket} AND {bucket + abreast - 1}"
        duck.execute(
            f"""CREATE OR REPLACE TABLE documents AS
                SELECT row_number() OVER () - 1 AS code, * FROM (
                    SELECT name, list((pos, guard)) FILTER (guard IS NOT NULL) AS guards, {last}
                    FROM (SELECT *, batch * 1048576 + place AS pos
                          FROM read_parquet(?, hive_partitioning = false) WHERE {where}) GROUP BY name)""",  # noqa: S608
            [list(steps)],
        )
        (number,) = duck.execute("SELECT count(*) FROM documents").fetchone()
        if moves:
            _hold_states(duck, _lead(duck, moves, where, int(number), begun or {}))
        yield int(number)


class Led(msgspec.Struct):
    """The state of every document by its code in the table `documents`, and how many steps led there."""

    states: Numbers
    steps: int


def fold_states(moves: Sequence[str], until: Until, start: Mapping[str, str] | None = None) -> dict[str, str]:
    """The state of every invoice by its key, out of nothing but steps; `start` are those where the steps begin.

    Raises:
        FoldedApartError: a step leads elsewhere, or is not in the table.
    """
    begun = dict(start or {})
    if not moves:
        return begun
    with open_duckdb() as duck:
        duck.execute(
            f"""CREATE TABLE documents AS SELECT row_number() OVER () - 1 AS code, name FROM (
                SELECT DISTINCT 'invoice/' || subject AS name FROM read_parquet(?, hive_partitioning = false)
                WHERE machine = 'invoice' AND {until.where})""",  # noqa: S608
            [list(moves)],
        )
        names = [str(name) for (name,) in duck.execute("SELECT name FROM documents ORDER BY code").fetchall()]
        named = {f"invoice/{key}": state for key, state in begun.items()}
        led = _lead(duck, moves, until.where, len(names), named)
    found = zip(names, led.states.tolist(), strict=True)
    return begun | {name.removeprefix("invoice/"): _STATES[state] for name, state in found}


def _lead(duck: Any, moves: Sequence[str], where: str, count: int, begun: Mapping[str, str]) -> Led:
    """Lead every invoice in `documents` through the table."""
    first = np.full(count, _STATES.index(_MACHINE.initial), dtype=np.int64)
    for name, code in duck.execute("SELECT name, code FROM documents").fetchall() if begun else ():
        first[code] = _STATES.index(begun.get(name, str(_MACHINE.initial)))
    _types(duck)
    found = duck.execute(
        f"""SELECT coalesce(code, -1) AS code, batch * 1048576 + place AS pos, number,
                   {_code("source", "state")}, {_code("trigger", "trigger")}, {_code("destination", "state")}
            FROM read_parquet(?, hive_partitioning = false)
            LEFT JOIN (SELECT code, name FROM documents) ON name = 'invoice/' || subject
            WHERE machine = 'invoice' AND {where}""",  # noqa: S608 - names of this file
        [list(moves)],
    ).fetchnumpy()
    docs = found["code"].astype(np.int64)
    if (docs < 0).any():
        raise FoldedApartError("an invoice has steps, and no entry tells what they left different")
    order = np.argsort(docs.astype(np.uint16) if count < 1 << 16 else docs, kind="stable")
    if not _in_order(docs[order], found["pos"][order], found["number"][order]):
        order = np.lexsort((found["number"], found["pos"], docs))
    source, fired, led = (found[name][order] for name in ("source", "trigger", "destination"))
    states, wrong = chained(first, docs[order], source, fired, led)
    if wrong is not None:
        (name,) = duck.execute("SELECT name FROM documents WHERE code = ?", [int(docs[order][wrong])]).fetchone()
        step, to = ([*words, "an unknown one"][one[wrong]] for words, one in ((_TRIGGERS, fired), (_STATES, led)))
        raise FoldedApartError(f"{name}: {step} does not lead to {to} by the machine's table")
    return Led(states, len(docs))


def _types(duck: Any) -> None:
    for name, words in (("state", _STATES), ("trigger", _TRIGGERS)):
        listed = ", ".join(f"'{word}'" for word in words)
        duck.execute(f"CREATE TYPE IF NOT EXISTS invoice_{name} AS ENUM ({listed})")


def _code(field: str, of: str) -> str:
    return f"coalesce(enum_code(TRY_CAST({field} AS invoice_{of}))::SMALLINT, -1) AS {field}"


def _in_order(docs: Numbers, pos: Numbers, number: Numbers) -> bool:
    """Whether the steps of each document stand in the journal's order."""
    later = (pos[1:] > pos[:-1]) | ((pos[1:] == pos[:-1]) & (number[1:] > number[:-1]))
    return bool((later | (docs[1:] != docs[:-1])).all())


def table() -> NDArray[np.int16]:
    """The invoice machine's compiled table by the numbers of states and triggers; -1 where there is no such step."""
    leads = np.full((len(_STATES) + 1, len(_TRIGGERS) + 1), -1, dtype=np.int16)
    for (state, trigger), to in _MACHINE.table.items():
        leads[_STATES.index(state), _TRIGGERS.index(trigger)] = _STATES.index(to)
    return leads


def chained(
    first: Numbers, docs: Numbers, source: Numbers, fired: Numbers, led: Numbers
) -> tuple[Numbers, int | None]:
    """The last state of each document, and the first step that does not hold; None when all do.

    Steps stand document by document, each one's in order. One holds when it begins where the one before it ended
    (the first one in `first`), and the table leads it where it says.
    """
    if not len(docs):
        return first, None
    begins = np.concatenate(([True], docs[1:] != docs[:-1]))
    before = np.concatenate(([0], led[:-1]))
    before = np.where(begins, first[docs], before)
    holds = (source == before) & (table()[source, fired] == led) & (led >= 0)
    states = first.copy()
    ends = np.concatenate((begins[1:], [True]))
    states[docs[ends]] = led[ends]
    return states, None if holds.all() else int(np.flatnonzero(~holds)[0])


def _hold_states(duck: Any, led: Led) -> None:
    """Hold the states in `documents` against those to which their steps lead."""
    found = duck.execute(
        """SELECT code, enum_code(trim(rec_state, '"')::invoice_state)::SMALLINT AS state FROM documents
           WHERE starts_with(name, 'invoice/') AND rec_state IS NOT NULL"""
    ).fetchnumpy()
    apart = np.flatnonzero(led.states[found["code"]] != found["state"])
    if len(apart):
        (name, state) = duck.execute(
            "SELECT name, rec_state FROM documents WHERE code = ?", [int(found["code"][apart[0]])]
        ).fetchone()
        raise FoldedApartError(f"{name}: its last field says {state}, its steps lead to another state")
