"""Puts a topic of transaction borders together with the topic of changes.

Only for captures whose borders stand apart. Kafka keeps no order between two topics, so an end is given on only when
its transaction's rows have been: a border that runs ahead must never close a snapshot that is still coming. What is
quiet for a moment in the midst of a snapshot has not come to its end.
"""

from collections import deque
from collections.abc import Iterable, Iterator

from engine.model.change import Record, RowChange, SnapshotMark, TransactionEnd, Unreadable


class Merge:
    """Ends wait in commit order, each until the changes, which come in commit order too, have reached it."""

    def __init__(self, offset: int | None, *, snapshotting: bool = False) -> None:
        """`offset` is the first border that was not given on yet; `snapshotting` as when it was."""
        self.snapshotting = snapshotting
        self._held: deque[tuple[int, TransactionEnd]] = deque()
        self._next = offset or 0
        self._rows: dict[str, int] = {}

    @property
    def offset(self) -> int:
        """The first border that was not given on yet, for `resume`."""
        return self._held[0][0] if self._held else self._next

    @property
    def waiting(self) -> bool:
        """Whether ends wait for changes."""
        return bool(self._held)

    def take(self, borders: Iterable[tuple[int, Record | None]]) -> None:
        """Take what came from the topic of borders, each with its offset. Only ends are of use: rows name their own
        transaction."""
        for offset, border in borders:
            self._next = offset + 1
            if isinstance(border, TransactionEnd):
                self._held.append((offset, border))

    def merge(self, changes: Iterable[Record], *, drained: bool) -> Iterator[Record]:
        """The changes with every end that they have reached. `drained`: nothing more stands in either topic now."""
        for record in changes:
            tx = _streamed_in(record)
            if tx is not None:
                yield from self._before(tx)
                self._rows[tx] = self._rows.get(tx, 0) + 1
            if isinstance(record, RowChange) and record.snapshot is not SnapshotMark.INCREMENTAL:
                self.snapshotting = record.snapshot is SnapshotMark.ROW
            yield record
            yield from self._whole()
        while drained and self._held and not self.snapshotting:
            yield self._release()

    def _before(self, tx: str) -> Iterator[Record]:
        """A row of `tx` tells that all rows of every transaction before it have come."""
        while self._held and self._held[0][1].tx != tx:
            yield self._release()

    def _whole(self) -> Iterator[Record]:
        while self._held and self._rows.get(self._held[0][1].tx, 0) >= self._held[0][1].count:
            yield self._release()

    def _release(self) -> TransactionEnd:
        _, end = self._held.popleft()
        self._rows.pop(end.tx, None)
        return end


def _streamed_in(record: Record) -> str | None:
    """The transaction to whose rows it counts; None for a snapshot's row, and for what does not name one."""
    if isinstance(record, Unreadable):
        return record.tx
    return record.tx if isinstance(record, RowChange) and record.snapshot is SnapshotMark.NONE else None
