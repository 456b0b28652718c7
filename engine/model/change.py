"""What a source tells the engine: row changes, transaction borders, and what could not be read.

Connectors build these values, the unit grouper in `engine.flow.units` consumes them, and the store keeps the
ones whose transaction is not complete yet. They hold raw column values as the source's JSON gave them: text for
decimals, numbers for identifiers and dates; `engine.model.columns` turns columns into facts.
"""

from enum import StrEnum
from typing import Any

import msgspec

Row = dict[str, Any]


class Op(StrEnum):
    """What happened to a row, in Debezium's letters."""

    READ = "r"
    CREATE = "c"
    UPDATE = "u"
    DELETE = "d"


class SnapshotMark(StrEnum):
    """Where in a snapshot a row stands; `NONE` for a streamed change."""

    NONE = "none"
    ROW = "row"
    LAST = "last"
    INCREMENTAL = "incremental"


class Position(msgspec.Struct, frozen=True, order=True):
    """Where a change stands in its source's log; comparable only within one source and one epoch.

    `commit` is the log position of the transaction's end (of the snapshot, for a snapshot row), `lsn` that of the
    row itself. For one row of one source, positions strictly increase: the row lock orders its transactions.
    """

    commit: int
    lsn: int


class RowChange(msgspec.Struct, frozen=True, tag="row"):
    """One row change. `row` is the after-image, or for a delete the before-image as far as the log holds it.

    `key` is the primary key's values as text, joined by `/` in the key's own order. `unavailable` names the columns
    that the log left out because they did not change; their values in `row` mean nothing.
    `tx` is None where the source cannot tell; `bordered` says that transaction borders are announced.
    `source_us` is microseconds since 1970 UTC by the ERP database's clock.
    """

    table: str
    key: str
    op: Op
    row: Row
    lsn: int
    tx: str | None
    source_us: int
    bordered: bool = False
    snapshot: SnapshotMark = SnapshotMark.NONE
    unavailable: tuple[str, ...] = ()


class TransactionBegin(msgspec.Struct, frozen=True, tag="begin"):
    """An ERP transaction starts; its rows follow, in any order among each other."""

    tx: str


class TransactionEnd(msgspec.Struct, frozen=True, tag="end"):
    """An ERP transaction ended at log position `lsn`, with `count` row changes in captured tables."""

    tx: str
    lsn: int
    count: int
    source_us: int


class Unreadable(msgspec.Struct, frozen=True, tag="unreadable"):
    """A record that could not be decoded: kept with its reason, counted as one row of its transaction.

    `payload` is the whole message as text, `key` its key; with `origin` they are enough to decode it again. `tx` is
    None where it cannot be told, or where no transaction borders are announced.
    """

    origin: str
    reason: str
    payload: str
    key: str | None = None
    tx: str | None = None


Record = RowChange | TransactionBegin | TransactionEnd | Unreadable


class Unit(msgspec.Struct, frozen=True):
    """Changes that are applied together: one ERP transaction, or one page of a snapshot.

    `snapshot` is the snapshot's identity (None for a transaction); `completes` says that this page ends it.
    """

    tx: str
    commit: int
    source_us: int
    changes: tuple[RowChange, ...]
    snapshot: str | None = None
    completes: bool = False
