"""How records become units where the source announces no borders."""

from collections.abc import Iterable

from engine.flow.units import Grouper
from engine.model.change import Op, Record, RowChange, SnapshotMark, TransactionEnd, Unit, Unreadable


def row(key: str, lsn: int, tx: str, mark: SnapshotMark = SnapshotMark.NONE) -> Record:
    return RowChange("bill", key, Op.UPDATE, {"id": key}, lsn, tx, 0, snapshot=mark)


def test_a_snapshot_ends_the_transaction_before_it() -> None:
    """Applied behind the snapshot, it would be old, and its steps would be seen in the snapshot only."""
    grouper = Grouper(commit=0, snapshot=None, snapshot_complete=False, pending=())
    units = list(grouper.feed([row("1", 5, "a"), row("1", 9, "s", SnapshotMark.LAST)]))
    assert [unit.commit for unit in units if not hasattr(unit, "reason")] == [5, 9]


def keys(units: Iterable[Unit | Unreadable]) -> list[tuple[str, list[str]]]:
    return [(unit.tx, [change.key for change in unit.changes]) for unit in units if isinstance(unit, Unit)]


def taken_up(pending: list[Record]) -> Grouper:
    return Grouper(commit=5, snapshot=None, snapshot_complete=False, pending=pending)


def test_a_stored_transaction_is_not_ended_by_the_repeat_of_an_earlier_one() -> None:
    """The process died between two rows of `b`; the source begins again at `a`, and `b` is still one transaction."""
    grouper = taken_up([row("1", 6, "b")])
    assert keys(grouper.feed([row("0", 5, "a"), row("1", 6, "b")])) == [("a", ["0"])]
    assert keys(grouper.feed([row("2", 7, "b"), row("3", 8, "c")])) == [("b", ["1", "2"])]
    assert keys(grouper.settle()) == [("c", ["3"])]


def test_a_stored_transaction_goes_on_where_it_was_left() -> None:
    grouper = taken_up([row("1", 6, "b")])
    assert keys(grouper.feed([row("2", 7, "b"), row("3", 8, "c")])) == [("b", ["1", "2"])]


def test_a_stored_transaction_ends_when_the_log_has_passed_it() -> None:
    grouper = taken_up([row("1", 6, "b"), row("2", 7, "b")])
    assert keys(grouper.feed([row("3", 8, "c")])) == [("b", ["1", "2"])]


def test_a_stored_transaction_stays_stored_while_earlier_ones_are_repeated() -> None:
    grouper = taken_up([row("1", 6, "b")])
    list(grouper.feed([row("9", 4, "z"), row("0", 5, "a")]))
    again = taken_up(grouper.pending())
    units = again.feed([row("1", 6, "b"), row("2", 7, "b"), row("3", 8, "c")])
    assert keys(units) == [("a", ["0"]), ("b", ["1", "2"])]


def test_a_stored_transaction_is_taken_for_complete_when_the_source_is_quiet() -> None:
    grouper = taken_up([row("1", 6, "b")])
    assert keys(grouper.settle()) == [("b", ["1"])]


def bordered(key: str, lsn: int, tx: str) -> Record:
    return RowChange("bill", key, Op.UPDATE, {"id": key}, lsn, tx, 0, bordered=True)


def test_stored_transactions_end_in_the_order_of_their_commits() -> None:
    """`b` has ended first and waits for a row; `a`, which began before it, is complete."""
    grouper = taken_up([])
    ends = [TransactionEnd("b", 9, 2, 0), TransactionEnd("a", 12, 1, 0)]
    assert keys(grouper.feed([bordered("1", 6, "a"), bordered("2", 7, "b"), *ends])) == []
    grouper = taken_up(grouper.pending())
    assert keys(grouper.feed([bordered("3", 8, "b")])) == [("b", ["2", "3"]), ("a", ["1"])]


def unreadable(payload: str, tx: str | None = None) -> Unreadable:
    return Unreadable("t", "no JSON", payload, None, tx)


def test_what_cannot_be_read_counts_to_the_transaction_that_it_names() -> None:
    """Where the ends come by another way, no begin says whose it is; it may be the first of its transaction."""
    grouper = taken_up([])
    assert list(grouper.feed([unreadable("{", "a")])) == [unreadable("{", "a")]
    grouper = taken_up(grouper.pending())
    assert keys(grouper.feed([bordered("1", 7, "a"), TransactionEnd("a", 9, 3, 0)])) == []
    assert keys(grouper.feed([unreadable("{", "a")])) == [], "it was counted"
    assert keys(grouper.feed([unreadable("[", "a")])) == [("a", ["1"])]
    assert grouper.pending() == []
