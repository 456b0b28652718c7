"""A real Debezium on a real PostgreSQL: nothing that was committed is lost, however its process ends."""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import psutil  # type: ignore[import-untyped]
import psycopg
import pytest

from connectors.debezium.embedded import EmbeddedSource
from connectors.debezium.embedded import open_embedded as open_source
from connectors.debezium.preflight import publication_mode
from connectors.debezium.server import connection
from connectors.debezium.settings import read_options
from engine.flow.units import Grouper
from engine.model.change import Record, RowChange, SnapshotMark, TransactionEnd
from engine.ports.errors import SourceError, SourceRefused
from engine.ports.source import Resume
from engine.store.embedded import Cluster
from tests.debezium.erp import LIVE, PASSWORD, ROLE, TABLES, Erp

pytestmark = LIVE

READY_SECONDS = 60.0
CONFIRMED = (
    "SELECT (confirmed_flush_lsn - '0/0')::bigint FROM pg_replication_slots WHERE database = current_database()"
)


def take(source: EmbeddedSource, done: Callable[[list[Record]], bool]) -> tuple[list[Record], Resume]:
    """Poll and acknowledge until the records are enough."""
    records: list[Record] = []
    resume: Resume | None = None
    until = time.monotonic() + READY_SECONDS
    while resume is None or not done(records):
        assert time.monotonic() < until, f"not enough came: {records[-3:]}"
        batch = source.poll(1.0)
        if batch is not None:
            records += batch.records
            resume = batch.resume
            source.acknowledge()
    return records, resume


def has_row(number: int) -> Callable[[list[Record]], bool]:
    return lambda records: str(number) in {row.key for row in rows(records) if row.table == "invoice"}


def rows(records: list[Record]) -> list[RowChange]:
    return [record for record in records if isinstance(record, RowChange)]


def ended(records: Sequence[Record]) -> bool:
    return any(isinstance(record, TransactionEnd) for record in records)


def snapshot_over(records: list[Record]) -> bool:
    return any(row.snapshot is SnapshotMark.LAST for row in rows(records))


def test_a_snapshot_and_then_the_stream(erp: Erp) -> None:
    with closing(erp.open(max_batch=7)) as source:
        assert source.epoch.startswith("pg:")
        assert f":1:arsync_{erp.name}@" in source.epoch
        assert not source.exhausted
        records, resume = take(source, snapshot_over)
        assert len(rows(records)) == 40
        assert {row.key for row in rows(records) if row.table == "invoice-line"} == {f"{n}/1" for n in range(1, 21)}
        erp.run("INSERT INTO invoice VALUES (21, 12.10, 'x')", 'DELETE FROM "invoice-line" WHERE invoice = 3')
        records, resume = take(source, ended)
        assert [(row.table, row.key, row.op) for row in rows(records)] == [
            ("invoice", "21", "c"),
            ("invoice-line", "3/1", "d"),
        ]
        assert rows(records)[0].row == {"id": 21, "total": "12.10"}
        assert len({row.tx for row in rows(records)}) == 1
        assert next(r for r in records if isinstance(r, TransactionEnd)).count == 2
        with pytest.raises(SourceError, match="being read by another program"):
            open_at_once(erp, resume)


def open_at_once(erp: Erp, resume: Resume) -> None:
    """Open a second source on the same slot, without the long wait for the first to end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("connectors.debezium.server.BUSY_SECONDS", 0.5)
        erp.open(resume).close()


def test_what_was_not_acknowledged_comes_again_and_the_rest_does_not(erp: Erp) -> None:
    with closing(erp.open()) as source:
        _, resume = take(source, snapshot_over)
        erp.run("INSERT INTO invoice VALUES (30, 1, '')")
        _, resume = take(source, ended)
        erp.run("INSERT INTO invoice VALUES (31, 1, '')")
        held: list[Record] = []
        while not has_row(31)(held):
            batch = source.poll(10.0)
            assert batch is not None
            held += batch.records
            if not has_row(31)(held):
                resume = batch.resume
                source.acknowledge()
        # However long the engine takes: the server must keep what it has not committed.
        erp.run("INSERT INTO invoice VALUES (32, 1, '')")
        time.sleep(1.5)
        assert erp.ask(CONFIRMED) <= resume["lsn"]
        os.kill(source.pid, signal.SIGKILL)
        with pytest.raises(SourceError, match=r"exit code -9.*debezium\.log"):
            take(source, lambda _: False)
    shutil.rmtree(erp.folder)  # it is a cache
    erp.folder.mkdir()
    with closing(erp.open(resume)) as source:
        records, _ = take(source, has_row(31))
    assert not has_row(30)(records)
    assert not any(row.snapshot is not SnapshotMark.NONE for row in rows(records))


def test_the_end_of_a_transaction_comes_though_its_commit_was_heard_of_before(erp: Erp) -> None:
    """Debezium says by a heartbeat that a transaction has committed before it sends the transaction's end."""
    piecemeal: dict[str, Any] = {"properties": {"heartbeat.interval.ms": 1, "max.batch.size": 1}}
    with closing(erp.open(**piecemeal)) as source:
        _, resume = take(source, snapshot_over)
        erp.run("INSERT INTO invoice VALUES (33, 1, '')")
        held: list[Record] = []
        while True:
            batch = source.poll(10.0)
            assert batch is not None
            if ended(batch.records):
                break
            held += batch.records
            resume = batch.resume
            source.acknowledge()
        assert has_row(33)(held)
        time.sleep(0.5)
    with closing(erp.open(resume, **piecemeal)) as source:
        records, _ = take(source, ended)
    assert next(r.tx for r in records if isinstance(r, TransactionEnd)) == rows(held)[0].tx
    assert has_row(33)(records)


def test_a_snapshot_that_was_cut_short_is_taken_again(erp: Erp) -> None:
    with closing(erp.open(max_batch=7)) as source:
        batch = None
        while batch is None or not batch.records:
            batch = source.poll(READY_SECONDS)
        source.acknowledge()
    erp.run("INSERT INTO invoice VALUES (50, 1, '')")
    with closing(erp.open(batch.resume)) as source:
        records, _ = take(source, snapshot_over)
    assert len(rows(records)) == 41


def test_the_slot_follows_what_is_committed_also_while_the_tables_rest(erp: Erp) -> None:
    lag = (
        "SELECT (pg_current_wal_lsn() - confirmed_flush_lsn)::bigint FROM pg_replication_slots"
        " WHERE database = current_database()"
    )
    with closing(erp.open()) as source:
        take(source, snapshot_over)
        erp.run("INSERT INTO other SELECT generate_series(1, 20000)")
        assert erp.ask(lag) > 1_000_000
        until = time.monotonic() + 30
        while erp.ask(lag) > 100_000:
            assert time.monotonic() < until
            batch = source.poll(0.5)
            if batch is not None:
                assert not batch.records
                source.acknowledge()


def test_a_dropped_slot_is_refused_until_a_new_epoch(erp: Erp) -> None:
    with closing(erp.open()) as source:
        _, resume = take(source, snapshot_over)
    until = time.monotonic() + 10
    while True:
        with suppress(psycopg.errors.ObjectInUse):
            erp.ask(f"SELECT pg_drop_replication_slot('arsync_{erp.name}')")
            break
        assert time.monotonic() < until
        time.sleep(0.1)
    with pytest.raises(SourceRefused, match=r"is gone .*`arsync run --new-epoch`"):
        erp.open(resume)
    with closing(erp.open(resume, new_epoch=True)) as source:
        records, _ = take(source, snapshot_over)
    assert len(rows(records)) == 40


def test_the_password_shows_nowhere(erp: Erp) -> None:
    with closing(erp.open()) as source:
        take(source, snapshot_over)
        erp.run("INSERT INTO invoice VALUES (40, 1, '')")
        take(source, ended)
        child = psutil.Process(source.pid)
        assert "connectors.debezium.child" in child.cmdline()
        for process in (child, psutil.Process()):
            assert PASSWORD not in " ".join(process.cmdline())
        assert PASSWORD not in str(child.environ())
        # Nor in what an error of Debezium's writes down.
        erp.ask(f"SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = '{erp.name}'")
        with pytest.raises(SourceError, match="exit code 70") as error:
            take(source, lambda _: False)
    assert PASSWORD not in str(error.value)
    held = [path.read_bytes() for path in erp.folder.rglob("*") if path.is_file()]
    assert held
    assert not any(PASSWORD.encode() in one for one in held)


PARENT = """
import sys, threading, time
from pathlib import Path
import msgspec
from connectors.debezium.embedded import open_embedded
from engine.ports.source import SourceSetup

line = sys.stdin.buffer.readline()
setup = msgspec.json.decode(line, type=SourceSetup, dec_hook=lambda kind, held: kind(held))
opened = []
if sys.argv[1] == "thread":
    thread = threading.Thread(target=lambda: opened.append(open_embedded(setup)))
    thread.start()
    thread.join()
else:
    opened.append(open_embedded(setup))
while not (batch := opened[0].poll(1.0)) or not batch.records:
    pass
print(opened[0].pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("where", ["main", "thread"])
def test_debezium_ends_with_its_parent(erp: Erp, where: str) -> None:
    command = [sys.executable, "-c", PARENT, where]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        try:
            assert parent.stdin is not None
            assert parent.stdout is not None
            parent.stdin.write(msgspec.json.encode(erp.setup(), enc_hook=str) + b"\n")
            parent.stdin.flush()
            child = psutil.Process(int(parent.stdout.readline()))
            # Its batch is not acknowledged, so Java waits in the handler; the thread that started it may be gone.
            time.sleep(0.5)
            assert child.status() != psutil.STATUS_ZOMBIE
        finally:
            parent.kill()
    psutil.wait_procs([child], timeout=5)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    ("options", "tables", "words"),
    [
        ({"password": "wrong"}, TABLES, "refuses the password of erp"),
        ({"database": "nowhere"}, TABLES, "nowhere"),
        ({}, ("public.invoice", "public.missing"), r"public\.missing is not in the database"),
        ({"user": "guest"}, ("public.invoice",), r"guest may not read public\.invoice; run: GRANT SELECT"),
    ],
)
def test_what_cannot_work_is_said_before_it_starts(
    erp: Erp, options: dict[str, Any], tables: tuple[str, ...], words: str
) -> None:
    with pytest.raises(SourceRefused, match=words) as refusal:
        open_source(msgspec.structs.replace(erp.setup(**options), tables=tables))
    assert PASSWORD not in str(refusal.value)


def test_a_login_that_owns_nothing_needs_a_publication(erp: Erp) -> None:
    erp.ask("GRANT SELECT ON ALL TABLES IN SCHEMA public TO guest")
    with pytest.raises(SourceRefused, match="let the owner run: CREATE PUBLICATION") as refusal:
        erp.open(user="guest")
    erp.run(str(refusal.value).rsplit("run: ", 1)[1])
    with pytest.raises(SourceRefused, match='ALTER ROLE "guest" REPLICATION'):
        erp.open(user="guest")
    erp.cluster.ensure_role("guest", password=PASSWORD, replication=True)
    try:
        with closing(erp.open(user="guest")) as source:
            take(source, snapshot_over)
            erp.run("INSERT INTO invoice VALUES (60, 1, '')")
            take(source, ended)
    finally:
        erp.cluster.ensure_role("guest", password=PASSWORD)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ("invoice, \"invoice-line\" WITH (publish = 'insert, update')", "theirs does not publish every"),
        ('invoice WHERE (id < 21), "invoice-line"', "theirs leaves out rows of public.invoice: "),
    ],
)
def test_a_publication_that_leaves_something_out_is_refused(erp: Erp, made: str, words: str) -> None:
    erp.ask("GRANT SELECT ON ALL TABLES IN SCHEMA public TO guest")
    erp.run(
        'ALTER TABLE invoice REPLICA IDENTITY FULL; ALTER TABLE "invoice-line" REPLICA IDENTITY FULL',
        f"CREATE PUBLICATION theirs FOR TABLE {made}",
    )
    options, tables = read_options(erp.setup(user="guest", publication="theirs")), erp.setup().tables
    with connection(options) as server:
        with pytest.raises(SourceRefused, match=words) as refusal:
            publication_mode(server, options, tables)
        erp.run(str(refusal.value).rsplit("run: ", 1)[1])
        assert publication_mode(server, options, tables) == "disabled"


def test_a_server_without_logical_log_is_refused(tmp_path: Path) -> None:
    with Cluster(tmp_path / "postgres", settings={"fsync": "off"}) as plain:
        plain.ensure_role(ROLE, password=PASSWORD, replication=True)
        refused = Erp(plain, "books", tmp_path / "source")
        with pytest.raises(SourceRefused, match="set wal_level=logical"):
            refused.open()
    with pytest.raises(SourceError, match="is tried again"):
        refused.open()


KINDS = (
    "1, 12345.60, -0.000012300, 1e30, '2026-02-03', '2026-02-03 04:05:06.789012', '2026-02-03 04:05:06+02', 1.25,"
    " decode('00ff', 'hex'), true, NULL, ''"
)
# Too long to stay in the row, so the log leaves the text out when another column changes.
ENLARGE = "UPDATE kinds SET large = (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 4000) i)"


def test_schemas_and_precise_decimals_read_like_plain_text(erp: Erp) -> None:
    erp.run(
        "CREATE TABLE kinds (id int PRIMARY KEY, money numeric(14,2), free numeric, huge numeric(40,3), day date,"
        " at timestamp, zoned timestamptz, quantity float, raw bytea, flag bool, nothing numeric(5,1), large text)"
    )
    seen = []
    schemas = {f"{part}converter.schemas.enable": True for part in ("", "key.", "value.")}
    for slot, extra in (("plain", {}), ("precise", {**schemas, "decimal.handling.mode": "precise"})):
        erp.run("DELETE FROM kinds", f"INSERT INTO kinds VALUES ({KINDS})", ENLARGE)
        asked = erp.setup(slot=f"{slot}_{erp.name}", properties={"heartbeat.interval.ms": 200, **extra})
        with closing(open_source(msgspec.structs.replace(asked, tables=["public.kinds"], excluded=[]))) as source:
            opening, _ = take(source, snapshot_over)
            erp.run("UPDATE kinds SET money = money + 1")
            streamed, _ = take(source, ended)
        assert (len(rows(opening)), len(rows(streamed))) == (1, 1)
        first, change = rows(opening)[0], rows(streamed)[0]
        assert (change.unavailable, len(first.row["large"])) == (("large",), 128_000)
        assert (first.key, change.row["money"], change.row["quantity"]) == ("1", "12346.60", 1.25)
        del first.row["large"]
        # Of a number without a declared scale, Debezium itself drops the trailing zeros in precise mode.
        for row in (first.row, change.row):
            row["free"] = Decimal(row["free"])
        seen.append((first.row, change.row))
    assert seen[0] == seen[1]


class Writers:
    """Programs of the ERP: transactions of any length, side by side, some of them rolled back."""

    def __init__(self, erp: Erp, count: int) -> None:
        self._dsn = erp.dsn
        self._stop = threading.Event()
        self.committed: dict[str, set[str]] = {}
        self._threads = [threading.Thread(target=self._write, args=(n,)) for n in range(1, count + 1)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _write(self, number: int) -> None:
        chance = random.Random(number)
        key = number * 1_000_000
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            while not self._stop.is_set():
                keys = set()
                with connection.transaction() as transaction:
                    row = connection.execute("SELECT txid_current()").fetchone()
                    for _ in range(chance.choice([1, 1, 3, 40])):
                        key += 1
                        connection.execute("INSERT INTO invoice VALUES (%s, 1, '')", [key])
                        keys.add(str(key))
                        if chance.random() < 0.05:
                            time.sleep(chance.random() * 0.5)
                    back = chance.random() < 0.1
                    if back:
                        raise psycopg.Rollback(transaction)
                assert row is not None
                if not back:
                    self.committed[str(row[0])] = keys
                time.sleep(chance.random() * 0.1)


@pytest.mark.parametrize("seed", [4, *(pytest.param(seed, marks=pytest.mark.prove) for seed in range(5, 25))])
def test_nothing_is_lost_over_five_kills(erp: Erp, seed: int) -> None:
    chance = random.Random(seed)
    grouper = Grouper(commit=0, snapshot=None, snapshot_complete=False, pending=[])
    units: dict[str, set[str]] = {}
    opening: set[str] = set()
    resume: Resume | None = None
    writers = Writers(erp, 3)
    # Debezium's batches are larger than the engine's, so that some die between two of their parts.
    larger: dict[str, Any] = {"max_batch": 7, "properties": {"heartbeat.interval.ms": 200, "max.batch.size": 40}}
    kills, source = 0, erp.open(**larger)
    try:
        began = quiet = time.monotonic()
        stopped = False
        # Done when the writers have stopped and nothing came for a while: heartbeats are no records.
        while not stopped or time.monotonic() < quiet + 4:
            assert time.monotonic() < began + 180, f"it does not come to an end; {kills} times it was opened again"
            try:
                batch = source.poll(0.2)
                if batch is not None and kills < 5 and chance.random() < 0.01:
                    os.kill(source.pid, signal.SIGKILL)
                    if chance.random() < 0.5:
                        raise SourceError("the engine had not committed either")
                if batch is None:
                    continue
                resume = batch.resume
                quiet = time.monotonic() if batch.records else quiet
                for unit in grouper.feed(batch.records):
                    keys = {change.key for change in getattr(unit, "changes", ())}
                    if getattr(unit, "snapshot", None):
                        opening |= keys
                    else:
                        units.setdefault(getattr(unit, "tx", ""), set()).update(keys)
                source.acknowledge()
            except SourceError:
                source.close()
                kills += 1
                source = erp.open(resume, **larger)
                quiet = time.monotonic() + 10
            if kills >= 5 and not stopped:
                writers.stop()
                stopped = True
    finally:
        writers.stop()
        source.close()
    assert len(writers.committed) > 50
    assert not {tx for tx, keys in writers.committed.items() if not keys <= units.get(tx, set()) | opening}
    assert not grouper.pending()
