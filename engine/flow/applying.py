"""What is at hand of one system, and how an ERP transaction, a snapshot's page or a document read again changes it.

The pipeline says what is committed when; this does what stands in one unit of work: rows of the mirror, the documents
that are made of them, and what is decided on these. What a snapshot's end or a changed look-up asks for is left to
`catch_up`, page by page.
"""

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
import structlog
from psycopg import Cursor

from engine.flow.assembly import Telling, event_of, take_telling, view_for
from engine.flow.batch import UNREADABLE, Batch, cannot_be_read, net_changes
from engine.flow.closure import Relations, Root
from engine.flow.neighbourhood import Neighbourhood
from engine.flow.parking import Parking
from engine.flow.recall import Recall
from engine.model.change import Op, Position, RowChange, Unit
from engine.model.documents import DocumentKind, Paper
from engine.ports.mapping import ErpMapping, TableSpec
from engine.rules.policy import Policy
from engine.store import backlog, letters, mirror, records, sums
from engine.store.mirror import MirrorEntry
from engine.store.unit import Connection, unit_of_work
from engine.store.unit import Unit as Work

log = structlog.get_logger()
Clock = Callable[[], dt.datetime]

PAGE = 500
"""Documents that are assembled in one unit of work after a snapshot."""


class Applier:
    """One pipeline's rows, records and letters at hand."""

    def __init__(
        self,
        connection: Connection,
        cursor: Cursor[Any],
        system: str,
        mapping: ErpMapping,
        policy: Policy,
        clock: Clock,
        *,
        brake: int,
        most_letters: int,
    ) -> None:
        """What is parked is read by `cursor`. `brake` and `most_letters` bound what may be parked; see `Parking`."""
        self._connection = connection
        self._system = system
        self._mapping = mapping
        self._policy = policy
        self._clock = clock
        self.relations = Relations(mapping)
        self._specs = {spec.name: spec for spec in mapping.tables}
        self._versions = {"mapping": mapping.version}
        self._near = Neighbourhood(system, mapping, self.relations)
        self._recall = Recall(system)
        self._parked = records.parked_documents(cursor, system)
        self.parking = Parking(system, brake, most_letters, letters.open_documents(cursor, system))
        self._behind = True

    @contextmanager
    def unit(self, now: dt.datetime) -> Iterator[Work]:
        """A unit of work; when it fails, nothing of what is at hand is trusted any more."""
        try:
            with unit_of_work(self._connection, self._system, now, self._versions, self._policy) as work:
                self._recall.begin(work.batch)
                self._near.begin(work.mirrored)
                yield work
        except BaseException:
            self.forget()
            raise

    def forget(self) -> None:
        """What is asked for because something may be wrong is held against the store itself."""
        self._near.forget()
        self._recall.forget()

    def apply(self, work: Work, units: Sequence[Unit]) -> None:
        """Apply transactions."""
        self._apply(work, units)

    def retry(self, work: Work, unit: Unit) -> int:
        """Apply changes that could not be read when they came; how many rows they changed."""
        return self._apply(work, [unit], late=True, retried=True)

    def _apply(
        self,
        work: Work,
        units: Sequence[Unit],
        roots: Sequence[Root] = (),
        *,
        late: bool = False,
        retried: bool = False,
    ) -> int:
        """Apply units; `roots` are assembled also where nothing touches them. Gives how many rows changed.

        `late`: they come by another way than the stream, and what rests on them may have been read without them.
        """
        known = [net_changes(self._only_captured(unit)) for unit in units]
        if not roots and not any(unit.changes for unit in known):
            return 0
        batch = self._batch(work)
        batch.load(known, roots)
        tellings = []
        for unit in known:
            touched = dict.fromkeys((*batch.apply(unit, retried=retried), *roots))
            papers = self._papers(work, unit) if batch.after or not retried else []
            tellings.append(Telling(unit.tx, unit.commit, batch.assemble(touched), papers))
        self._decide(work, tellings)
        mirror.save_entries(work.cursor, self._system, batch.after, batch.before, self.relations.related)
        self._near.wrote(work.batch)
        sums.save_sums(work.cursor, self._system, batch.sums_to_save())
        if any(self._specs[table].lookup for table, _ in batch.after):
            self._note_lookups(work, known, batch, late=late)
        return len(batch.after)

    def assemble_again(self, work: Work, roots: Sequence[Root], commit: int) -> None:
        """Assemble these documents from the mirror as it stands, and decide on what is new."""
        self.forget()
        batch = self._batch(work)
        batch.load([], roots)
        told = batch.assemble(roots)
        self._decide(work, [Telling(f"again:{work.batch}", commit, told)], retried=True)

    def reread(self, work: Work, unit: Unit, root: Root) -> None:
        """Apply all rows of a document: what leads to them, and sums that they are part of, are made anew from the
        mirror first, and the document is assembled in any case."""
        self.forget()
        keys = [(change.table, change.key) for change in unit.changes]
        mirror.rewrite_refs(work.cursor, self._system, keys, self.relations.related)
        if self._owners(root) or self._sums_are_in_doubt(work, unit):
            self._restart_sums(work)
        self._apply(work, [unit], [root], late=True)

    def read_paper_again(self, work: Work, table: str, key: str, commit: int) -> None:
        """Read an order or an entry from the mirror as it stands, and decide on what is new."""
        entry = mirror.load_entries(work.cursor, self._system, [(table, key)]).get((table, key))
        gone = entry is None or entry.deleted
        change = RowChange(table, key, Op.DELETE if gone else Op.READ, entry.row if entry else {}, commit, None, 0)
        unit = Unit(f"again:{work.batch}", commit, 0, (change,))
        papers = self._papers(work, unit, retried=True)
        if papers:
            self._decide(work, [Telling(unit.tx, commit, papers=papers)], retried=True)

    def _papers(self, work: Work, unit: Unit, *, retried: bool = False) -> list[Paper]:
        """The orders and entries that its rows tell of; a row that cannot be read is kept as a letter."""
        last = {(c.table, c.key): c for c in unit.changes if c.table in self._mapping.papers}
        papers: list[Paper] = []
        for (table, key), change in last.items():
            name, trouble = f"{table}/{key}", None
            if change.op is not Op.DELETE:
                try:
                    paper = self._mapping.read_paper(table, key, change.row)
                except UNREADABLE as error:
                    trouble = cannot_be_read(table, key, error)
                else:
                    papers += [paper] if paper is not None else []
            self.parking.take_paper(work, name, trouble, {table: {key: change.row}}, retried=retried)
        return papers

    def _only_captured(self, unit: Unit) -> Unit:
        if all(change.table in self._specs for change in unit.changes):
            return unit
        changes = tuple(change for change in unit.changes if change.table in self._specs)
        return msgspec.structs.replace(unit, changes=changes)

    def _decide(self, work: Work, tellings: Sequence[Telling], *, retried: bool = False) -> None:
        assembled = (told for telling in tellings for told in telling.assemblies)
        self.parking.take_documents(work, assembled, retried=retried)
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

    # Snapshots and look-ups.

    def mirror_page(self, work: Work, unit: Unit) -> None:
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
        mirror.save_entries(work.cursor, self._system, after, before, self.relations.related)
        self._near.forget()
        papers = self._papers(work, msgspec.structs.replace(unit, changes=tuple(news)))
        if papers:
            self._decide(work, [Telling(unit.tx, unit.commit, papers=papers)])
        if unit.completes and unit.snapshot is not None:
            swept = mirror.sweep(work.cursor, self._system, unit.snapshot, unit.commit)
            log.info("snapshot complete", system=self._system, position=unit.commit, rows_deleted_meanwhile=swept)
            self._restart_sums(work)
            self._assemble_all(work, f"snapshot:{unit.snapshot}")

    def disturbs_lookups(self, unit: Unit) -> bool:
        """Whether documents that nothing touches may be other ones after this transaction."""
        if unit.snapshot:
            return False
        for change in unit.changes:
            spec = self._specs.get(change.table)
            if spec is not None and spec.lookup and (change.op is not Op.CREATE or spec.watch_inserts):
                return True
        return False

    def _note_lookups(self, work: Work, units: Sequence[Unit], batch: Batch, *, late: bool) -> None:
        """Look-ups are read again next time; a change in what documents rest on assembles them again."""
        self._near.forget()
        for unit in units:
            for change in unit.changes:
                spec = self._specs[change.table]
                old = batch.before.get((change.table, change.key))
                before = old.row if old is not None and not old.deleted else None
                if not spec.lookup or (before is None and not spec.watch_inserts and not late):
                    continue
                if change.op is Op.DELETE or any(change.row.get(c) != (before or {}).get(c) for c in spec.watched):
                    self._restart_sums(work)
                    self._assemble_all(work, f"{change.table} {change.key} changed")
                    return

    def catch_up(self, commit: int) -> None:
        """Assemble again what a snapshot or a look-up left to do, page by page, each in a unit of work of its own.

        `commit` is how far the log was read.
        """
        while self._behind:
            self._behind = self._assemble_page(commit)

    def _assemble_all(self, work: Work, reason: str) -> None:
        """Have every document assembled again, page by page, before the stream goes on."""
        kinds = list(dict.fromkeys(self._mapping.roots.values()))
        backlog.add_backlog(work.cursor, self._system, kinds, reason)
        self._behind = True

    def _assemble_page(self, commit: int) -> bool:
        """Assemble the next page of the backlog; False when there is none."""
        now = self._clock()
        with self._connection.transaction(), self._connection.cursor() as cursor:
            todo = backlog.next_backlog(cursor, self._system)
        if todo is None:
            return False
        kind, after, reason = todo
        table = next(name for name, root in self._mapping.roots.items() if root is kind)
        with self.unit(now) as work:
            keys = mirror.root_keys(work.cursor, self._system, table, after, PAGE)
            if keys:
                roots: list[tuple[DocumentKind, str]] = [(kind, key) for key in keys]
                batch = self._batch(work)
                batch.load([], roots)
                self._decide(work, [Telling(reason, commit, [told]) for told in batch.assemble(roots)])
            backlog.advance_backlog(work.cursor, self._system, kind, keys[-1] if len(keys) == PAGE else None)
        return True

    def _restart_sums(self, work: Work) -> None:
        """Compute every sum anew from the mirror."""
        self._near.forget()
        batch = self._batch(work)
        tables = [spec.name for spec in self._mapping.tables if spec.summed]
        totals: dict[tuple[Root, str], object] = {}
        for table, row in sums.stream_rows(self._connection, self._system, tables):
            for root, amount in batch.read_amounts(table, row):
                name = (root, amount.measure)
                totals[name] = totals.get(name, 0) + amount.amount  # type: ignore[operator]
        sums.clear_sums(work.cursor, self._system)
        listed = [(root, measure, total) for (root, measure), total in totals.items()]
        sums.save_sums(work.cursor, self._system, listed)  # type: ignore[arg-type]

    # A document's rows.

    def mirrored(self, root: Root) -> set[mirror.Key]:
        """Every row that the mirror has of a document."""
        with self._connection.transaction(), self._connection.cursor() as cursor:
            near = Neighbourhood(self._system, self._mapping, self.relations)
            near.reach(cursor, [], [root])
            found = self.relations.rows_of(root, near.rows)
            known = {(table, key) for table, rows in found.items() for key in rows}
            for spec in self._owners(root):
                owned = mirror.keys_with(cursor, self._system, spec.name, spec.owner or "", root[1])
                known |= {(spec.name, key) for key in owned}
        return known

    def wanted(self, root: Root) -> list[tuple[str, str, str]]:
        """What else than its relations leads to a document's rows: whose sums they are part of."""
        return [(spec.name, spec.owner or "", root[1]) for spec in self._owners(root)]

    def _owners(self, root: Root) -> list[TableSpec]:
        """Tables whose rows add to this kind's sums."""
        summed = [spec for spec in self._mapping.tables if spec.summed and spec.owner]
        return summed if root[0] is DocumentKind.CUSTOMER else []

    def _sums_are_in_doubt(self, work: Work, unit: Unit) -> bool:
        """Whether a row that adds to a sum stands otherwise in the mirror: nobody knows as what it was added."""
        summed = {spec.name for spec in self._mapping.tables if spec.summed}
        told = {(one.table, one.key): None if one.op is Op.DELETE else one.row for one in unit.changes}
        wanted = [key for key in told if key[0] in summed]
        entries = mirror.load_entries(work.cursor, self._system, wanted)
        living = {key: entry.row for key, entry in entries.items() if not entry.deleted}
        return any(living.get(key) != told[key] for key in wanted)

    def _batch(self, work: Work) -> Batch:
        return Batch(work.cursor, self._mapping, self.relations, self._near)
