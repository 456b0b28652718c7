"""Folds an archive's steps over all documents at once, in columns: no JSON is read, no record is made.

`looking` and the benchmark call it. A field is what the last step before the moment left. Of a part that lies before
the moment as a whole only its `lasts` are read, of the others their steps. The states are folded apart from that, out
of every step, by numpy with the machines' compiled tables, and must come out the same.
"""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.store.archive import Part, open_duckdb
from engine.store.steps import BUCKETS, COLUMNS, NO_ROWS, POSITION, lasts_sql
from statemachines import MACHINES

AT_ONCE = 1_000_000
"""Rows that are folded in one go, about; of more, some buckets after the others, so that memory stays bounded."""

_MACHINE = MACHINES["invoice"]
_STATES, _TRIGGERS = list(_MACHINE.state_names), list(_MACHINE.triggers)
Numbers = NDArray[np.int64]


class Until(msgspec.Struct, frozen=True):
    """Up to when entries count, both included; None for all that there are.

    A time means the last batch with an entry of then or before, and all before it: what was decided on something
    else comes after that also where two clocks differ.
    """

    batch: int | None = None
    at: dt.datetime | None = None

    @property
    def where(self) -> str:
        """As a condition on an entry."""
        if self.batch is not None:
            return f"batch <= {self.batch}"
        if self.at is not None:
            return f"\"at\" <= TIMESTAMP '{self.at.astimezone(dt.UTC).replace(tzinfo=None).isoformat(sep=' ')}'"
        return "true"


class FoldedApartError(RuntimeError):
    """A document's state is not the one to which its steps lead by the machine's table."""


def fold_documents(
    duck: Any, parts: Sequence[Part], until: Until, moves: Sequence[str] = (), begun: Mapping[str, str] | None = None
) -> Iterator[int]:
    """Make the table `documents`, some buckets at a time: for each document the last text of every field, and
    its guard.

    Gives the number of documents each time that the table holds the next ones. With the files of `moves` their states
    are led through the machine's table too; `begun` are those at the checkpoint where the steps begin, by name.

    Raises:
        FoldedApartError: the table leads to other states.
    """
    if not parts:
        return
    until = _by_batch(duck, [part.entries for part in parts], until)
    lasts, cut = _chosen(parts, until)
    files = [*lasts, *(file for group in cut for file in group)]
    if not files:
        return
    (count,) = duck.execute("SELECT count(*) FROM read_parquet(?)", [files]).fetchone()
    abreast = max(1, min(BUCKETS, BUCKETS * AT_ONCE // max(1, count)))
    for bucket in range(0, BUCKETS, abreast):
        where = f"bucket BETWEEN {bucket} AND {bucket + abreast - 1}"
        number = _put_documents(duck, lasts, cut, where, until)
        if moves:
            _hold_states(duck, _lead(duck, moves, f"{where} AND {until.where}", number, begun or {}))
        yield number


def _by_batch(duck: Any, files: Sequence[str], until: Until) -> Until:
    """The same moment as a batch, or None for all."""
    if until.at is None:
        return until
    (batch,) = duck.execute(
        f"SELECT max(batch) FROM read_parquet(?, hive_partitioning = false) WHERE {until.where}",  # noqa: S608
        [list(files)],
    ).fetchone()
    return Until(batch=batch or 0)


def _chosen(parts: Sequence[Part], until: Until) -> tuple[list[str], list[list[str]]]:
    """The files of `lasts` that stand for their parts, and those of steps for the others, in groups.

    They stand for one that ends before the moment and has no batch between its own in another part (a part is cut by
    month): of two such parts a field's last value could be in either, so that these are folded together.
    """
    lasts: list[str] = []
    groups: list[list[str]] = []
    begun = [part for part in parts if until.batch is None or part.first <= until.batch]
    open_: list[Part] = []
    for part in sorted(begun, key=lambda one: one.first):
        if open_ and part.first > max(one.last for one in open_):
            _close(open_, until, lasts, groups)
            open_ = []
        open_.append(part)
    _close(open_, until, lasts, groups)
    return lasts, groups


def _close(group: list[Part], until: Until, lasts: list[str], groups: list[list[str]]) -> None:
    """Put a group of parts whose batches are interleaved where it is to be read."""
    whole = until.batch is None or all(part.last <= until.batch for part in group)
    if len(group) == 1 and group[0].lasts is not None and whole:
        lasts.append(group[0].lasts)
    elif group:
        groups.append([part.steps for part in group])


def _read(files: str) -> str:
    return f"read_parquet({files}, hive_partitioning = false, union_by_name = true)"


def _whole(files: str) -> str:
    return f"SELECT * FROM {_read(files)} UNION ALL BY NAME {NO_ROWS}"  # noqa: S608


def _lack_columns(duck: Any, files: Sequence[str]) -> bool:
    """Whether any of these files is of an earlier version, which did not know every field of today."""
    if not files:
        return False
    found = duck.execute("SELECT file_name, list(name) FROM parquet_schema(?) GROUP BY file_name", [list(files)])
    return any(not set(COLUMNS) <= set(names) for _, names in found.fetchall())


def _put_documents(duck: Any, lasts: list[str], cut: list[list[str]], where: str, until: Until) -> int:
    """Make the table `documents`; gives their number. Most of them stand in one file only, and are copied from it."""
    told = _whole("$lasts") if _lack_columns(duck, lasts) else f"SELECT * FROM {_read('$lasts')}"  # noqa: S608
    for place, group in enumerate(cut):
        rows = _whole("$cut") if _lack_columns(duck, group) else f"SELECT * FROM {_read('$cut')}"  # noqa: S608
        files = f"(SELECT * FROM ({rows}) WHERE {where} AND {until.where})"  # noqa: S608
        into = "INSERT INTO cut" if place else "CREATE OR REPLACE TABLE cut AS"
        duck.execute(f"{into} {lasts_sql(files)}", {"cut": group})
    if cut:
        told = f"{told} UNION ALL BY NAME SELECT * FROM cut" if lasts else "SELECT * FROM cut"  # noqa: S608
    files_of = {"lasts": lasts} if lasts else {}
    told = f"(SELECT * FROM ({told}) WHERE {where})"  # noqa: S608 - names of this file
    duck.execute(
        f"CREATE OR REPLACE TABLE often AS SELECT name FROM {told} GROUP BY name HAVING count(*) > 1",  # noqa: S608
        files_of,
    )
    duck.execute(
        f"CREATE OR REPLACE TABLE several AS SELECT * FROM {told} WHERE name IN (FROM often)",  # noqa: S608
        files_of,
    )
    duck.execute(
        f"""CREATE OR REPLACE TABLE documents AS
            SELECT name, guard, {", ".join(COLUMNS)} FROM (
                SELECT * FROM {told} WHERE name NOT IN (FROM often) UNION ALL BY NAME {lasts_sql("several")})""",  # noqa: S608
        files_of,
    )
    (number,) = duck.execute("SELECT count(*) FROM documents").fetchone()
    return int(number)


class Led(msgspec.Struct):
    """The state of every document by its row in the table `documents`, and how many steps led there."""

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
            f"""CREATE TABLE documents AS SELECT name FROM (
                SELECT DISTINCT 'invoice/' || subject AS name FROM read_parquet(?, hive_partitioning = false)
                WHERE machine = 'invoice' AND {until.where})""",  # noqa: S608
            [list(moves)],
        )
        names = [str(name) for (name,) in duck.execute("SELECT name FROM documents ORDER BY rowid").fetchall()]
        named = {f"invoice/{key}": state for key, state in begun.items()}
        led = _lead(duck, moves, until.where, len(names), named)
    found = zip(names, led.states.tolist(), strict=True)
    return begun | {name.removeprefix("invoice/"): _STATES[state] for name, state in found}


def _lead(duck: Any, moves: Sequence[str], where: str, count: int, begun: Mapping[str, str]) -> Led:
    """Lead every invoice in `documents` through the table."""
    first = np.full(count, _STATES.index(_MACHINE.initial), dtype=np.int64)
    for name, code in duck.execute("SELECT name, rowid FROM documents").fetchall() if begun else ():
        first[code] = _STATES.index(begun.get(name, str(_MACHINE.initial)))
    _types(duck)
    found = duck.execute(
        f"""SELECT coalesce(code, -1) AS code, {POSITION} AS pos, number,
                   {_code("source", "state")}, {_code("trigger", "trigger")}, {_code("destination", "state")}
            FROM read_parquet(?, hive_partitioning = false)
            LEFT JOIN (SELECT rowid AS code, name FROM documents) ON name = 'invoice/' || subject
            WHERE machine = 'invoice' AND {where}""",  # noqa: S608 - names of this file
        [list(moves)],
    ).fetchnumpy()
    docs = found["code"].astype(np.int64)
    if (docs < 0).any():
        raise FoldedApartError("an invoice has steps, and no entry tells what they left different")
    order = _ordered(docs, found["pos"], found["number"], count)
    source, fired, led = (found[name][order] for name in ("source", "trigger", "destination"))
    states, wrong = chained(first, docs[order], source, fired, led)
    if wrong is not None:
        (name,) = duck.execute("SELECT name FROM documents WHERE rowid = ?", [int(docs[order][wrong])]).fetchone()
        step, to = ([*words, "an unknown one"][one[wrong]] for words, one in ((_TRIGGERS, fired), (_STATES, led)))
        raise FoldedApartError(f"{name}: {step} does not lead to {to} by the machine's table")
    return Led(states, len(docs))


def _types(duck: Any) -> None:
    for name, words in (("state", _STATES), ("trigger", _TRIGGERS)):
        listed = ", ".join(f"'{word}'" for word in words)
        duck.execute(f"CREATE TYPE IF NOT EXISTS invoice_{name} AS ENUM ({listed})")


def _code(field: str, of: str) -> str:
    return f"coalesce(enum_code(TRY_CAST({field} AS invoice_{of}))::SMALLINT, -1) AS {field}"


def _ordered(docs: Numbers, pos: Numbers, number: Numbers, count: int) -> Numbers:
    """The steps document by document, each one's in the journal's order. They come nearly so."""
    order = np.argsort(docs.astype(np.uint16) if count < 1 << 16 else docs, kind="stable")
    of, at, place = docs[order], pos[order], number[order]
    later = (at[1:] > at[:-1]) | ((at[1:] == at[:-1]) & (place[1:] > place[:-1]))
    astray = np.zeros(count + 1, dtype=bool)
    astray[of[1:][~later & (of[1:] == of[:-1])]] = True
    again = np.flatnonzero(astray[of])
    order[again] = order[again][np.lexsort((place[again], at[again], of[again]))]
    return order


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
        """SELECT rowid AS code, enum_code(trim(rec_state, '"')::invoice_state)::SMALLINT AS state FROM documents
           WHERE starts_with(name, 'invoice/') AND rec_state IS NOT NULL"""
    ).fetchnumpy()
    apart = np.flatnonzero(led.states[found["code"]] != found["state"])
    if len(apart):
        (name, state) = duck.execute(
            "SELECT name, rec_state FROM documents WHERE rowid = ?", [int(found["code"][apart[0]])]
        ).fetchone()
        raise FoldedApartError(f"{name}: its last field says {state}, its steps lead to another state")
