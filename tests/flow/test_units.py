"""How records become units where the source announces no borders."""

from engine.flow.units import Grouper
from engine.model.change import Op, Record, RowChange, SnapshotMark


def row(key: str, lsn: int, tx: str, mark: SnapshotMark = SnapshotMark.NONE) -> Record:
    return RowChange("bill", key, Op.UPDATE, {"id": key}, lsn, tx, 0, snapshot=mark)


def test_a_snapshot_ends_the_transaction_before_it() -> None:
    """Applied behind the snapshot, it would be old, and its steps would be seen in the snapshot only."""
    grouper = Grouper(commit=0, snapshot=None, snapshot_complete=False, pending=())
    units = list(grouper.feed([row("1", 5, "a"), row("1", 9, "s", SnapshotMark.LAST)]))
    assert [unit.commit for unit in units if not hasattr(unit, "reason")] == [5, 9]
