"""How a connector explains its ERP's tables: which are captured, how rows hang together, what they mean.

Everything here is pure and is all of a connector that replay loads. The engine walks the declared relations in both
directions: forward to load what a document is made of, backward to learn which documents a changed row touches.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Protocol

import msgspec

from engine.model.change import Row
from engine.model.documents import Assembled, DocumentKind, Paper
from engine.ports.rows import Rows


class TableSpec(msgspec.Struct, frozen=True):
    """A captured table. `excluded` columns are never read; a `lookup` is small reference data kept in memory.

    An `optional` table belongs to a module that the ERP may not have. Of a look-up, only a change in `watched`
    columns re-evaluates documents (page by page, before the stream goes on); a new row does so only where
    `watch_inserts` says it. Rows of a `summed` table add to sums kept for documents; `owner` is the column that names
    whose, so that a document's rows can be found again. Rows of a table with `personal` hold names or addresses of
    the customer whose key is in that column (`KEY`: of the row itself).
    """

    name: str
    schema: str = "public"
    excluded: tuple[str, ...] = ()
    lookup: bool = False
    optional: bool = False
    summed: bool = False
    owner: str | None = None
    watch_inserts: bool = False
    watched: tuple[str, ...] = ()
    personal: str | None = None


class Relation(msgspec.Struct, frozen=True):
    """Rows of `table` whose `column` equals `to_column` of a row of `to_table` hang together with it
    (`KEY` stands for the row's own key).

    A document's rows are found from its root along `table.column -> to_table.to_column`; the walk is repeated until
    nothing new is found.
    """

    table: str
    column: str
    to_table: str
    to_column: str


class Amount(msgspec.Struct, frozen=True):
    """What one row adds to a sum that is kept for a document (a customer's receivable)."""

    kind: DocumentKind
    key: str
    measure: str
    amount: Decimal


class ErpMapping(Protocol):
    """The pure part of a connector."""

    @property
    def version(self) -> int:
        """Raised whenever the same rows would give another document."""

    @property
    def tables(self) -> Sequence[TableSpec]: ...

    @property
    def relations(self) -> Sequence[Relation]:
        """Forward relations, from the roots outwards."""

    @property
    def roots(self) -> Mapping[str, DocumentKind]:
        """Root table of each kind of document; the document's key is the root row's key."""

    def assemble(self, kind: DocumentKind, key: str, rows: Rows, sums: Mapping[str, Decimal]) -> Assembled | None:
        """The document as the rows tell it; None when the root row does not exist or is no AR document.

        Raises `MappingError` or `ColumnError` when the rows cannot be understood.
        """

    @property
    def papers(self) -> Collection[str]:
        """Tables of which a row says by itself what became of an order or an entry."""

    def read_paper(self, table: str, key: str, row: Row) -> Paper | None:
        """What a row of such a table says; None when nothing of interest."""

    def amounts(self, table: str, row: Row, rows: Rows) -> Iterable[Amount]:
        """What this row adds to the sums kept for documents; look-ups are in `rows`."""
