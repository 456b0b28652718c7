"""Carries out chores between two batches: a dead letter tried again, a document's rows read again.

The reader calls it in its own thread, where alone changes are applied; `arsync deadletters` does when no daemon runs.
Whatever is applied goes through the pipeline: assembled, decided and journalled like a change of the stream.
"""

from collections.abc import Callable

import msgspec
import structlog

from engine.flow.closure import Root, load_document
from engine.flow.pipeline import Pipeline
from engine.model.change import Op, Record, Row, RowChange, SnapshotMark, Unit, Unreadable
from engine.model.documents import DocumentKind
from engine.ports.errors import ConnectorError
from engine.ports.rows import KEY
from engine.ports.surveying import Surveyor
from engine.store import chores, letters
from engine.store.chores import Chore, ChoreKind
from engine.store.letters import Filter, Letter, LetterKind
from engine.store.unit import Connection
from engine.store.unit import Unit as Work

log = structlog.get_logger()

MOST = 20
"""Chores that are looked at in one round, so that the stream is not held up for long."""
_CANNOT = "this source cannot decode a kept record again; drop it, and take a new snapshot (`arsync run --new-epoch`)"
_BORDER = (
    "it is the border of a transaction, and others were applied since; drop it, and take a new snapshot "
    "(`arsync run --new-epoch`)"
)
_NO_ROWS = (
    "this source has no way to the ERP's database, so rows cannot be read with their position; take a new snapshot "
    "(`arsync run --new-epoch`)"
)
ReadAgain = Callable[[Unreadable], Record | None]


class _Survey(msgspec.Struct, frozen=True):
    """A document's rows as of one moment, and the position that the stream must have passed before they count."""

    unit: Unit
    until: int


class Chores:
    """One system's chores, for as long as one pipeline lives."""

    def __init__(
        self,
        connection: Connection,
        system: str,
        pipeline: Pipeline,
        read_again: ReadAgain | None,
        surveyor: Surveyor | None = None,
    ) -> None:
        """`read_again` decodes a change that was kept, `surveyor` reads rows; None where the source cannot."""
        self._connection = connection
        self._system = system
        self._pipeline = pipeline
        self._read_again = read_again
        self._surveyor = surveyor
        self._surveyed: dict[int, _Survey] = {}

    def step(self) -> int:
        """Do what is asked for; gives how many chores came to their end."""
        with self._connection.cursor() as cursor:
            asked = chores.open_chores(cursor, self._system, MOST)
        ended = 0
        for chore in asked:
            if chore.kind is ChoreKind.RETRY_LETTER:
                self._retry(chore)
                ended += 1
            else:
                ended += self._read_rows_again(chore)
        return ended

    def _read_rows_again(self, chore: Chore) -> bool:
        """Read a document's rows as of one moment; once the stream has passed that, take them in. Whether it ended.

        A row that a later transaction has changed was told by the stream since, and stays as it was told.
        """
        kind, _, key = chore.subject.partition("/")
        root = (DocumentKind(kind), key)
        if self._surveyor is None:
            self._end(chore, "failed", _NO_ROWS)
            return True
        try:
            survey = self._surveyed.get(chore.id) or self._survey(self._surveyor, root)
        except ConnectorError as error:
            self._end(chore, "failed", str(error))
            return True
        self._surveyed[chore.id] = survey
        if not self._surveyor.passed(self._pipeline.position.resume, survey.until):
            return False
        del self._surveyed[chore.id]
        told = f"{len(survey.unit.changes)} rows read at position {survey.unit.commit}"
        unit = msgspec.structs.replace(survey.unit, tx=f"reread:{chore.id}")
        self._pipeline.reread(unit, root, lambda work: chores.end(work, chore.id, "done", told))
        log.info("rows were read again", system=self._system, document=chore.subject, told=told)
        return True

    def _survey(self, surveyor: Surveyor, root: Root) -> "_Survey":
        known = self._pipeline.mirrored(root)
        with surveyor.snapshot() as snapshot:
            since = snapshot.since
            rows = load_document(self._pipeline.relations, root, snapshot.fetch)
            rows += snapshot.fetch(self._pipeline.wanted(root))
            found = {(table, key): row for table, key, row in rows}
            missing = [(table, KEY, key) for table, key in sorted(known - set(found))]
            found |= {(table, key): row for table, key, row in snapshot.fetch(missing)}
            until = snapshot.until()
        read = [_row(table, key, row, since, Op.READ) for (table, key), row in sorted(found.items())]
        gone = [_row(table, key, {}, since, Op.DELETE) for table, key in sorted(known - set(found))]
        return _Survey(Unit("reread", since, 0, (*read, *gone)), until)

    def _retry(self, chore: Chore) -> None:
        with self._connection.cursor() as cursor:
            found = letters.find(cursor, Filter(system=self._system, ids=(int(chore.subject),)))
        if not found:
            self._end(chore, "done", "it is not open any more")
        elif found[0].kind is LetterKind.DOCUMENT:
            self._retry_document(chore, found[0])
        elif found[0].kind is LetterKind.CHANGE:
            self._retry_change(chore, found[0])
        else:
            self._end(chore, "failed", f"a letter about a {found[0].kind} is not the reader's to retry")

    def _retry_document(self, chore: Chore, letter: Letter) -> None:
        kind, _, key = (letter.document or "").partition("/")

        def note(work: Work) -> None:
            # Reading it has closed the letter where it could be read.
            still = letters.find(work.cursor, Filter(system=self._system, ids=(letter.id,)))
            if still:
                chores.end(work, chore.id, "failed", still[0].reason)
            else:
                chores.end(work, chore.id, "done", "it could be read again")

        if kind in set(DocumentKind):
            self._pipeline.assemble_again([(DocumentKind(kind), key)], note)
        else:
            self._pipeline.read_paper_again(kind, key, note)

    def _retry_change(self, chore: Chore, letter: Letter) -> None:
        if self._read_again is None:
            self._end(chore, "failed", _CANNOT)
            return
        record = self._read_again(Unreadable(letter.origin, letter.reason, letter.payload, letter.key))
        if isinstance(record, RowChange):
            self._apply(chore, letter, record)
        elif isinstance(record, Unreadable):
            self._end(chore, "failed", record.reason)
        elif record is None:
            self._close(chore, letter, "there is nothing to do for it")
        else:
            self._end(chore, "failed", _BORDER)

    def _apply(self, chore: Chore, letter: Letter, record: RowChange) -> None:
        """Apply a change late. For one row the log's own positions are in order, so what came after it stays."""
        row = msgspec.structs.replace(record, bordered=False, snapshot=SnapshotMark.NONE)
        unit = Unit(f"letter:{letter.id}", row.lsn, row.source_us, (row,))

        def note(work: Work, new: int) -> None:
            subject = f"{row.table} {row.key}"
            told = f"{subject} was applied" if new else f"what is known of {subject} is newer: nothing was changed"
            letters.close(work, [letter.id], "retried", chore.asked_by, chore.why)
            chores.end(work, chore.id, "done", told)

        self._pipeline.retry(unit, note)

    def _close(self, chore: Chore, letter: Letter, told: str) -> None:
        with self._pipeline.work() as work:
            letters.close(work, [letter.id], "retried", chore.asked_by, chore.why)
            chores.end(work, chore.id, "done", told)

    def _end(self, chore: Chore, state: str, told: str) -> None:
        if state == "failed":
            log.warning("a chore failed", system=self._system, kind=str(chore.kind), subject=chore.subject, told=told)
        with self._pipeline.work() as work:
            chores.end(work, chore.id, state, told)


def _row(table: str, key: str, row: Row, since: int, op: Op) -> RowChange:
    """A row at the position through which the whole snapshot is known."""
    return RowChange(table, key, op, row, since, None, 0)
