"""The rows of the mirror that a pipeline has at hand: what its batches touched lately, with all that hangs on it.

One belongs to each pipeline. What was loaded once stays true for as long as nobody else writes the mirror, which the
system's head tells; only what is new is asked of the store: one query for each step of a walk over the relations, for
all rows of a batch together. After a failure, and when it holds too much, it starts over empty.
"""

from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from typing import Any

from psycopg import Cursor

from engine.flow.closure import Image, Relations, Root, Wanted
from engine.model.change import Row
from engine.ports.mapping import Amount, ErpMapping
from engine.ports.rows import KEY, Rows
from engine.store import mirror, sums
from engine.store.mirror import MirrorEntry

MOST_ROWS = 50_000
"""Rows that are kept at hand. A row takes two to three kilobytes of memory."""


class Neighbourhood:
    """Rows by key and by related value, with what was asked of the store already."""

    def __init__(self, system: str, mapping: ErpMapping, relations: Relations, most: int = MOST_ROWS) -> None:
        self._system = system
        self._mapping = mapping
        self._relations = relations
        self._most = most
        self._indexes = relations.indexed + [(spec.name, KEY) for spec in mapping.tables] + lookup_indexes(mapping)
        self._lookups: list[Image] | None = None
        self._mirrored = -1
        self.forget()

    def begin(self, mirrored: int) -> None:
        """A unit of work has begun; the mirror was written last by this batch."""
        if mirrored != self._mirrored:
            self.forget()
        self._mirrored = mirrored

    def wrote(self, batch: int) -> None:
        """What is at hand was written to the mirror by this batch, and will be true when it is committed."""
        self._mirrored = batch

    def forget(self) -> None:
        """Start over with nothing at hand; look-ups are read again too."""
        self._lookups = None
        self._clear()

    def _clear(self) -> None:
        self.rows = Rows(self._indexes)
        self.known: dict[mirror.Key, MirrorEntry | None] = {}
        self.sums: dict[Root, dict[str, Decimal]] = {}
        self._fetched: set[Wanted] = set()
        self._up: set[Wanted] = set()
        self._down: set[Wanted] = set()
        self._walked: dict[mirror.Key, tuple[Any, ...]] = {}
        self._amounts: dict[int, tuple[Row, list[tuple[Root, Amount]]]] = {}
        for table, key, row in self._lookups or ():
            self.rows.put(table, key, row)

    def make_ready(self, cursor: Cursor[Any]) -> None:
        """Before a batch: look-ups are there, and there is room."""
        if max(len(self.known), len(self._walked), len(self._amounts)) > self._most:
            self._clear()
        if self._lookups is None:
            tables = [spec.name for spec in self._mapping.tables if spec.lookup]
            self._lookups = mirror.load_tables(cursor, self._system, tables)
            for table, key, row in self._lookups:
                self.rows.put(table, key, row)

    def learn(self, cursor: Cursor[Any], names: Iterable[mirror.Key]) -> None:
        """Have these rows at hand, or know that the mirror has none."""
        ask = [name for name in dict.fromkeys(names) if name not in self.known]
        if not ask:
            return
        found = mirror.load_entries(cursor, self._system, ask)
        for name in ask:
            self._take(name, found.get(name))

    def reach(self, cursor: Cursor[Any], images: Iterable[Image], roots: Iterable[Root]) -> None:
        """Have at hand all rows that the documents which these rows lead to, and these documents, can be made of.

        A row whose related columns are as they were when it was walked from leads nowhere new.
        """
        fresh: list[Image] = []
        for image in images:
            table, key, row = image
            values = tuple([row.get(column) for column in self._relations.related.get(table, ())])
            if self._walked.get((table, key)) != values:
                self._walked[table, key] = values
                fresh.append(image)
        up = self._walk(cursor, fresh, self._up, self._relations.upward)
        tables = self._relations.root_tables
        self.learn(cursor, ((tables[kind], key) for kind, key in roots))
        for kind, key in roots:
            root = self.rows.get(tables[kind], key)
            if root is not None:
                fresh.append((tables[kind], key, root))
        starts = fresh + [image for image in up if image[0] in self._relations.roots]
        self._walk(cursor, starts, self._down, self._relations.downward)
        owners = [
            (self._relations.roots[image[0]], image[1]) for image in starts if image[0] in self._relations.roots
        ]
        self.learn_sums(cursor, (*owners, *roots))

    def learn_sums(self, cursor: Cursor[Any], roots: Iterable[Root]) -> None:
        """Have the sums of these documents at hand."""
        missing = [root for root in dict.fromkeys(roots) if root not in self.sums]
        if missing:
            loaded = sums.load_sums(cursor, self._system, missing)
            for root in missing:
                self.sums[root] = loaded.get(root, {})

    def amounts(self, table: str, row: Row, read: Callable[[str, Row], list[tuple[Root, Amount]]]) -> Any:
        """What a row adds to which sums; read once for each row."""
        held = self._amounts.get(id(row))
        if held is None or held[0] is not row:
            held = self._amounts[id(row)] = (row, read(table, row))
        return held[1]

    def _take(self, name: mirror.Key, entry: MirrorEntry | None) -> None:
        self.known[name] = entry
        if entry is not None and not entry.deleted:
            self.rows.put(*name, entry.row)

    def _walk(
        self,
        cursor: Cursor[Any],
        frontier: Sequence[Image],
        asked: set[Wanted],
        step: Callable[[Image], list[Wanted]],
    ) -> list[Image]:
        found: list[Image] = []
        while frontier:
            wanted = dict.fromkeys([want for image in frontier for want in step(image) if want not in asked])
            asked.update(wanted)
            self._fetch(cursor, [want for want in wanted if want not in self._fetched])
            frontier = [
                (table, key, row)
                for table, column, value in wanted
                for key, row in self.rows.where(table, column, value)
            ]
            found += frontier
        return found

    def _fetch(self, cursor: Cursor[Any], wanted: list[Wanted]) -> None:
        self._fetched.update(wanted)
        self.learn(cursor, [(table, value) for table, column, value in wanted if column == KEY])
        related = [want for want in wanted if want[1] != KEY]
        if related:
            for name, entry in mirror.load_related(cursor, self._system, related).items():
                if name not in self.known:
                    self._take(name, entry)


def lookup_indexes(mapping: ErpMapping) -> list[tuple[str, str]]:
    """Look-ups are small: every watched column of theirs can be asked for."""
    return [(spec.name, column) for spec in mapping.tables if spec.lookup for column in spec.watched]
