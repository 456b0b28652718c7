"""One batch of ERP transactions in memory: loads its neighbourhood, applies each unit, assembles what it touched.

The pipeline makes one for every unit of work. It decides nothing; it says what the ERP's word is now.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import msgspec
from psycopg import Cursor

from engine.flow.closure import Image, Relations, Root
from engine.flow.neighbourhood import Neighbourhood
from engine.model.change import Op, Position, Row, RowChange, Unit
from engine.model.columns import ColumnError
from engine.model.documents import Assembled
from engine.ports.errors import MappingError
from engine.ports.mapping import Amount, ErpMapping
from engine.ports.rows import natural
from engine.store import mirror
from engine.store.mirror import MirrorEntry

UNREADABLE = (MappingError, ColumnError, KeyError, TypeError)
"""What a mapping may raise about rows that it cannot understand: a column missing, or of another type."""


class Told(msgspec.Struct):
    """What a unit made of one document: assembled, gone (None), or unreadable with a reason and the rows at fault."""

    root: Root
    assembled: Assembled | None
    trouble: str | None = None
    rows: dict[str, dict[str, Row]] = {}


class Batch:
    """The mirror's neighbourhood of some units, changed step by step as they are applied."""

    def __init__(self, cursor: Cursor[Any], mapping: ErpMapping, relations: Relations, near: Neighbourhood) -> None:
        self._cursor = cursor
        self._mapping = mapping
        self._relations = relations
        self._near = near
        near.make_ready(cursor)
        self._summed = {spec.name for spec in mapping.tables if spec.summed}
        self._lookups = {spec.name for spec in mapping.tables if spec.lookup}
        self.rows = near.rows
        self.before: dict[mirror.Key, MirrorEntry | None] = {}
        self.after: dict[mirror.Key, MirrorEntry] = {}
        self.changed_sums: dict[tuple[Root, str], None] = {}
        self._unit_sums: set[Root] = set()

    def load(self, units: Iterable[Unit], roots: Iterable[Root] = ()) -> None:
        """Have at hand everything that applying these units, and assembling these documents, can need."""
        near = self._near
        changes = [change for unit in units for change in unit.changes]
        names = dict.fromkeys((change.table, change.key) for change in changes)
        near.learn(self._cursor, names)
        images: list[Image] = []
        for name in names:
            entry = self.before[name] = near.known[name]
            if entry is not None and not entry.deleted:
                images.append((*name, entry.row))
        images += [(change.table, change.key, change.row) for change in changes if change.op is not Op.DELETE]
        for table, key, row in images:
            # What a row adds to a sum is asked now, and rests on look-ups that may be as new as the row.
            if table in self._lookups and near.known[table, key] is None:
                self.rows.put(table, key, row)
        owed = {root: None for table, _, row in images for root, _ in self._amounts(table, row)}
        near.reach(self._cursor, images, [*roots, *owed])

    def apply(self, unit: Unit, *, retried: bool = False) -> list[Root]:
        """Bring the rows to where this unit leaves them; returns the documents that it touches, in order.

        A change that the mirror has seen already, or that is older than what it knows, changes nothing. Of one that
        is `retried` nobody knows the commit any more: its own place in the log says what it is older than.
        """
        images: list[Image] = []
        for change in unit.changes:
            self._apply_change(unit, change, images, retried=retried)
        touched = self._relations.touched_roots(images, self.rows)
        touched.update(dict.fromkeys(self._unit_sums))
        self._unit_sums.clear()
        return sorted(touched, key=lambda root: (root[0], natural(root[1])))

    def assemble(self, roots: Iterable[Root]) -> list[Told]:
        """The documents as the rows tell them now."""
        roots = list(roots)
        self._near.learn_sums(self._cursor, roots)
        told = []
        for root in roots:
            try:
                told.append(Told(root, self._mapping.assemble(*root, self.rows, self._near.sums[root])))
            except UNREADABLE as error:
                why = cannot_be_read(*root, error)
                told.append(Told(root, None, why, self._relations.rows_of(root, self.rows)))
        return told

    def sums_to_save(self) -> list[tuple[Root, str, Decimal]]:
        """Every sum that is different now."""
        return [(root, measure, self._near.sums[root][measure]) for root, measure in sorted(self.changed_sums)]

    def _apply_change(self, unit: Unit, change: RowChange, images: list[Image], *, retried: bool) -> None:
        """Take one change in; adds to `images` the rows from which the documents that it touches are found."""
        table, key = name = (change.table, change.key)
        known = self._near.known[name]
        commit = unit.commit if change.bordered or unit.snapshot else change.lsn
        if known is not None:
            at = known.position
            if retried:
                commit = max(commit, at.commit)
            if commit < at.commit or (commit == at.commit and change.lsn <= at.lsn):
                return
        old = None if known is None or known.deleted else known.row
        new = None if change.op is Op.DELETE else _whole_row(change, old)
        kept = new if new is not None else (old if old is not None else change.row)
        entry = MirrorEntry(kept, Position(commit, change.lsn), new is None, known.snapshot if known else None)
        if old is not None and (new is None or self._moves(table, old, new)):
            # Who it belonged to is asked before the row goes, while the others still point to it.
            images.append((table, key, old))
            before = self._relations.touched_roots([(table, key, old)], self.rows)
            images += [(self._relations.root_tables[root[0]], root[1], {}) for root in before]
        self.after[name] = self._near.known[name] = entry
        if new is None:
            self.rows.remove(table, key)
        else:
            self.rows.put(table, key, new)
            images.append((table, key, new))
        if table in self._summed:
            self._change_sums(table, old, new)

    def _moves(self, table: str, old: Row, new: Row) -> bool:
        """Whether the row hangs on other rows than before."""
        return any(old.get(column) != new.get(column) for column in self._relations.related.get(table, ()))

    def _amounts(self, table: str, row: Row | None) -> list[tuple[Root, Amount]]:
        if row is None or table not in self._summed:
            return []
        found: list[tuple[Root, Amount]] = self._near.amounts(table, row, self.read_amounts)
        return found

    def read_amounts(self, table: str, row: Row) -> list[tuple[Root, Amount]]:
        """What a row adds to which sums; nothing when it cannot be read: its documents say so themselves."""
        try:
            return [((a.kind, a.key), a) for a in self._mapping.amounts(table, row, self.rows)]
        except UNREADABLE:
            return []

    def _change_sums(self, table: str, old: Row | None, new: Row | None) -> None:
        before, now = self._amounts(table, old), self._amounts(table, new)
        if before == now:
            return
        for listed, sign in ((before, -1), (now, 1)):
            for root, amount in listed:
                self._near.learn_sums(self._cursor, (root,))
                held = self._near.sums[root]
                held[amount.measure] = held.get(amount.measure, Decimal(0)) + sign * amount.amount
                self.changed_sums[root, amount.measure] = None
                self._unit_sums.add(root)


def net_changes(unit: Unit) -> Unit:
    """The unit with one change for each row: its last. Nobody sees what a transaction wrote in between."""
    last = {(change.table, change.key): change for change in unit.changes}
    if len(last) == len(unit.changes) or any(change.unavailable for change in unit.changes):
        return unit
    return msgspec.structs.replace(unit, changes=tuple(sorted(last.values(), key=lambda change: change.lsn)))


def _whole_row(change: RowChange, old: Row | None) -> Row:
    """The after-image, with the columns that the log left out taken from what the mirror knows."""
    if not change.unavailable:
        return change.row
    return {**change.row, **{column: (old or {}).get(column) for column in change.unavailable}}


def cannot_be_read(kind: str, key: str, error: Exception) -> str:
    """What a mapping raised, as a sentence."""
    detail = f"column {error} is missing" if isinstance(error, KeyError) else str(error)
    return f"{kind} {key} cannot be read: {detail}"
