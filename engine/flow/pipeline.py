"""From records to committed effects: the one way in for everything that an ERP's database tells.

The daemon's loop calls `take` for each batch of a source. Everything that a batch leads to is committed with the
source's position, in one unit of work; only a snapshot's end and a changed look-up split it, because documents are
then assembled again page by page before the stream goes on.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager

import msgspec
import structlog

from engine.flow.applying import Applier, Clock
from engine.flow.closure import Relations, Root, Wanted
from engine.flow.units import Grouper
from engine.model.change import Record, Unit, Unreadable
from engine.ports.mapping import ErpMapping
from engine.ports.source import SourceBatch
from engine.rules.policy import Policy
from engine.store import mirror, position
from engine.store.journal import Entry
from engine.store.position import StoredPosition
from engine.store.unit import Connection
from engine.store.unit import Unit as Work

log = structlog.get_logger()


class Pipeline:
    """One system's pipeline. Made anew from the store after any failure."""

    def __init__(
        self,
        connection: Connection,
        system: str,
        mapping: ErpMapping,
        policy: Policy,
        clock: Clock,
        *,
        epoch: str,
        brake: int = 100,
        most_letters: int = 10_000,
    ) -> None:
        """`brake` and `most_letters` bound what may be parked; see `Parking`."""
        self._system = system
        self._clock = clock
        with connection.transaction(), connection.cursor() as cursor:
            stored = position.load_position(cursor, system)
            pending = position.load_pending(cursor, system)
            self._applier = Applier(
                connection, cursor, system, mapping, policy, clock, brake=brake, most_letters=most_letters
            )
        if stored is None or stored.epoch != epoch:
            self._start_epoch(stored, epoch)
            stored, pending = None, []
        self._position = stored or StoredPosition(epoch=epoch, resume=None)
        self._grouper = Grouper(
            commit=self._position.commit,
            source_us=self._position.source_us,
            snapshot=self._position.snapshot,
            snapshot_complete=self._position.snapshot_complete,
            pending=pending,
        )
        self._pending_count = len(pending)
        self._alive: dt.datetime | None = None

    @property
    def position(self) -> StoredPosition:
        """How far was committed."""
        return self._position

    def take(self, batch: SourceBatch) -> int:
        """Apply a batch and commit it. Returns the number of records.

        Raises:
            BrakeError: too many unreadable records in a row; nothing of this batch is acknowledged.
        """
        self.catch_up()
        self._finish(list(self._grouper.feed(batch.records)), batch.resume)
        self._alive = None if batch.records else self._clock()
        return len(batch.records)

    def settle(self, *, ended: bool = False) -> None:
        """The source is quiet: close the transactions whose end nobody announces, and note that nothing else was to
        be told. Only a sign of life that came through the log shows that; one that has `ended` tells nothing more.
        Of a transaction that has come in part the rest is still to be told, though the ERP has committed it.
        """
        units = list(self._grouper.settle())
        if units:
            self._grouper.emitted = True
            self._finish(list(units), self._position.resume)
        alive = None if self._grouper.midway else self._alive
        until = self._clock() if ended else alive
        known = self._position.told_until
        if until is not None and self._position.whole and (known is None or known < until):
            moved = msgspec.structs.replace(self._position, told_until=until)
            with self.work() as work:
                position.save_position(work.cursor, self._system, moved, work.now)
            self._position = moved

    def catch_up(self) -> None:
        """Assemble again what a snapshot or a look-up left to do, page by page."""
        self._applier.catch_up(self._position.commit)

    def work(self) -> AbstractContextManager[Work]:
        """A unit of work of this pipeline's; it commits when the block ends."""
        return self._applier.unit(self._clock())

    @property
    def relations(self) -> Relations:
        """How the system's rows hang together."""
        return self._applier.relations

    def mirrored(self, root: Root) -> set[mirror.Key]:
        """Every row that the mirror has of a document."""
        return self._applier.mirrored(root)

    def wanted(self, root: Root) -> list[Wanted]:
        """What else than its relations leads to a document's rows: whose sums they are part of."""
        return self._applier.wanted(root)

    def retry(self, unit: Unit, note: Callable[[Work, int], None]) -> None:
        """Apply changes that could not be read when they came, each with the position that it has in the stream.

        What the stream has told since is newer and stays. The stream's own position does not move. `note` is called
        in the same unit of work, with how many rows are other than before.
        """
        self.catch_up()
        with self.work() as work:
            note(work, self._applier.retry(work, unit))
        self.catch_up()

    def reread(self, unit: Unit, root: Root, note: Callable[[Work], None]) -> None:
        """Apply all rows of a document, read by another way than the stream, as of one position in it.

        What the stream has told since is newer and stays, like with `retry`.
        """
        self.catch_up()
        with self.work() as work:
            self._applier.reread(work, unit, root)
            note(work)
        self.catch_up()

    def assemble_again(self, roots: Sequence[Root], note: Callable[[Work], None]) -> None:
        """Assemble these documents from the mirror as it stands, and decide on what is new."""
        self.catch_up()
        with self.work() as work:
            self._applier.assemble_again(work, roots, self._position.commit)
            note(work)

    def read_paper_again(self, table: str, key: str, note: Callable[[Work], None]) -> None:
        """Read an order or an entry from the mirror as it stands, and decide on what is new."""
        self.catch_up()
        with self.work() as work:
            self._applier.read_paper_again(work, table, key, self._position.commit)
            note(work)

    def _start_epoch(self, before: StoredPosition | None, epoch: str) -> None:
        """A log begins. Where another one was read before, its positions say nothing about those of the new one:
        what is mirrored counts as older than anything it tells; its snapshot replaces it and buries the rest.
        """
        now = self._clock()
        if before is not None:
            log.warning("a new epoch begins", system=self._system, before=before.epoch, now=epoch)
        with self._applier.unit(now) as work:
            if before is not None:
                mirror.forget_positions(work.cursor, self._system)
                position.clear_pending(work.cursor, self._system)
            position.save_position(work.cursor, self._system, StoredPosition(epoch=epoch, resume=None), now)
            told = {"epoch": epoch, "before": before.epoch, "position": before.commit} if before else {"epoch": epoch}
            work.note(Entry(f"{self._system}/changes", "config", now, told))

    def _finish(self, items: Sequence[Unit | Unreadable], resume: dict[str, object] | None) -> None:
        """Commit units up to and with the last; the position moves with the last part only.

        A snapshot's page is not mirrored together with transactions before it: its rows would make theirs look old,
        and their steps be seen in the snapshot only.
        """
        part: list[Unit | Unreadable] = []
        for item in items:
            if isinstance(item, Unit) and item.snapshot and any(isinstance(o, Unit) and not o.snapshot for o in part):
                self._commit(part, resume=None)
                part = []
            part.append(item)
            if isinstance(item, Unit) and (item.completes or self._applier.disturbs_lookups(item)):
                self._commit(part, resume=None)
                part = []
                self.catch_up()
        self._commit(part, resume=resume, last=True)

    def _commit(
        self, items: Sequence[Unit | Unreadable], *, resume: dict[str, object] | None, last: bool = False
    ) -> None:
        units = [item for item in items if isinstance(item, Unit)]
        now = self._clock()
        with self._applier.unit(now) as work:
            for item in items:
                if isinstance(item, Unreadable):
                    self._applier.parking.take_record(work, item)
            for unit in units:
                if unit.snapshot is not None:
                    self._applier.mirror_page(work, unit)
            self._applier.apply(work, [unit for unit in units if unit.snapshot is None])
            moved = self._moved(units)
            if last:
                moved = msgspec.structs.replace(moved, resume=resume, told_until=_told_until(moved, now))
                self._save_pending(work)
            position.save_position(work.cursor, self._system, moved, now)
        self._position = moved
        if units:
            self._applier.parking.records_are_readable()

    def _moved(self, units: Sequence[Unit]) -> StoredPosition:
        moved = self._position
        for unit in units:
            moved = msgspec.structs.replace(
                moved,
                commit=max(moved.commit, unit.commit),
                source_us=max(moved.source_us, unit.source_us),
                snapshot=unit.snapshot or moved.snapshot,
                snapshot_complete=unit.completes if unit.snapshot else moved.snapshot_complete,
            )
        return moved

    def _save_pending(self, work: Work) -> None:
        """Open transactions are kept: appended while none ended, written whole when one did."""
        records: Iterable[Record]
        if self._grouper.emitted:
            if self._pending_count:
                position.clear_pending(work.cursor, self._system)
            records, self._pending_count = self._grouper.pending(), 0
        else:
            records = self._grouper.fresh
        records = list(records)
        position.add_pending(work.cursor, self._system, records, self._pending_count)
        self._pending_count += len(records)


def _told_until(moved: StoredPosition, now: dt.datetime) -> dt.datetime | None:
    """Until when the ERP's word is known: by the time of its last transaction, which its own clock may put ahead."""
    if not moved.whole or not moved.source_us:
        return moved.told_until
    last = min(dt.datetime.fromtimestamp(moved.source_us / 1e6, dt.UTC), now)
    return last if moved.told_until is None else max(moved.told_until, last)
