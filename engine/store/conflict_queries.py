"""What is listed and counted of conflicts: selected, sorted and paged by the database, over its indexes.

`engine.app.verbs.conflicts` and the analyst's screen call it. Records come out as the text that the store holds, so
that a long list is never taken apart and put together again on its way.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, Literal

import msgspec
from psycopg import Cursor, sql

OPEN = ("detected", "held", "chosen")
Sort = Literal["age", "amount", "kind", "customer"]
Group = Literal["kind", "system", "customer", "state", "assignee", "company"]
_SORTS = {
    "age": "detected_at, id",
    "amount": "amount DESC NULLS LAST, detected_at, id",
    "kind": "kind, detected_at, id",
    "customer": "customer NULLS LAST, detected_at, id",
}
_BACKWARDS = {
    "age": "detected_at DESC, id DESC",
    "amount": "amount NULLS FIRST, detected_at DESC, id DESC",
    "kind": "kind DESC, detected_at DESC, id DESC",
    "customer": "customer DESC NULLS FIRST, detected_at DESC, id DESC",
}


class Wanted(msgspec.Struct, frozen=True):
    """Which conflicts: those for which everything that is given fits. Empty `states` are all states."""

    states: tuple[str, ...] = OPEN
    kinds: tuple[str, ...] = ()
    system: str | None = None
    customer: str | None = None
    company: str | None = None
    currency: str | None = None
    assignee: str | None = None
    unassigned: bool = False
    intent: str | None = None
    document: str | None = None
    ids: tuple[str, ...] = ()
    before: dt.datetime | None = None
    since: dt.datetime | None = None
    least: Decimal | None = None
    most: Decimal | None = None


class Line(msgspec.Struct, frozen=True):
    """One conflict as a list shows it."""

    system: str
    id: str
    kind: str
    state: str
    detected_at: dt.datetime
    amount: Decimal | None
    currency: str | None
    customer: str | None
    intent: str | None
    assignee: str | None
    choice: str | None
    sentence: str


def lines(
    cursor: Cursor[Any], wanted: Wanted, *, sort: Sort = "age", backwards: bool = False, limit: int | None = 50,
    offset: int = 0,
) -> list[Line]:  # fmt: skip
    """A page of conflicts for people."""
    columns = (
        "system, id, kind, state, detected_at, amount, currency, customer, intent, assignee, "
        "record ->> 'choice', record ->> 'sentence'"
    )
    cursor.execute(*_select(columns, wanted, sort, limit, offset, backwards=backwards))
    return [Line(*row) for row in cursor]


def documents(
    cursor: Cursor[Any], wanted: Wanted, *, sort: Sort = "age", backwards: bool = False, limit: int | None = 50,
    offset: int = 0,
) -> Iterator[str]:  # fmt: skip
    """A page of whole conflicts, each a JSON object: the record with `system` and `assignee`."""
    columns = """'{"system": ' || to_json(system)::text || ', "assignee": '
                 || coalesce(to_json(assignee)::text, 'null') || ', ' || substr(record::text, 2)"""
    cursor.execute(*_select(columns, wanted, sort, limit, offset, backwards=backwards))
    return (str(row[0]) for row in cursor.fetchall())


def count(cursor: Cursor[Any], wanted: Wanted) -> int:
    """How many there are."""
    where, values = _where(wanted)
    row = cursor.execute(sql.SQL("SELECT count(*) FROM conflict {}").format(where), values).fetchone()
    return int(row[0]) if row else 0


Counted = tuple[str | None, int, dict[str, str], dt.datetime]


def groups(cursor: Cursor[Any], wanted: Wanted, by: Group) -> list[Counted]:
    """For each group its count, the money at stake by currency, and since when the oldest stands; most first."""
    where, values = _where(wanted)
    cursor.execute(
        sql.SQL(
            """SELECT {by}, currency, count(*), sum(amount), min(detected_at) FROM conflict {where} GROUP BY 1, 2"""
        ).format(by=sql.Identifier(by), where=where),
        values,
    )
    found: dict[str | None, tuple[int, dict[str, str], dt.datetime]] = {}
    for name, currency, number, money, oldest in cursor:
        known, amounts, since = found.get(name, (0, {}, oldest))
        if currency is not None and money is not None:
            amounts = {**amounts, currency: str(money)}
        found[name] = (known + number, amounts, min(since, oldest))
    ordered = sorted(found.items(), key=lambda item: (-item[1][0], str(item[0])))
    return [(name, *rest) for name, rest in ordered]


def stats(cursor: Cursor[Any], wanted: Wanted, now: dt.datetime) -> dict[str, Any]:
    """Counts by kind and state, money at stake, ages of what is open, and how long people took, in seconds."""
    where, values = _where(msgspec.structs.replace(wanted, states=()))
    cursor.execute(
        sql.SQL(
            """SELECT kind, state, currency, count(*), sum(amount), min(detected_at),
                      count(*) FILTER (WHERE detected_at > %(now)s - interval '1 hour'),
                      count(*) FILTER (WHERE detected_at > %(now)s - interval '1 day'),
                      count(*) FILTER (WHERE detected_at > %(now)s - interval '7 days')
               FROM conflict {where} GROUP BY 1, 2, 3"""
        ).format(where=where),
        {**values, "now": now},
    )
    totals = _Totals()
    for row in cursor:
        totals.add(*row)
    cursor.execute(
        sql.SQL(
            """SELECT kind, count(*), percentile_cont(ARRAY[0.5, 0.9]) WITHIN GROUP (
                        ORDER BY extract(epoch FROM ended_at - detected_at))
               FROM conflict {where} GROUP BY 1 ORDER BY 1"""
        ).format(where=_and(where, "ended_at > detected_at")),
        values,
    )
    took = {kind: {"count": number, "median": median, "p90": p90} for kind, number, (median, p90) in cursor}
    return {**totals.told(now), "resolved_by_people_seconds": took}


class _Totals:
    """Adds the database's groups up."""

    def __init__(self) -> None:
        self.kinds: dict[str, dict[str, int]] = {}
        self.states: dict[str, int] = {}
        self.money: dict[str, Decimal] = {}
        self.ages = {"under an hour": 0, "under a day": 0, "under a week": 0, "older": 0}
        self.oldest: dt.datetime | None = None

    def add(
        self, kind: str, state: str, currency: str | None, number: int, money: Decimal | None, oldest: dt.datetime,
        hour: int, day: int, week: int,
    ) -> None:  # fmt: skip
        of_kind = self.kinds.setdefault(kind, {})
        of_kind[state] = of_kind.get(state, 0) + number
        self.states[state] = self.states.get(state, 0) + number
        if state not in OPEN:
            return
        if currency is not None and money is not None:
            self.money[currency] = self.money.get(currency, Decimal(0)) + money
        for name, part in zip(self.ages, (hour, day - hour, week - day, number - week), strict=True):
            self.ages[name] += part
        self.oldest = min(self.oldest or oldest, oldest)

    def told(self, now: dt.datetime) -> dict[str, Any]:
        return {
            "open": sum(self.states.get(state, 0) for state in OPEN),
            "states": dict(sorted(self.states.items())),
            "kinds": {kind: dict(sorted(states.items())) for kind, states in sorted(self.kinds.items())},
            "money_at_stake": {currency: str(amount) for currency, amount in sorted(self.money.items())},
            "ages": self.ages,
            "oldest_seconds": int((now - self.oldest).total_seconds()) if self.oldest else None,
        }


def resolve_id(cursor: Cursor[Any], given: str, system: str | None) -> list[tuple[str, str]]:
    """(system, id) of the conflicts whose id begins with what was typed."""
    cursor.execute(
        """SELECT system, id FROM conflict WHERE id LIKE %s AND (%s::text IS NULL OR system = %s)
           ORDER BY 2, 1 LIMIT 3""",
        (given.replace("%", "").replace("_", "") + "%", system, system),
    )
    return [(str(owner), str(id_)) for owner, id_ in cursor]


def _select(
    columns: str, wanted: Wanted, sort: Sort, limit: int | None, offset: int, *, backwards: bool
) -> tuple[sql.Composed, dict[str, Any]]:
    where, values = _where(wanted)
    order = (_BACKWARDS if backwards else _SORTS)[sort]
    query = sql.SQL("SELECT {columns} FROM conflict {where} ORDER BY {order} LIMIT %(limit)s OFFSET %(offset)s")
    composed = query.format(columns=sql.SQL(columns), where=where, order=sql.SQL(order))
    return composed, {**values, "limit": limit, "offset": offset}


def _where(wanted: Wanted) -> tuple[sql.Composed, dict[str, Any]]:
    tests: list[sql.SQL] = []
    values: dict[str, Any] = {}

    def test(condition: sql.SQL, name: str, value: object) -> None:
        if value not in (None, (), False):
            tests.append(condition)
            values[name] = list(value) if isinstance(value, tuple) else value

    if set(wanted.states) == set(OPEN):
        # Word for word as the partial indexes have it.
        tests.append(sql.SQL("state IN ('detected', 'held', 'chosen')"))
    else:
        test(sql.SQL("state = ANY(%(states)s)"), "states", wanted.states)
    test(sql.SQL("kind = ANY(%(kinds)s)"), "kinds", wanted.kinds)
    test(sql.SQL("id = ANY(%(ids)s)"), "ids", wanted.ids)
    for name in ("system", "customer", "company", "currency", "assignee", "intent", "document"):
        test(sql.SQL(f"{name} = %({name})s"), name, getattr(wanted, name))
    test(sql.SQL("assignee IS NULL"), "unassigned", wanted.unassigned)
    test(sql.SQL("detected_at < %(before)s"), "before", wanted.before)
    test(sql.SQL("detected_at >= %(since)s"), "since", wanted.since)
    test(sql.SQL("amount >= %(least)s"), "least", wanted.least)
    test(sql.SQL("amount <= %(most)s"), "most", wanted.most)
    return sql.SQL("WHERE {}").format(sql.SQL(" AND ").join(tests)) if tests else sql.Composed([]), values


def _and(where: sql.Composed, condition: str) -> sql.Composed:
    more = sql.SQL(condition)
    return (
        sql.Composed([where, sql.SQL(" AND "), more]) if where.as_string(None) else sql.SQL("WHERE {}").format(more)
    )


def notes(cursor: Cursor[Any], system: str, conflict: str) -> list[tuple[dt.datetime, str, str]]:
    """(time, who, what) of everything that was said about a conflict."""
    cursor.execute(
        "SELECT at, actor, text FROM conflict_note WHERE system = %s AND conflict = %s ORDER BY id",
        (system, conflict),
    )
    return [(at, str(actor), str(text)) for at, actor, text in cursor]


def assignee_of(cursor: Cursor[Any], system: str, conflict: str) -> str | None:
    """Who works on it."""
    row = cursor.execute("SELECT assignee FROM conflict WHERE system = %s AND id = %s", (system, conflict)).fetchone()
    return str(row[0]) if row and row[0] is not None else None


def steps_of(cursor: Cursor[Any], system: str, names: Sequence[str]) -> list[tuple[Any, ...]]:
    """(time, document, trigger, from, to, reason, position) of the steps of these documents."""
    return cursor.execute(
        """SELECT at, document, trigger, source, destination, reason, commit_lsn FROM transition
           WHERE system = %s AND document = ANY(%s) ORDER BY at, document, seq""",
        (system, list(names)),
    ).fetchall()


def journalled(
    cursor: Cursor[Any], stream: str, since: dt.datetime, until: dt.datetime, name: str, most: int = 20_000
) -> list[tuple[dt.datetime, str, str]]:
    """(time, kind, body) of a stream's entries between two times that name a command, intent or conflict.

    The stream is entered by bisection over its sequence, for times rise with it; at most `most` entries are read.
    """
    row = cursor.execute("SELECT seq FROM stream_head WHERE stream = %s", (stream,)).fetchone()
    low, high = 1, int(row[0]) if row else 0
    while low < high:
        middle = (low + high) // 2
        at = cursor.execute("SELECT at FROM journal WHERE stream = %s AND seq = %s", (stream, middle)).fetchone()
        if at is not None and at[0] >= since:
            high = middle
        else:
            low = middle + 1
    cursor.execute(
        """SELECT at, kind, body FROM (
             SELECT seq, at, kind, body FROM journal WHERE stream = %s AND seq >= %s ORDER BY seq LIMIT %s) part
           WHERE at <= %s AND body LIKE %s ORDER BY seq""",
        (stream, low, most, until, f'%"{name}"%'),
    )
    return [(at, str(kind), str(body)) for at, kind, body in cursor]
