"""Says how rows hang together, and which documents a changed row touches, from the relations that a mapping declares.

`neighbourhood` walks them to load rows, `batch` to learn which documents to assemble.
"""

from collections.abc import Callable, Iterable

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
        self.related = self.columns()
        self.root_tables = {kind: table for table, kind in mapping.roots.items()}

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
                if value is None:
                    continue
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

    def upward(self, image: Image) -> list[Wanted]:
        """What leads from a row one step towards the documents that it belongs to."""
        table, key, row = image
        wanted: list[Wanted] = []
        for relation in self.backward.get(table, ()):
            value = key if relation.to_column == KEY else row.get(relation.to_column)
            if value is not None:
                wanted.append((relation.table, relation.column, str(value)))
        return wanted

    def downward(self, image: Image) -> list[Wanted]:
        """What leads from a row one step towards all that its document is made of."""
        table, key, row = image
        wanted: list[Wanted] = []
        for relation in self.forward.get(table, ()):
            value = key if relation.column == KEY else row.get(relation.column)
            if value is not None:
                wanted.append((relation.to_table, relation.to_column, str(value)))
        return wanted


def load_document(relations: Relations, root: Root, fetch: Callable[[list[Wanted]], Iterable[Image]]) -> list[Image]:
    """Every row that a document is made of, without look-ups; `fetch` is called once for each step."""
    asked: set[Wanted] = {(relations.root_tables[root[0]], KEY, root[1])}
    loaded: dict[tuple[str, str], Image] = {}
    wanted = list(asked)
    while wanted:
        found = [image for image in fetch(wanted) if (image[0], image[1]) not in loaded]
        loaded.update({(image[0], image[1]): image for image in found})
        wanted = list(
            dict.fromkeys(want for image in found for want in relations.downward(image) if want not in asked)
        )
        asked.update(wanted)
    return list(loaded.values())
