"""How records become units where the source announces no borders."""

from collections.abc import Iterable

from engine.flow.units import Grouper
from engine.model.change import Op, Record, RowChange, SnapshotMark, Unit, Unreadable


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
