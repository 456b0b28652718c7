"""Many lives at a time as one stream of Debezium messages, with what a real stream has besides: repeats.

Benchmarks write it to Kafka topics or to a capture file. The same seed gives the same messages, byte for byte.
"""

import random
from bisect import bisect
from collections import Counter, deque
from collections.abc import Iterator
from itertools import accumulate

import msgspec

from benchmarks.workload.lives import Change, Keys, Life
from benchmarks.workload.tables import Row, customer, look_ups

Message = tuple[str, bytes, bytes]
"""(topic, key, value)"""

SERVER = "tryton"
_ENCODE = msgspec.json.Encoder().encode
_ACTIVE = 1_500
"""Invoices that something happens to at one time: activity is on recent documents."""
_DUPLICATE, _REDELIVERY = 0.01, 0.002
"""How often a row comes twice in its transaction, and how often the last transactions are delivered again."""


class Workload:
    """A seeded stream: first a snapshot, then lives without end."""

    def __init__(self, seed: int, *, customers: int = 1_000, active: int = _ACTIVE) -> None:
        self._rng = random.Random(seed)  # noqa: S311 - a workload, not a secret
        self._keys = Keys()
        self._customers = customers
        self._most_active = active
        # Zipf: the second customer has half of the first one's invoices, the third a third.
        self._weights = list(accumulate(1 / (rank + 1) for rank in range(customers)))
        self._tx, self._lsn = 8_400, 150_000_000
        self._active: list[Life] = []
        self._ended: Counter[tuple[str, str]] = Counter()
        self._recent: deque[list[Message]] = deque(maxlen=20)

    def snapshot(self) -> Iterator[Message]:
        """Reference data and customers, as an initial snapshot tells them."""
        rows = self.first_rows()
        for place, (table, row) in enumerate(rows):
            mark = "last" if place == len(rows) - 1 else "true"
            source = self._source(table, self._lsn, mark)
            yield _message(table, row["id"], {"before": None, "after": row, "source": source, "transaction": None,
                                              "op": "r", **self._moment()})  # fmt: skip

    def first_rows(self) -> list[tuple[str, Row]]:
        """(table, row) of everything that is there before the first invoice."""
        rows = look_ups()
        for party in range(1, self._customers + 1):
            rows += customer(party, 1_000 * (party % 50 + 1))
        return rows

    def transactions(self) -> Iterator[list[Message]]:
        """The messages of one ERP transaction after the other, borders included, repeats too."""
        while True:
            messages = self._transaction(self._step())
            self._recent.append(messages)
            yield messages
            if self._rng.random() < _REDELIVERY:
                yield from list(self._recent)[-self._rng.randrange(1, 20) :]

    def changes(self) -> Iterator[list[Change]]:
        """What one ERP transaction after the other writes, for a real database: nothing comes twice there."""
        while True:
            self._keys.now += self._rng.randrange(2_000, 40_000)
            yield self._step()

    def _step(self) -> list[Change]:
        """Something happens to one of the invoices that are under way, or to a new one."""
        if len(self._active) < self._most_active and (not self._active or self._rng.random() < 0.5):
            self._active.append(Life(self._rng, self._keys, self._party()))
            place = len(self._active) - 1
        else:
            place = self._rng.randrange(len(self._active))
        life = self._active[place]
        changes = list(life.step())
        if not life.steps:
            self._ended[life.outcome] += 1
            self._active[place] = self._active[-1]
            self._active.pop()
        return changes

    def states(self) -> dict[str, int]:
        """How many invoices stand in each state after the transactions that were taken so far."""
        counts: Counter[str] = Counter()
        for (state, _), number in (self._ended + Counter(life.outcome for life in self._active)).items():
            counts[state] += number
        return dict(counts)

    def open_total(self) -> str:
        """The sum of what is open."""
        from decimal import Decimal

        listed = self._ended + Counter(life.outcome for life in self._active)
        return str(sum((Decimal(amount) * number for (_, amount), number in listed.items()), Decimal(0)))

    def _party(self) -> int:
        return 1 + bisect(self._weights, self._rng.random() * self._weights[-1])

    def _transaction(self, changes: list[Change]) -> list[Message]:
        self._tx += 1
        self._keys.now += self._rng.randrange(2_000, 40_000)
        begin = self._lsn = self._lsn + 64
        messages = [self._border("BEGIN", begin, None, [])]
        tables: Counter[str] = Counter()
        for order, (table, op, before, after) in enumerate(changes, 1):
            self._lsn += 200 + 8 * self._rng.randrange(120)
            tables[table] += 1
            transaction = {"id": f"{self._tx}:{self._lsn}", "total_order": order,
                           "data_collection_order": tables[table]}  # fmt: skip
            value = {"before": before, "after": after, "source": self._source(table, self._lsn, "false"),
                     "transaction": transaction, "op": op, **self._moment()}  # fmt: skip
            row = after or before or {}
            messages.append(_message(table, row["id"], value))
            if self._rng.random() < _DUPLICATE:
                messages.append(messages[-1])
        self._lsn += 48
        messages.append(self._border("END", self._lsn, len(changes), list(tables.items())))
        return messages

    def _border(self, status: str, lsn: int, count: int | None, tables: list[tuple[str, int]]) -> Message:
        listed = [{"data_collection": f"public.{table}", "event_count": number} for table, number in tables]
        name = f"{self._tx}:{lsn}"
        value = {"status": status, "id": name, "event_count": count, "data_collections": listed or None,
                 "ts_ms": self._keys.now // 1_000}  # fmt: skip
        return f"{SERVER}.transaction", _ENCODE({"id": name}), _ENCODE(value)

    def _source(self, table: str, lsn: int, snapshot: str) -> Row:
        now = self._keys.now
        return {
            "version": "3.6.3.Final", "connector": "postgresql", "name": SERVER, "ts_ms": now // 1_000,
            "snapshot": snapshot, "db": SERVER, "sequence": f'["{self._lsn}","{lsn}"]', "ts_us": now,
            "ts_ns": now * 1_000, "schema": "public", "table": table, "txId": self._tx, "lsn": lsn, "xmin": None,
            "origin": None, "origin_lsn": None,
        }  # fmt: skip

    def _moment(self) -> Row:
        now = self._keys.now + 150_000
        return {"ts_ms": now // 1_000, "ts_us": now, "ts_ns": now * 1_000}


def _message(table: str, key: int, value: Row) -> Message:
    return f"{SERVER}.public.{table}", _ENCODE({"id": key}), _ENCODE(value)


def rows_of(workload: Workload, rows: int) -> Iterator[Message]:
    """Whole transactions until at least this many row changes were given."""
    given = 0
    for messages in workload.transactions():
        yield from messages
        given += len(messages) - 2
        if given >= rows:
            return
