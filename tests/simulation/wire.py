"""How the ERP's log comes to arsync: late, again, rows of a transaction in any order, and snapshots in between.

What was put on the wire stays as it is: who reads again from an earlier place reads the same.
"""

import dataclasses
import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from random import Random
from typing import Any

import msgspec

from engine.model.change import Op, Record, RowChange, SnapshotMark, TransactionBegin, TransactionEnd
from engine.ports.source import SourceBatch
from tests.simulation.database import Change, Commit, Database

EPOCH_DAY = dt.date(1970, 1, 1)
SNAPSHOT_PAGE = 40


@dataclasses.dataclass(frozen=True)
class Taken:
    """A snapshot on the wire: where its rows begin and end, and the log position that it shows."""

    start: int
    end: int
    lsn: int
    epoch: str


class Wire:
    """One system's change stream. `told` has the commits that it tells one by one: (log position, end on the wire).

    `ungrouped` is a protection switched off: each row comes as if it were a transaction of its own.
    """

    def __init__(self, database: Database, dice: Random, *, dates: str, borders: bool) -> None:
        self._db = database
        self._dice = dice
        self._dates = dates
        self._borders = borders
        self._told = 0
        self._again: list[list[Record]] = []
        self.calm = False
        self.records: list[Record] = []
        self.starts: list[int] = [0]
        self.snapshots: list[Taken] = []
        self._every: list[Taken] = []
        self.told: list[tuple[int, int]] = []
        self.ungrouped = False
        self.epoch = "e1"

    def pump(self) -> None:
        """Put what was committed since on the wire."""
        for commit in self._db.log[self._told :]:
            self.starts.append(len(self.records))
            self._put(commit)
            self.told.append((commit.lsn, len(self.records)))
        self._told = len(self._db.log)

    def snapshot(self, *, skip: bool) -> None:
        """Show every row as it is now. With `skip`, what was not told yet is shown by this alone."""
        if skip:
            self._told = len(self._db.log)
        else:
            self.pump()
        self._db.lsn += 16
        lsn, start = self._db.lsn, len(self.records)
        name = f"s{lsn}"
        rows = [
            RowChange(table, str(key), Op.READ, self.encoded(row), lsn, name, 0, snapshot=SnapshotMark.ROW)
            for table, kept in sorted(self._db.tables.items())
            for key, row in sorted(kept.items())
        ]
        self._dice.shuffle(rows)
        last = rows.pop()
        self.records += [*rows, msgspec.structs.replace(last, snapshot=SnapshotMark.LAST)]
        self.snapshots.append(Taken(start, len(self.records), lsn, self.epoch))
        self._every.append(self.snapshots[-1])
        self.starts.append(len(self.records))

    def leave(
        self, resume: int | None, position: int, epoch: str | None, snapshot: str | None, *, complete: bool
    ) -> None:
        """A source that cannot go on at `resume`, because there is none or it stands within a snapshot, will begin by
        a new one: what was not taken in before (`position` in the log; of `epoch` the `snapshot`, and whether it is
        `complete`) is told by that only.
        """
        if resume is None or self._inside(resume):
            self.told = [(lsn, end) for lsn, end in self.told if lsn <= position]
            self.snapshots = [taken for taken in self.snapshots if self._was_taken(taken, epoch, snapshot, complete)]

    def restart_at(self, resume: int | None) -> int:
        """Where a source that is opened again goes on: at `resume`, somewhat before it, or at a new snapshot."""
        if resume is None or self._inside(resume):
            self.snapshot(skip=True)
            return self.snapshots[-1].start
        floor = max((taken.end for taken in self._every if taken.end <= resume), default=0)
        earlier = [start for start in self.starts if floor <= start <= resume][-4:]
        return self._dice.choice([resume, *earlier])

    def _inside(self, resume: int) -> bool:
        return any(taken.start < resume < taken.end for taken in self._every)

    def _was_taken(self, taken: Taken, epoch: str | None, snapshot: str | None, complete: bool) -> bool:
        if snapshot is None:
            return taken.epoch not in (epoch, self.epoch)
        last = int(snapshot.split(":", 1)[0])
        return taken.lsn < last or (taken.lsn == last and complete)

    def encoded(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row as the source's JSON gives it."""
        return {name: self._value(value) for name, value in row.items()}

    def _value(self, value: Any) -> Any:
        if isinstance(value, Decimal):
            return str(value)
        if isinstance(value, dt.date):
            days = (value - EPOCH_DAY).days
            return {"iso": value.isoformat(), "days": days, "micros": days * 86_400_000_000}[self._dates]
        return value

    def _put(self, commit: Commit) -> None:
        us = int(commit.at.timestamp() * 1_000_000)
        rows: list[Record] = [self._row(commit, change, us) for change in commit.changes]
        dice = self._dice
        if not self._borders:
            self.records += rows
            if dice.random() < 0.1:
                self.records += rows
            return
        end = TransactionEnd(commit.tx, commit.lsn, len(rows), us)
        if not self.calm:
            dice.shuffle(rows)
        body: list[Record] = [TransactionBegin(commit.tx), *rows]
        if not self.calm and dice.random() < 0.15:
            body.insert(dice.randrange(1, len(body) + 1), end)  # the end comes by another topic, and overtakes
        else:
            body.append(end)
        if not self.calm and dice.random() < 0.1:
            body += dice.sample(rows, dice.randrange(len(rows)) + 1)
        self.records += body
        if not self.calm and dice.random() < 0.05:
            self._again.append(body)
        if self._again and dice.random() < 0.05:
            self.records += self._again.pop()

    def _row(self, commit: Commit, change: Change, us: int) -> RowChange:
        row = self.encoded(change.row)
        hidden: tuple[str, ...] = ()
        if change.op == "d" and self._dice.random() < 0.5:
            row = {"id": change.key}
        elif change.op == "u" and change.same and self._dice.random() < 0.3:
            hidden = change.same
            row = {**row, **dict.fromkeys(hidden, "__debezium_unavailable_value")}
        return RowChange(
            change.table, str(change.key), Op(change.op), row, change.lsn, commit.tx, us,
            bordered=self._borders, unavailable=hidden,
        )  # fmt: skip


class Stream:
    """A source that was opened: reads the wire from a place on. Gone with the process that opened it."""

    def __init__(self, wire: Wire, at: int, observe: Callable[[int], None]) -> None:
        self._wire = wire
        self._at = at
        self._observe = observe

    @property
    def at(self) -> int:
        """How far it has read."""
        return self._at

    @property
    def at_end(self) -> bool:
        """Whether everything on the wire was read."""
        return self._at >= len(self._wire.records)

    def poll(self, most: int) -> SourceBatch | None:
        """The next records, at most so many."""
        records = self._wire.records[self._at : self._at + most]
        if not records:
            return None
        self._at += len(records)
        self._observe(len(records))
        if self._wire.ungrouped:
            records = [row for record in records for row in _by_itself(record)]
        return SourceBatch(records, {"at": self._at})


def _by_itself(record: Record) -> list[Record]:
    if not isinstance(record, RowChange):
        return []
    if record.snapshot is not SnapshotMark.NONE:
        return [record]
    return [msgspec.structs.replace(record, bordered=False, tx=f"{record.tx}/{record.table}/{record.key}")]
