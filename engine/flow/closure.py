"""Finds what hangs together: which documents a changed row touches, and all rows that those documents are made of.

Walks the relations that a mapping declares, backward to the roots and forward from them, with one query for each
step over all rows of a batch.
"""

from collections.abc import Callable, Iterable
from typing import Any

from engine.model.change import Row
from engine.model.documents import DocumentKind
from engine.ports.mapping import ErpMapping, Relation
from engine.ports.rows import KEY, Rows

Image = tuple[str, str, Row]
"""(table, key, row)"""
Wanted = tuple[str, str, str]
"""(table, column, value); the column may be `KEY`"""
Root = tuple[DocumentKind, str]


class Relations:
    """A mapping's relations, ready to be walked in both directions."""

    def __init__(self, mapping: ErpMapping) -> None:
        self.roots = dict(mapping.roots)
        self.forward: dict[str, list[Relation]] = {}
        self.backward: dict[str, list[Relation]] = {}
        for relation in mapping.relations:
            self.forward.setdefault(relation.table, []).append(relation)
            self.backward.setdefault(relation.to_table, []).append(relation)
        self.indexed = [(r.table, r.column) for r in mapping.relations]
        self.indexed += [(r.to_table, r.to_column) for r in mapping.relations]

    def columns(self) -> dict[str, tuple[str, ...]]:
        """The related columns of each table, without the key."""
        columns: dict[str, dict[str, None]] = {}
        for table, column in self.indexed:
            if column != KEY:
                columns.setdefault(table, {})[column] = None
        return {table: tuple(names) for table, names in columns.items()}

    def touched_roots(self, images: Iterable[Image], rows: Rows) -> dict[Root, None]:
        """The documents that these rows belong to, as the rows in memory hang together now."""
        roots: dict[Root, None] = {}
        seen: set[tuple[str, str]] = set()
        frontier = list(images)
        while frontier:
            table, key, row = frontier.pop()
            if table in self.roots:
                roots[self.roots[table], key] = None
            for relation in self.backward.get(table, ()):
                value = key if relation.to_column == KEY else row.get(relation.to_column)
                for found_key, found in rows.where(relation.table, relation.column, value):
                    if (relation.table, found_key) not in seen:
                        seen.add((relation.table, found_key))
                        frontier.append((relation.table, found_key, found))
        return roots

    def rows_of(self, root: Root, rows: Rows) -> dict[str, dict[str, Row]]:
        """The rows in memory that this document is made of, by table and key; look-ups are not among them."""
        found: dict[str, dict[str, Row]] = {}
        table = next(name for name, kind in self.roots.items() if kind is root[0])
        frontier: list[Image] = [(table, key, row) for key, row in rows.where(table, KEY, root[1])]
        while frontier:
            table, key, row = frontier.pop()
            if key in found.setdefault(table, {}):
                continue
            found[table][key] = row
            for relation in self.forward.get(table, ()):
                value = key if relation.column == KEY else row.get(relation.column)
                near = rows.where(relation.to_table, relation.to_column, value)
                frontier += [(relation.to_table, to, other) for to, other in near]
        return found


class Loader:
    """Loads one batch's neighbourhood. `fetch` answers a set of wanted rows from the mirror."""

    def __init__(self, relations: Relations, fetch: Callable[[set[Wanted]], Iterable[Image]]) -> None:
        self._relations = relations
        self._fetch = fetch
        self._asked: set[Wanted] = set()
        self._future: dict[Wanted, list[Image]] = {}

    def load(self, stored: Iterable[Image], future: Iterable[Image], roots: Iterable[Root] = ()) -> list[Image]:
        """Every stored row that assembling the touched documents can need.

        Args:
            stored: rows of the mirror that the batch will change, as they stand.
            future: rows as the batch will leave them, at any point within it.
            roots: documents to load besides those that the rows lead to.
        """
        loaded: dict[tuple[str, str], Image] = {(table, key): (table, key, row) for table, key, row in stored}
        future = list(future)
        indexed: dict[str, set[str]] = {}
        for table, column in self._relations.indexed:
            indexed.setdefault(table, set()).add(column)
        for image in future:
            for column in indexed.get(image[0], ()):
                value = image[1] if column == KEY else image[2].get(column)
                if value is not None:
                    self._future.setdefault((image[0], column, str(value)), []).append(image)
        images = [*loaded.values(), *future]
        up = self._walk(images, loaded, self._backward)
        tables = {kind: table for table, kind in self._relations.roots.items()}
        wanted = {(tables[kind], KEY, key) for kind, key in roots}
        starts = [image for image in (*images, *up) if image[0] in self._relations.roots]
        starts += self._answer(wanted, loaded)
        self._walk(starts, loaded, self._forward)
        return list(loaded.values())

    def _walk(
        self, images: list[Image], loaded: dict[tuple[str, str], Image], step: Callable[[Image], Iterable[Wanted]]
    ) -> list[Image]:
        found: list[Image] = []
        frontier = images
        seen: set[tuple[str, str, int]] = set()
        asked: set[Wanted] = set()
        while frontier:
            wanted = {want for image in frontier for want in step(image)} - asked
            asked |= wanted
            frontier = []
            for image in self._answer(wanted, loaded):
                # The same row may stand at several points of the batch with other references: each counts.
                name = (image[0], image[1], id(image[2]))
                if name not in seen:
                    seen.add(name)
                    frontier.append(image)
            found += frontier
        return found

    def _answer(self, wanted: set[Wanted], loaded: dict[tuple[str, str], Image]) -> list[Image]:
        ask = wanted - self._asked
        self._asked |= ask
        if ask:
            for image in self._fetch(ask):
                loaded.setdefault((image[0], image[1]), image)
        by_value: dict[Wanted, list[Image]] = self._index(loaded, wanted)
        return [image for want in wanted for image in (*by_value.get(want, ()), *self._future.get(want, ()))]

    def _index(self, loaded: dict[tuple[str, str], Image], wanted: set[Wanted]) -> dict[Wanted, list[Image]]:
        pairs: dict[str, set[str]] = {}
        for table, column, _ in wanted:
            pairs.setdefault(table, set()).add(column)
        index: dict[Wanted, list[Image]] = {}
        for image in loaded.values():
            for column in pairs.get(image[0], ()):
                value: Any = image[1] if column == KEY else image[2].get(column)
                if value is not None:
                    index.setdefault((image[0], column, str(value)), []).append(image)
        return index

    def _backward(self, image: Image) -> Iterable[Wanted]:
        table, key, row = image
        for relation in self._relations.backward.get(table, ()):
            value = key if relation.to_column == KEY else row.get(relation.to_column)
            if value is not None:
                yield relation.table, relation.column, str(value)

    def _forward(self, image: Image) -> Iterable[Wanted]:
        table, key, row = image
        for relation in self._relations.forward.get(table, ()):
            value = key if relation.column == KEY else row.get(relation.column)
            if value is not None:
                yield relation.to_table, relation.to_column, str(value)
