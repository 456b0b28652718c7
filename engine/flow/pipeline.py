"""From records to committed effects: the one way in for everything that an ERP's database tells.

The daemon's loop calls `take` for each batch of a source. Everything that a batch leads to is committed with the
source's position, in one unit of work; only a snapshot's end and a changed look-up split it, because documents are
then assembled again page by page before the stream goes on.
"""

import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import msgspec
import structlog

from engine.flow.assembly import Telling, event_of, take_telling, view_for
from engine.flow.batch import Batch, net_changes
from engine.flow.closure import Relations, Root
from engine.flow.neighbourhood import Neighbourhood
from engine.flow.parking import Parking
from engine.flow.recall import Recall
from engine.flow.units import Grouper
from engine.model.change import Op, Position, Record, Unit, Unreadable
from engine.model.documents import DocumentKind, Paper
from engine.ports.mapping import ErpMapping, TableSpec
from engine.ports.source import SourceBatch
from engine.rules.policy import Policy
from engine.store import backlog, letters, mirror, position, records, sums
from engine.store.journal import Entry
from engine.store.mirror import MirrorEntry
from engine.store.position import StoredPosition
from engine.store.unit import Connection, unit_of_work
from engine.store.unit import Unit as Work

log = structlog.get_logger()
Clock = Callable[[], dt.datetime]

PAGE = 500
"""Documents that are assembled in one unit of work after a snapshot."""


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
        self._connection = connection
        self._system = system
        self._mapping = mapping
        self._policy = policy
        self._clock = clock
        self._relations = Relations(mapping)
        self._specs = {spec.name: spec for spec in mapping.tables}
        self._versions = {"mapping": mapping.version}
        self._near = Neighbourhood(system, mapping, self._relations)
        self._recall = Recall(system)
        with connection.transaction(), connection.cursor() as cursor:
            stored = position.load_position(cursor, system)
            pending = position.load_pending(cursor, system)
            self._parked = records.parked_documents(cursor, system)
            lettered = letters.open_documents(cursor, system)
        self._parking = Parking(system, brake, most_letters, lettered)
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
        self._behind = True
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
        """
        units = list(self._grouper.settle())
        if units:
            self._grouper.emitted = True
            self._finish(list(units), self._position.resume)
        until = self._clock() if ended else self._alive
        known = self._position.told_until
        if until is not None and self._position.whole and (known is None or known < until):
            moved = msgspec.structs.replace(self._position, told_until=until)
            with self._unit(self._clock()) as work:
                position.save_position(work.cursor, self._system, moved, work.now)
            self._position = moved

    def catch_up(self) -> None:
        """Assemble again what a snapshot or a look-up left to do, page by page."""
        while self._behind:
            self._behind = self._assemble_page()

    @contextmanager
    def work(self) -> Iterator[Work]:
        """A unit of work of this pipeline's, for what needs no change of the mirror."""
        with self._unit(self._clock()) as work:
            yield work

    def mend(self, unit: Unit, note: Callable[[Work], None], *, reread: Root | None = None) -> None:
        """Apply rows that came by another way than the stream, each with the position that it has in it.

        What the stream has told since is newer and stays. The stream's own position does not move. `note` is called
        in the same unit of work. With `reread` these are all rows of that document: what leads to them, and sums that
        they are part of, are made anew from the mirror first, and the document is assembled in any case.
        """
        self.catch_up()
        with self._unit(self._clock()) as work:
            if reread is not None:
                self._forget()
                keys = [(change.table, change.key) for change in unit.changes]
                mirror.rewrite_refs(work.cursor, self._system, keys, self._relations.related)
                if self._owners(reread) or self._sums_are_in_doubt(work, unit):
                    self._restart_sums(work)
            self._apply(work, [unit], [] if reread is None else [reread])
            note(work)
        self.catch_up()

    def _sums_are_in_doubt(self, work: Work, unit: Unit) -> bool:
        """Whether a row that adds to a sum stands otherwise in the mirror: nobody knows as what it was added."""
        summed = {spec.name for spec in self._mapping.tables if spec.summed}
        told = {(one.table, one.key): None if one.op is Op.DELETE else one.row for one in unit.changes}
        wanted = [key for key in told if key[0] in summed]
        entries = mirror.load_entries(work.cursor, self._system, wanted)
        living = {key: entry.row for key, entry in entries.items() if not entry.deleted}
        return any(living.get(key) != told[key] for key in wanted)

    def mirrored(self, root: Root) -> set[mirror.Key]:
        """Every row that the mirror has of a document."""
        with self._connection.transaction(), self._connection.cursor() as cursor:
            near = Neighbourhood(self._system, self._mapping, self._relations)
            near.reach(cursor, [], [root])
            found = self._relations.rows_of(root, near.rows)
            known = {(table, key) for table, rows in found.items() for key in rows}
            for spec in self._owners(root):
                owned = mirror.keys_with(cursor, self._system, spec.name, spec.owner or "", root[1])
                known |= {(spec.name, key) for key in owned}
        return known

    def wanted(self, root: Root) -> list[tuple[str, str, str]]:
        """What else than its relations leads to a document's rows: whose sums they are part of."""
        return [(spec.name, spec.owner or "", root[1]) for spec in self._owners(root)]

    @property
    def relations(self) -> Relations:
        """How its rows hang together."""
        return self._relations

    def _owners(self, root: Root) -> list[TableSpec]:
        """Tables whose rows add to this kind's sums."""
        summed = [spec for spec in self._mapping.tables if spec.summed and spec.owner]
        return summed if root[0] is DocumentKind.CUSTOMER else []

    def assemble_again(self, roots: Sequence[Root], note: Callable[[Work], None]) -> None:
        """Assemble these documents from the mirror as it stands, and decide on what is new."""
        self.catch_up()
        with self._unit(self._clock()) as work:
            self._forget()
            batch = self._batch(work)
            batch.load([], roots)
            told = batch.assemble(roots)
            self._decide(work, [Telling(f"again:{work.batch}", self._position.commit, told)], retried=True)
            note(work)

    def _start_epoch(self, before: StoredPosition | None, epoch: str) -> None:
        """A log begins. Where another one was read before, its positions say nothing about those of the new one:
        what is mirrored counts as older than anything it tells; its snapshot replaces it and buries the rest.
        """
        now = self._clock()
        if before is not None:
            log.warning("a new epoch begins", system=self._system, before=before.epoch, now=epoch)
        with self._unit(now) as work:
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
            if isinstance(item, Unit) and (item.completes or self._disturbs_lookups(item)):
                self._commit(part, resume=None)
                part = []
                self.catch_up()
        self._commit(part, resume=resume, last=True)

    def _disturbs_lookups(self, unit: Unit) -> bool:
        if unit.snapshot:
            return False
        for change in unit.changes:
            spec = self._specs.get(change.table)
            if spec is not None and spec.lookup and (change.op is not Op.CREATE or spec.watch_inserts):
                return True
        return False

    def _commit(
        self, items: Sequence[Unit | Unreadable], *, resume: dict[str, object] | None, last: bool = False
    ) -> None:
        units = [item for item in items if isinstance(item, Unit)]
        now = self._clock()
        with self._unit(now) as work:
            for item in items:
                if isinstance(item, Unreadable):
                    self._parking.take_record(work, item)
            for unit in units:
                if unit.snapshot is not None:
                    self._mirror_page(work, unit)
            self._apply(work, [unit for unit in units if unit.snapshot is None])
            moved = self._moved(units)
            if last:
                moved = msgspec.structs.replace(moved, resume=resume, told_until=_told_until(moved, now))
                self._save_pending(work)
            position.save_position(work.cursor, self._system, moved, now)
        self._position = moved
        if units:
            self._parking.records_are_readable()

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

    # Transactions.

    def _apply(self, work: Work, units: Sequence[Unit], roots: Sequence[Root] = ()) -> None:
        """Apply transactions; `roots` are assembled also where nothing touches them."""
        known = [net_changes(self._only_captured(unit)) for unit in units]
        if not roots and not any(unit.changes for unit in known):
            return
        batch = self._batch(work)
        batch.load(known, roots)
        tellings = []
        for unit in known:
            touched = dict.fromkeys((*batch.apply(unit), *roots))
            tellings.append(Telling(unit.tx, unit.commit, batch.assemble(touched), self._papers(unit)))
        self._decide(work, tellings)
        mirror.save_entries(work.cursor, self._system, batch.after, batch.before, self._relations.related)
        self._near.wrote(work.batch)
        sums.save_sums(work.cursor, self._system, batch.sums_to_save())
        if any(self._specs[table].lookup for table, _ in batch.after):
            self._note_lookups(work, known, batch)

    def _papers(self, unit: Unit) -> list[Paper]:
        tables = self._mapping.papers
        last = {(c.table, c.key): c for c in unit.changes if c.table in tables and c.op is not Op.DELETE}
        read = (self._mapping.read_paper(table, key, change.row) for (table, key), change in last.items())
        return [paper for paper in read if paper is not None]

    def _only_captured(self, unit: Unit) -> Unit:
        if all(change.table in self._specs for change in unit.changes):
            return unit
        changes = tuple(change for change in unit.changes if change.table in self._specs)
        return msgspec.structs.replace(unit, changes=changes)

    def _note_lookups(self, work: Work, units: Sequence[Unit], batch: Batch) -> None:
        """Look-ups are read again next time; a change in what documents rest on assembles them again."""
        self._near.forget()
        for unit in units:
            for change in unit.changes:
                spec = self._specs[change.table]
                old = batch.before.get((change.table, change.key))
                before = old.row if old is not None and not old.deleted else None
                if not spec.lookup or (before is None and not spec.watch_inserts):
                    continue
                if change.op is Op.DELETE or any(change.row.get(c) != (before or {}).get(c) for c in spec.watched):
                    self._restart_sums(work)
                    self._assemble_all(work, f"{change.table} {change.key} changed")
                    return

    def _decide(self, work: Work, tellings: Sequence[Telling], *, retried: bool = False) -> None:
        assembled = (told for telling in tellings for told in telling.assemblies)
        self._parking.take_documents(work, assembled, retried=retried)
        view = view_for(work.cursor, self._system, tellings, self._recall)
        for telling in tellings:
            event, parked = event_of(telling, view, work, self._parked, self._recall)
            self._recall.absorb(take_telling(work, view, telling, event, self._policy, parked))
            for name, reason in parked.items():
                if reason is None:
                    self._parked.pop(name, None)
                else:
                    self._parked[name] = reason
        self._recall.save(work.cursor)

    # Snapshots.

    def _mirror_page(self, work: Work, unit: Unit) -> None:
        """Take a snapshot's rows in; a row that the stream has told about since is newer and stays.

        A row that says by itself what became of an order or an entry is told at once: it is no part of a document.
        """
        changes = self._only_captured(unit).changes
        before = mirror.load_entries(work.cursor, self._system, ((c.table, c.key) for c in changes))
        after: dict[mirror.Key, MirrorEntry] = {}
        news = []
        for change in changes:
            name = (change.table, change.key)
            known = before.get(name)
            at = Position(unit.commit, change.lsn)
            newer = known is None or at > known.position
            news += [change] if newer else []
            entry = MirrorEntry(change.row, at, deleted=False) if newer or known is None else known
            after[name] = MirrorEntry(entry.row, entry.position, entry.deleted, unit.snapshot)
        mirror.save_entries(work.cursor, self._system, after, before, self._relations.related)
        self._near.forget()
        papers = self._papers(msgspec.structs.replace(unit, changes=tuple(news)))
        if papers:
            self._decide(work, [Telling(unit.tx, unit.commit, papers=papers)])
        if unit.completes and unit.snapshot is not None:
            swept = mirror.sweep(work.cursor, self._system, unit.snapshot, unit.commit)
            log.info("snapshot complete", system=self._system, position=unit.commit, rows_deleted_meanwhile=swept)
            self._restart_sums(work)
            self._assemble_all(work, f"snapshot:{unit.snapshot}")

    def _assemble_all(self, work: Work, reason: str) -> None:
        """Have every document assembled again, page by page, before the stream goes on."""
        kinds = list(dict.fromkeys(self._mapping.roots.values()))
        backlog.add_backlog(work.cursor, self._system, kinds, reason)
        self._behind = True

    def _restart_sums(self, work: Work) -> None:
        """Compute every sum anew from the mirror."""
        self._near.forget()
        batch = self._batch(work)
        tables = [spec.name for spec in self._mapping.tables if spec.summed]
        totals: dict[tuple[Root, str], object] = {}
        for table, row in sums.stream_rows(self._connection, self._system, tables):
            for amount in self._mapping.amounts(table, row, batch.rows):
                name = ((amount.kind, amount.key), amount.measure)
                totals[name] = totals.get(name, 0) + amount.amount  # type: ignore[operator]
        sums.clear_sums(work.cursor, self._system)
        listed = [(root, measure, total) for (root, measure), total in totals.items()]
        sums.save_sums(work.cursor, self._system, listed)  # type: ignore[arg-type]

    def _assemble_page(self) -> bool:
        """Assemble the next page of the backlog; False when there is none."""
        now = self._clock()
        with self._connection.transaction(), self._connection.cursor() as cursor:
            todo = backlog.next_backlog(cursor, self._system)
        if todo is None:
            return False
        kind, after, reason = todo
        table = next(name for name, root in self._mapping.roots.items() if root is kind)
        with self._unit(now) as work:
            keys = mirror.root_keys(work.cursor, self._system, table, after, PAGE)
            if keys:
                roots: list[tuple[DocumentKind, str]] = [(kind, key) for key in keys]
                batch = self._batch(work)
                batch.load([], roots)
                commit = self._position.commit
                self._decide(work, [Telling(reason, commit, [told]) for told in batch.assemble(roots)])
            backlog.advance_backlog(work.cursor, self._system, kind, keys[-1] if len(keys) == PAGE else None)
        return True

    @contextmanager
    def _unit(self, now: dt.datetime) -> Iterator[Work]:
        """A unit of work; when it fails, nothing of what is at hand is trusted any more."""
        try:
            with unit_of_work(self._connection, self._system, now, self._versions, self._policy) as work:
                self._recall.begin(work.batch)
                self._near.begin(work.mirrored)
                yield work
        except BaseException:
            self._forget()
            raise

    def _forget(self) -> None:
        """What is asked for because something may be wrong is held against the store itself."""
        self._near.forget()
        self._recall.forget()

    def _batch(self, work: Work) -> Batch:
        return Batch(work.cursor, self._mapping, self._relations, self._near)


def _told_until(moved: StoredPosition, now: dt.datetime) -> dt.datetime | None:
    """Until when the ERP's word is known: by the time of its last transaction, which its own clock may put ahead."""
    if not moved.whole or not moved.source_us:
        return moved.told_until
    last = min(dt.datetime.fromtimestamp(moved.source_us / 1e6, dt.UTC), now)
    return last if moved.told_until is None else max(moved.told_until, last)
