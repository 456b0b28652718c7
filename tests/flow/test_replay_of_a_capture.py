"""At every transaction's end of a recorded capture, the journal tells the documents that the raw rows make."""

import datetime as dt
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from connectors.debezium.envelope import decode
from connectors.tryton.mapping import TrytonMapping
from engine.app.wiring import enter_system
from engine.flow.closure import Relations
from engine.flow.neighbourhood import lookup_indexes
from engine.flow.pipeline import Pipeline
from engine.flow.replay.folding import Until
from engine.flow.replay.looking import as_of
from engine.flow.replay.proving import prove
from engine.flow.replay.reading import DECODER
from engine.flow.replay.state import State
from engine.model.change import Op, Record, RowChange, TransactionEnd
from engine.model.documents import DocumentKind
from engine.ports.rows import KEY, Rows
from engine.ports.source import SourceBatch
from engine.rules.policy import Policy
from engine.store import privacy
from engine.store.archive import Archive
from engine.store.exporting import export
from engine.store.journal_reading import StoredJournal
from engine.store.unit import Connection

SYSTEM = "capture-replayed"
NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)


class Raw:
    """The rows of the capture, and the documents that the mapping makes of all of them."""

    def __init__(self) -> None:
        self._mapping = TrytonMapping()
        relations = Relations(self._mapping)
        tables = [(spec.name, KEY) for spec in self._mapping.tables]
        self.rows = Rows(relations.indexed + tables + lookup_indexes(self._mapping))
        self._waiting: dict[str | None, list[RowChange]] = {}

    def take(self, record: Record) -> bool:
        """Whether a transaction ended with it."""
        if isinstance(record, RowChange) and record.op is Op.READ:
            self._apply(record)
        elif isinstance(record, RowChange):
            self._waiting.setdefault(record.tx, []).append(record)
        elif isinstance(record, TransactionEnd):
            for change in self._waiting.pop(record.tx, ()):
                self._apply(change)
            return True
        return False

    def _apply(self, change: RowChange) -> None:
        if change.op is Op.DELETE:
            self.rows.remove(change.table, change.key)
            return
        old = self.rows.get(change.table, change.key) or {}
        self.rows.put(change.table, change.key, change.row | {c: old.get(c) for c in change.unavailable})

    def documents(self) -> dict[str, Any]:
        sums: dict[tuple[DocumentKind, str], dict[str, Decimal]] = {}
        for spec in self._mapping.tables:
            for _, row in self.rows.all(spec.name) if spec.summed else ():
                for one in self._mapping.amounts(spec.name, row, self.rows):
                    measures = sums.setdefault((one.kind, one.key), {})
                    measures[one.measure] = measures.get(one.measure, Decimal(0)) + one.amount
        found = {}
        for table, kind in self._mapping.roots.items():
            for key, _ in self.rows.all(table):
                made = self._mapping.assemble(kind, key, self.rows, sums.get((kind, key), {}))
                if made is not None:
                    found[f"{kind}/{key}"] = _bare(made.document)
        return found


def _bare(doc: Any) -> Any:
    """Without the number of the personal data, which only the store gives."""
    return msgspec.structs.replace(doc, personal=None) if hasattr(doc, "personal") else doc


def documents(records: Iterator[tuple[str, Any]]) -> dict[str, Any]:
    return {name: _bare(record.doc) for name, record in records if not record.deleted}


def of_state(state: State) -> dict[str, Any]:
    invoices = ((f"invoice/{key}", record) for key, record in state.view.invoices.items())
    customers = ((f"customer/{key}", record) for key, record in state.view.customers.items())
    return documents(iter([*invoices, *customers]))


@pytest.fixture(scope="module")
def archive(shared: Path, store_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Archive, list[Any]]:
    """The capture's journal, and behind each transaction its batch with the documents of the raw rows."""
    read = []
    for line in (shared / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        value = None if event["value"] is None else json.dumps(event["value"]).encode()
        record = decode(event["destination"], json.dumps(event["key"]).encode(), value)
        if record is not None:
            read.append(record)
    raw, ends, part = Raw(), [], list[Record]()
    with psycopg.connect(store_dsn, autocommit=True) as connection:
        enter_system(connection, SYSTEM, "tryton")
        pipe = Pipeline(connection, SYSTEM, TrytonMapping(), Policy(), lambda: NOW, epoch="test")
        for place, record in enumerate(read):
            part.append(record)
            if raw.take(record):
                pipe.take(SourceBatch(part, {"part": place}))
                row = connection.execute("SELECT batch FROM system WHERE name = %s", (SYSTEM,)).fetchone()
                ends.append((int(row[0]) if row else 0, raw.documents()))
                part = []
        folder = tmp_path_factory.mktemp("capture")
        export(connection, SYSTEM, folder)
    return Archive(folder), ends


def test_the_capture_s_journal_verifies(archive: tuple[Archive, list[Any]], store_dsn: str) -> None:
    found = prove(archive[0], SYSTEM)
    assert (found.faults, found.decided) == ([], found.entries)
    with psycopg.connect(store_dsn) as reading:
        stored = StoredJournal(reading)
        again = prove(stored, SYSTEM, current=stored.current)
    assert (again.faults, again.digest) == ([], found.digest)


def test_at_every_transaction_s_end_the_journal_tells_what_the_rows_make(archive: tuple[Archive, list[Any]]) -> None:
    held, ends = archive
    rows = [row for part in held.rows(SYSTEM) for row in part]
    state, place = State(), 0
    assert len(ends) > 100
    for batch, expected in ends:
        while place < len(rows) and rows[place][3] <= batch:
            state.apply(rows[place][6], rows[place][5], DECODER.decode(rows[place][7]))
            place += 1
        assert of_state(state) == expected, batch
    for batch, expected in ends[:: len(ends) // 5]:
        assert documents(as_of(held.parts(SYSTEM), Until(batch=batch))) == expected, batch


def test_personal_data_is_erased_and_every_chain_stays_valid(
    archive: tuple[Archive, list[Any]], connection: Connection, store_dsn: str
) -> None:
    row = connection.execute(
        "SELECT key, data ->> 'name' FROM personal WHERE system = %s ORDER BY key LIMIT 1", (SYSTEM,)
    ).fetchone()
    assert row is not None
    key, name = row
    bodies = connection.execute("SELECT body FROM journal WHERE system = %s", (SYSTEM,)).fetchall()
    assert len(name) > 3
    assert all(name not in body for (body,) in bodies)
    assert privacy.erase(connection, SYSTEM, key, NOW, TrytonMapping.tables)
    assert not privacy.erase(connection, SYSTEM, "no such customer", NOW, TrytonMapping.tables)
    kept = connection.execute("SELECT data::text FROM personal WHERE system = %s AND key = %s", (SYSTEM, key))
    assert name not in str(kept.fetchall())
    with psycopg.connect(store_dsn) as reading:
        assert prove(StoredJournal(reading), SYSTEM).faults == []
