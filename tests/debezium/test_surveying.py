"""Beside the stream: where the log ends, and rows in the very form in which Debezium tells them."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg

from connectors.debezium.surveying import PostgresSurveyor
from engine.model.change import Row, RowChange, TransactionEnd
from engine.ports.rows import KEY
from engine.ports.source import Resume
from tests.debezium.erp import LIVE, PASSWORD, ROLE, Erp

pytestmark = LIVE

TABLE = """CREATE TABLE everything (
    id int PRIMARY KEY, small smallint, big bigint, truth boolean, word varchar(40), words text, letter char(3),
    money numeric(16, 2), free numeric, real real, double double precision, day date, moment timestamp(6),
    stamp timestamp(0), bare timestamp, zoned timestamptz, span interval, doc jsonb, blob bytea)"""
ROWS = """INSERT INTO everything VALUES
    (1, -3, 1234567890123, true, 'ü€', E'two\nlines', 'ab', 1234.50, 0.000001, 1.5, 0.1, '2026-11-23',
     '2026-11-23 10:00:00.123456', '2026-11-23 10:00:00', '2026-11-23 10:00:00.5', '2026-11-23 10:00:00.25+02',
     '1 day 02:03:04', '{"b": 1, "a": [1.50]}', '\\x00ff0041'),
    (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (3, 0, 0, false, '', '', '', -0.01, 100000000000000000000, 0, -1e300, '1969-12-31', '1969-12-31 23:59:59.999999',
     '2000-02-29 00:00:00', '9999-12-31 00:00:00', '1970-01-01 00:00:00Z', '-00:00:01', '[]',
     decode(repeat('00ff', 100), 'hex'))"""


def streamed(erp: Erp, tables: tuple[str, ...], wanted: int) -> Iterator[tuple[RowChange, Resume]]:
    """The rows that Debezium tells, from its snapshot on."""
    import msgspec

    setup = msgspec.structs.replace(erp.setup(), tables=tables)
    from connectors.debezium.embedded import open_embedded

    source = open_embedded(setup)
    try:
        until, found = time.monotonic() + 90, 0
        while found < wanted:
            assert time.monotonic() < until
            batch = source.poll(0.5)
            for record in batch.records if batch else ():
                if isinstance(record, RowChange):
                    found += 1
                    yield record, batch.resume if batch else {}
            if batch:
                source.acknowledge()
    finally:
        source.close()


def test_a_row_reads_as_debezium_tells_it(erp: Erp) -> None:
    erp.run(TABLE, ROWS)
    tables = ("public.everything", "public.invoice-line")
    told = {(change.table, change.key): change.row for change, _ in streamed(erp, tables, 23)}
    surveyor = PostgresSurveyor(erp.setup())
    with surveyor.snapshot() as snapshot:
        rows = snapshot.fetch([("everything", KEY, str(n)) for n in (1, 2, 3, 4)])
        lines = snapshot.fetch([("invoice-line", KEY, "7/1"), ("invoice-line", "invoice", "8")])
    seen: dict[tuple[str, str], Row] = {(table, key): row for table, key, row in (*rows, *lines)}
    assert seen.keys() == {("everything", "1"), ("everything", "2"), ("everything", "3"),
                           ("invoice-line", "7/1"), ("invoice-line", "8/1")}  # fmt: skip
    for name, row in seen.items():
        assert row == told[name], name


def test_a_column_that_is_left_out_stays_out(erp: Erp) -> None:
    with PostgresSurveyor(erp.setup()).snapshot() as snapshot:
        assert snapshot.fetch([("invoice", KEY, "3")]) == [("invoice", "3", {"id": 3, "total": "3.00"})]


def connect(erp: Erp) -> "psycopg.Connection[Any]":
    return psycopg.connect(erp.cluster.dsn(erp.name, user=ROLE, password=PASSWORD))


def test_the_stream_passes_the_position_also_when_the_erp_rests_and_has_told_what_lies_below(erp: Erp) -> None:
    surveyor = PostgresSurveyor(erp.setup(properties={"heartbeat.interval.ms": 60_000}))
    source = erp.open(properties={"heartbeat.interval.ms": 60_000})
    try:
        resume: Resume | None = None
        ends: list[int] = []
        until = time.monotonic() + 120

        def follow(position: int) -> None:
            nonlocal resume
            while not surveyor.passed(resume, position):
                assert time.monotonic() < until, (resume, position)
                batch = source.poll(0.2)
                if batch is not None:
                    ends.extend(r.lsn for r in batch.records if isinstance(r, TransactionEnd))
                    resume = batch.resume
                    source.acknowledge()

        follow(surveyor.position())
        for number in range(5):
            erp.run(f"UPDATE invoice SET total = {number} WHERE id = 1", f"UPDATE invoice SET total = {number}")
            position = surveyor.position()
            follow(position)
            assert len(ends) == number + 1, "all that lies below was told when the position is passed"
            assert ends[-1] < position
            follow(surveyor.position())
    finally:
        source.close()


def test_what_ended_below_the_position_is_seen_and_what_runs_on_lies_above(erp: Erp) -> None:
    surveyor = PostgresSurveyor(erp.setup())
    stop = threading.Event()

    def write() -> None:
        with connect(erp) as connection:
            number = 0
            while not stop.is_set():
                number += 1
                connection.execute("UPDATE invoice SET total = total + 1 WHERE id = 2")
                connection.commit()

    writer = threading.Thread(target=write)
    with connect(erp) as held:
        held.execute("UPDATE invoice SET total = 77 WHERE id = 5")
        writer.start()
        try:
            for _ in range(10):
                with surveyor.snapshot() as snapshot:
                    rows = {key: row["total"] for _, key, row in snapshot.fetch(
                        [("invoice", KEY, "2"), ("invoice", KEY, "5")])}  # fmt: skip
                    assert snapshot.since < snapshot.until()
                assert rows["5"] == "5.00", "it has not ended"
        finally:
            stop.set()
            writer.join()
        held.commit()
    with surveyor.snapshot() as snapshot:
        assert snapshot.fetch([("invoice", KEY, "5")])[0][2]["total"] == "77.00"
