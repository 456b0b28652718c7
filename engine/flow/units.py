"""Groups records into units: whole ERP transactions in commit order, and pages of a snapshot.

The pipeline feeds it what a source delivers, in any batch size, with rows of a transaction in any order among each
other, late, early or twice. What is not complete yet is handed back as pending, so that it can be stored before
the source forgets it.
"""

import datetime as dt
from collections import OrderedDict
from collections.abc import Iterable, Iterator

import msgspec

from engine.model.change import (
    Op,
    Record,
    RowChange,
    SnapshotMark,
    TransactionBegin,
    TransactionEnd,
    Unit,
    Unreadable,
)
from engine.ports.errors import SourceRefused

_REMEMBERED = 10_000
"""Applied transactions that are remembered by name, to drop late duplicates of their rows."""
_INVERSION_US = 1_000_000
"""How much later by the clock a transaction may have ended that stands before another in the log: the server takes
the time a moment before it writes the end."""


class _Open:
    """A transaction whose rows are still coming."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str, int, Op], RowChange] = {}
        self.unreadable: dict[str, Unreadable] = {}
        self.end: TransactionEnd | None = None
        self.begun = False

    @property
    def complete(self) -> bool:
        return self.end is not None and len(self.rows) + len(self.unreadable) >= self.end.count

    def records(self, tx: str) -> Iterator[Record]:
        if self.begun:
            yield TransactionBegin(tx)
        yield from self.rows.values()
        yield from self.unreadable.values()


class Grouper:
    """One source's grouping state. Rebuilt from the store after any failure."""

    def __init__(
        self,
        *,
        commit: int,
        source_us: int = 0,
        snapshot: str | None,
        snapshot_complete: bool,
        pending: Iterable[Record],
    ) -> None:
        """Take up where the store left off: the last applied commit and its time, the snapshot, the open records."""
        self._commit = commit
        self._source_us = source_us
        self._snapshot = snapshot
        self._snapshot_complete = snapshot_complete
        self._snapshot_at = 0
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._ends: OrderedDict[str, None] = OrderedDict()
        self._applied: OrderedDict[str, None] = OrderedDict()
        self._page: list[RowChange] = []
        self._loose: list[RowChange] = []
        self._held: dict[str, list[RowChange]] = {}
        self._latest: str | None = None
        self.emitted = False
        self.fresh: list[Record] = []
        for record in pending:
            if type(record) is RowChange and record.tx is not None and not record.bordered:
                self._held.setdefault(record.tx, []).append(record)
            else:
                list(self._take(record))
        self.fresh = []

    def feed(self, records: Iterable[Record]) -> Iterator[Unit | Unreadable]:
        """The units that these records complete, in commit order, and what could not be read.

        Raises:
            SourceRefused: the log tells of new transactions at positions that were read long ago.
        """
        self.emitted = False
        self.fresh = []
        for record in records:
            if not self._joins(record):
                yield from self._take(record)
        if self._page:
            yield self._snapshot_unit(completes=False)

    def _joins(self, record: Record) -> bool:
        """Whether this is a row of a transaction that is open, and is not complete with it: what most records are."""
        if type(record) is not RowChange or not record.bordered or record.snapshot is not SnapshotMark.NONE:
            return False
        entry = self._open.get(record.tx) if record.tx is not None else None
        if entry is None or entry.end is not None or not (self._snapshot is None or self._snapshot_complete):
            return False
        name = (record.table, record.key, record.lsn, record.op)
        if name not in entry.rows:
            entry.rows[name] = record
            self.fresh.append(record)
        return True

    def settle(self) -> Iterator[Unit]:
        """The source has been quiet: a transaction whose end nobody announces is taken for complete."""
        yield from self._close_all_loose()

    @property
    def midway(self) -> bool:
        """Whether a part of a transaction has come. A begin alone may be the repeat of one that was read."""
        told = any(entry.rows or entry.unreadable or entry.end is not None for entry in self._open.values())
        return told or bool(self._held or self._loose)

    def pending(self) -> list[Record]:
        """Every record of every open transaction, in an order that rebuilds this state."""
        records = [record for tx, open_ in self._open.items() for record in open_.records(tx)]
        # In the order of the commits, which need not be that of the first rows.
        records += [end for tx in self._ends if (end := self._open[tx].end) is not None]
        return records + [row for rows in self._held.values() for row in rows] + list(self._loose)

    def _take(self, record: Record) -> Iterator[Unit | Unreadable]:
        if isinstance(record, TransactionBegin):
            yield from self._close_all_loose()
            self._forget_empty()
            self._latest = record.tx
            if record.tx not in self._applied:
                self._entry(record.tx, record).begun = True
        elif isinstance(record, TransactionEnd):
            yield from self._end(record)
        elif isinstance(record, Unreadable):
            yield from self._unreadable(record)
        elif record.snapshot in (SnapshotMark.ROW, SnapshotMark.LAST):
            yield from self._close_all_loose()
            yield from self._snapshot_row(record)
        else:
            yield from self._complete_snapshot()
            yield from self._row(record)

    def _entry(self, tx: str, record: Record) -> _Open:
        self.fresh.append(record)
        return self._open.setdefault(tx, _Open())

    def _forget_empty(self) -> None:
        """Another transaction begins after one of which nothing but its begin came: a source that was restarted may
        announce one again and then pass over its rows, for they were read. Should they come, they open it anew."""
        entry = self._open.get(self._latest) if self._latest else None
        if entry is not None and self._latest and not entry.rows and not entry.unreadable and entry.end is None:
            del self._open[self._latest]

    def _row(self, row: RowChange) -> Iterator[Unit]:
        if not row.bordered or row.tx is None:
            yield from self._loose_row(row)
            return
        if row.tx in self._applied and row.lsn <= self._commit:
            return
        entry = self._open.get(row.tx)
        name = (row.table, row.key, row.lsn, row.op)
        if entry is None or name not in entry.rows:
            self._entry(row.tx, row).rows[name] = row
            yield from self._whole()

    def _end(self, end: TransactionEnd) -> Iterator[Unit]:
        if end.lsn <= self._commit:
            # Applied before, and committed with its position: this is a repeat.
            self._refuse_another_log(end)
            self._open.pop(end.tx, None)
            self._ends.pop(end.tx, None)
            # Where ends come by another way than rows, the rows of this repeat may still follow.
            self._remember(end.tx)
            self.emitted = True
            return
        yield from self._complete_snapshot()
        self._entry(end.tx, end).end = end
        self._ends[end.tx] = None
        yield from self._whole()

    def _refuse_another_log(self, end: TransactionEnd) -> None:
        """A repeat is as old as what was read. What ended later, at a position that was read before, is the word of
        a server that went back and has taken another way since."""
        if end.count and 0 < self._source_us < end.source_us - _INVERSION_US:
            raise SourceRefused(
                f"transaction {end.tx} ended {_moment(end.source_us)} at log position {end.lsn}, but the log was "
                f"read up to {self._commit} already, and nothing there is of later than "
                f"{_moment(self._source_us)}: the ERP's server was restored from a backup",
                "if this is intended, run `arsync run --new-epoch`, then `arsync reconcile`",
            )

    def _whole(self) -> Iterator[Unit]:
        """Complete transactions from the front: their ends came in commit order."""
        while self._ends:
            tx = next(iter(self._ends))
            open_ = self._open[tx]
            if not open_.complete or open_.end is None:
                return
            del self._ends[tx], self._open[tx]
            self._commit = open_.end.lsn
            self._source_us = max(self._source_us, open_.end.source_us)
            self._remember(tx)
            self.emitted = True
            if open_.rows:
                rows = sorted(open_.rows.values(), key=lambda row: row.lsn)
                yield Unit(tx, open_.end.lsn, open_.end.source_us, tuple(rows))

    def _remember(self, tx: str) -> None:
        self._applied[tx] = None
        while len(self._applied) > _REMEMBERED:
            self._applied.popitem(last=False)

    def _unreadable(self, record: Unreadable) -> Iterator[Unit | Unreadable]:
        """It counts as a row of its transaction; where it does not name one, of the one that began last."""
        tx = record.tx or self._latest
        entry = self._open.get(tx) if tx is not None else None
        if tx is None or (record.tx is None and (entry is None or entry.end is not None)) or tx in self._applied:
            yield record
            return
        if entry is not None and record.payload in entry.unreadable:
            return
        counted = msgspec.structs.replace(record, tx=tx)
        self._entry(tx, counted).unreadable[record.payload] = counted
        yield record
        yield from self._whole()

    def _loose_row(self, row: RowChange) -> Iterator[Unit]:
        """A row whose transaction's end nobody announces: the next transaction's first row is the end.

        What was stored while its transaction was open is held until the log has passed it: a source that was opened
        again may begin at an earlier transaction, and the rows that it repeats are no end of anything.
        """
        if self._loose and (row.tx is None or row.tx != self._loose[0].tx):
            yield from self._close_loose()
        if row.tx is not None and row.tx in self._held:
            self._loose = self._held.pop(row.tx)
        yield from self._close_held(row.lsn)
        self._loose.append(row)
        self.fresh.append(row)

    def _close_loose(self) -> Iterator[Unit]:
        if self._loose:
            rows, self._loose = self._loose, []
            yield from self._close_held(_last(rows))
            yield self._loose_unit(rows)

    def _close_held(self, before: int) -> Iterator[Unit]:
        """The log has passed this position: whatever ended before it is complete."""
        for tx in sorted(self._held, key=lambda name: _last(self._held[name])):
            if _last(self._held[tx]) < before:
                yield self._loose_unit(self._held.pop(tx))

    def _close_all_loose(self) -> Iterator[Unit]:
        yield from self._close_loose()
        for tx in sorted(self._held, key=lambda name: _last(self._held[name])):
            yield self._loose_unit(self._held.pop(tx))

    def _loose_unit(self, found: list[RowChange]) -> Unit:
        rows = list({(row.table, row.key, row.lsn, row.op): row for row in found}.values())
        self.emitted = True
        last = _last(rows)
        self._commit = max(self._commit, last)
        return Unit(rows[0].tx or f"lsn:{last}", last, rows[-1].source_us, tuple(sorted(rows, key=lambda r: r.lsn)))

    def _snapshot_row(self, row: RowChange) -> Iterator[Unit]:
        name = f"{row.lsn}:{row.tx}"
        if name == self._snapshot and self._snapshot_complete:
            return
        if name != self._snapshot:
            self._snapshot, self._snapshot_complete, self._page = name, False, []
        self._snapshot_at = row.lsn
        self._page.append(row)
        if row.snapshot is SnapshotMark.LAST:
            yield self._snapshot_unit(completes=True)

    def _complete_snapshot(self) -> Iterator[Unit]:
        """Streaming has begun, so the snapshot before it is over, whether or not its last row said so."""
        if self._snapshot is not None and not self._snapshot_complete:
            yield self._snapshot_unit(completes=True)

    def _snapshot_unit(self, *, completes: bool) -> Unit:
        assert self._snapshot is not None  # noqa: S101 - only called while a snapshot is being read
        at = self._snapshot_at or int(self._snapshot.split(":", 1)[0])
        page, self._page = tuple(self._page), []
        self._snapshot_complete = completes
        self.emitted = True
        source_us = page[-1].source_us if page else 0
        self._source_us = max(self._source_us, source_us)
        return Unit(f"snapshot:{self._snapshot}", at, source_us, page, snapshot=self._snapshot, completes=completes)


def _last(rows: Iterable[RowChange]) -> int:
    return max(row.lsn for row in rows)


def _moment(source_us: int) -> str:
    return dt.datetime.fromtimestamp(source_us / 1e6, dt.UTC).isoformat(sep=" ", timespec="seconds")
