"""How the ends of transactions that come in a topic of their own find their place among the changes."""

from typing import Any

from connectors.debezium.kafka.borders import Merge
from engine.model.change import Op, Record, RowChange, SnapshotMark, TransactionBegin, TransactionEnd, Unreadable


def row(key: int, lsn: int, tx: str | None = None, mark: SnapshotMark = SnapshotMark.NONE) -> RowChange:
    op = Op.UPDATE if mark is SnapshotMark.NONE else Op.READ
    return RowChange("invoice", str(key), op, {"id": key}, lsn, tx, 0, bordered=tx is not None, snapshot=mark)


def end(tx: str, lsn: int, count: int) -> TransactionEnd:
    return TransactionEnd(tx, lsn, count, 0)


def given(merge: Merge, *changes: Record, drained: bool = False) -> list[Any]:
    return list(merge.merge(changes, drained=drained))


def test_an_end_that_runs_ahead_waits_for_the_whole_snapshot() -> None:
    """The brokers of the changes may be slow in the midst of it; a worker that starts anew knows of it."""
    merge = Merge(None)
    first, last = row(1, 100, mark=SnapshotMark.ROW), row(2, 100, mark=SnapshotMark.LAST)
    assert given(merge, first) == [first]
    borders: list[tuple[int, Record | None]] = [(0, TransactionBegin("9")), (1, end("9", 205, 1))]
    merge.take(borders)
    assert given(merge, drained=True) == []
    again = Merge(merge.offset, snapshotting=merge.snapshotting)
    again.take(borders[merge.offset :])
    assert given(again, drained=True) == []
    assert given(again, last, row(2, 201, "9")) == [last, row(2, 201, "9"), end("9", 205, 1)]


def test_an_end_is_given_on_without_its_rows_when_there_is_nothing_more() -> None:
    merge = Merge(None)
    merge.take([(0, end("9", 205, 1))])
    assert given(merge, row(2, 100, mark=SnapshotMark.LAST), drained=True)[1:] == [end("9", 205, 1)]


def test_what_cannot_be_read_counts_to_the_transaction_that_it_names() -> None:
    merge = Merge(None)
    merge.take([(0, end("9", 205, 1)), (1, end("10", 305, 2))])
    broken, other = Unreadable("t", "truncated", "{}", None, "10"), Unreadable("t", "no JSON", "{")
    assert given(merge, row(1, 201, "9"), other) == [row(1, 201, "9"), end("9", 205, 1), other]
    assert given(merge, row(1, 301, "10"), broken) == [row(1, 301, "10"), broken, end("10", 305, 2)]
