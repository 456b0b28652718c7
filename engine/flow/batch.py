"""One batch of ERP transactions in memory: loads its neighbourhood, applies each unit, assembles what it touched.

The pipeline makes one for every unit of work. It decides nothing; it says what the ERP's word is now.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import msgspec
from psycopg import Cursor

from engine.flow.closure import Image, Loader, Relations, Root, Wanted
from engine.model.change import Op, Position, Row, RowChange, Unit
from engine.model.columns import ColumnError
from engine.model.documents import Assembled
from engine.ports.errors import MappingError
from engine.ports.mapping import ErpMapping
from engine.ports.rows import KEY, Rows, natural
from engine.store import mirror, sums
from engine.store.mirror import MirrorEntry

_UNREADABLE = (MappingError, ColumnError, KeyError, TypeError)
"""What a mapping may raise about rows that it cannot understand: a column missing, or of another type."""


class Told(msgspec.Struct):
    """What a unit made of one document: assembled, gone (None), or unreadable with a reason and the rows at fault."""

    root: Root
    assembled: Assembled | None
    trouble: str | None = None
    rows: dict[str, dict[str, Row]] = {}


class Batch:
    """The mirror's neighbourhood of some units, changed step by step as they are applied."""

    def __init__(
        self,
        cursor: Cursor[Any],
        system: str,
        mapping: ErpMapping,
        relations: Relations,
        lookups: Sequence[Image],
    ) -> None:
        self._cursor = cursor
        self._system = system
        self._mapping = mapping
        self._relations = relations
        self._summed = {spec.name for spec in mapping.tables if spec.summed}
        self.rows = Rows(relations.indexed + [(spec.name, KEY) for spec in mapping.tables] + lookup_indexes(mapping))
        for table, key, row in lookups:
            self.rows.put(table, key, row)
        self.before: dict[mirror.Key, MirrorEntry] = {}
        self.after: dict[mirror.Key, MirrorEntry] = {}
        self._sums: dict[Root, dict[str, Decimal]] = {}
        self.changed_sums: set[tuple[Root, str]] = set()
        self._unit_sums: set[tuple[Root, str]] = set()

    def load(self, units: Iterable[Unit], roots: Iterable[Root] = ()) -> None:
        """Read everything that applying these units, and assembling these documents, can need."""
        changes = [change for unit in units for change in unit.changes]
        self.before = mirror.load_entries(
            self._cursor, self._system, ((change.table, change.key) for change in changes)
        )
        stored = [(table, key, e.row) for (table, key), e in self.before.items() if not e.deleted]
        future = [(change.table, change.key, change.row) for change in changes if change.op is not Op.DELETE]
        owed = {root for table, _, row in (*stored, *future) for root, _, _ in self._amounts(table, row)}
        loaded = Loader(self._relations, self._fetch).load(stored, future, [*roots, *sorted(owed)])
        for table, key, row in loaded:
            if (table, key) not in self.before or not self.before[table, key].deleted:
                self.rows.put(table, key, row)

    def apply(self, unit: Unit) -> list[Root]:
        """Bring the rows to where this unit leaves them; returns the documents that it touches, in order.

        A change that the mirror has seen already, or that is older than what it knows, changes nothing.
        """
        touched: dict[Root, None] = {}
        images: list[Image] = []
        for change in unit.changes:
            image = self._apply_change(unit, change)
            if image is not None:
                images += image
        touched.update(self._relations.touched_roots(images, self.rows))
        touched.update({root: None for root, _ in self._unit_sums})
        self._unit_sums.clear()
        return sorted(touched, key=lambda root: (root[0], natural(root[1])))

    def assemble(self, roots: Iterable[Root]) -> list[Told]:
        """The documents as the rows tell them now."""
        roots = list(roots)
        missing = [root for root in roots if root not in self._sums]
        if missing:
            loaded = sums.load_sums(self._cursor, self._system, missing)
            for root in missing:
                self._sums[root] = loaded.get(root, {})
        told = []
        for root in roots:
            try:
                told.append(Told(root, self._mapping.assemble(*root, self.rows, self._sums[root])))
            except _UNREADABLE as error:
                told.append(Told(root, None, _sentence(root, error), self._relations.rows_of(root, self.rows)))
        return told

    def sums_to_save(self) -> list[tuple[Root, str, Decimal]]:
        """Every sum that is different now."""
        return [(root, measure, self._sums[root][measure]) for root, measure in sorted(self.changed_sums)]

    def _apply_change(self, unit: Unit, change: RowChange) -> list[Image] | None:
        name = (change.table, change.key)
        known = self.after.get(name) or self.before.get(name)
        position = Position(unit.commit if change.bordered or unit.snapshot else change.lsn, change.lsn)
        if known is not None and position <= known.position:
            return None
        old = None if known is None or known.deleted else known.row
        new = None if change.op is Op.DELETE else _whole_row(change, old)
        kept = new if new is not None else (old if old is not None else change.row)
        self.after[name] = MirrorEntry(kept, position, new is None, known.snapshot if known else None)
        self._add_amounts(change.table, old, -1)
        images: list[Image] = [] if old is None else [(change.table, change.key, old)]
        if old is not None:
            # Who it belonged to is asked before the row goes, while the others still point to it.
            images += [
                (self._root_table(root), root[1], {}) for root in self._relations.touched_roots(images, self.rows)
            ]
        if new is None:
            self.rows.remove(change.table, change.key)
        else:
            self.rows.put(change.table, change.key, new)
            images.append((change.table, change.key, new))
        self._add_amounts(change.table, new, 1)
        return images

    def _root_table(self, root: Root) -> str:
        return next(table for table, kind in self._relations.roots.items() if kind is root[0])

    def _amounts(self, table: str, row: Row | None) -> list[tuple[Root, str, Decimal]]:
        """What a row adds to which sums; nothing when it cannot be read: its documents say so themselves."""
        if row is None or table not in self._summed:
            return []
        try:
            return [((a.kind, a.key), a.measure, a.amount) for a in self._mapping.amounts(table, row, self.rows)]
        except _UNREADABLE:
            return []

    def _add_amounts(self, table: str, row: Row | None, sign: int) -> None:
        for root, measure, amount in self._amounts(table, row):
            if root not in self._sums:
                self._sums[root] = sums.load_sums(self._cursor, self._system, [root]).get(root, {})
            self._sums[root][measure] = self._sums[root].get(measure, Decimal(0)) + sign * amount
            self.changed_sums.add((root, measure))
            self._unit_sums.add((root, measure))

    def _fetch(self, wanted: set[Wanted]) -> list[Image]:
        keys = [(table, value) for table, column, value in wanted if column == KEY]
        related = [want for want in wanted if want[1] != KEY]
        found = list(mirror.load_rows(self._cursor, self._system, keys)) if keys else []
        return found + (mirror.load_related(self._cursor, self._system, related) if related else [])


def lookup_indexes(mapping: ErpMapping) -> list[tuple[str, str]]:
    """Look-ups are small: every watched column of theirs can be asked for."""
    return [(spec.name, column) for spec in mapping.tables if spec.lookup for column in spec.watched]


def _whole_row(change: RowChange, old: Row | None) -> Row:
    """The after-image, with the columns that the log left out taken from what the mirror knows."""
    if not change.unavailable:
        return change.row
    return {**change.row, **{column: (old or {}).get(column) for column in change.unavailable}}


def _sentence(root: Root, error: Exception) -> str:
    detail = f"column {error} is missing" if isinstance(error, KeyError) else str(error)
    return f"{root[0]} {root[1]} cannot be read: {detail}"
