"""`python -m benchmarks replay`: export, verify and as-of over a journal of N entries, beside what others read.

The entries are written by the real rules (`benchmarks.replay.lives`), copied into a PostgreSQL of its own, exported
from there, and then read from Parquet alone. Everything is measured in one run. See docs/benchmarks.md.
"""

import gc
import json
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
import psycopg

from benchmarks.replay.lives import Writer, journal
from engine.flow.replay.folding import Until, fold_documents
from engine.flow.replay.sharing import verify_shared
from engine.store import schema
from engine.store.archive import Archive, open_duckdb
from engine.store.embedded import Cluster
from engine.store.exporting import export
from engine.store.journal import COLUMNS, Row

SYSTEM = "bench"
T = TypeVar("T")


@click.command()
@click.option("--entries", default=200_000, show_default=True, help="Entries of the journal.")
@click.option("--peers", type=click.Path(dir_okay=False, path_type=Path), default=Path(".venv-peers/bin/python"),
              show_default=True, help="The python of the peers' environment.")  # fmt: skip
@click.option("--json", "json_", is_flag=True, help="End with one line of JSON.")
def replay(entries: int, peers: Path, json_: bool) -> None:  # noqa: FBT001 - click's own call
    """Rates in entries a second."""
    if not peers.exists():
        raise click.ClickException(
            f"{peers} is missing; `make bench` fills it from benchmarks/peers/requirements.txt"
        )
    with tempfile.TemporaryDirectory(prefix="arsync-bench-") as place:
        found = _measured(entries, peers.absolute(), Path(place))
    if not json_:
        for name, figure in found.items():
            click.echo(f"{name:20} {figure:>14,}")
        return
    click.echo(json.dumps(found))


def _measured(entries: int, peers: Path, place: Path) -> dict[str, int]:
    archive = place / "archive"
    with Cluster(place / "postgres", settings={"fsync": "off", "max_wal_size": "4GB"}) as cluster:
        cluster.ensure_database("bench")
        schema.migrate(cluster.dsn("bench"), None)
        with psycopg.connect(cluster.dsn("bench"), autocommit=True) as connection:
            _told(f"{entries:,} entries are decided and written")
            _fill(connection, entries)
            _told("export")
            _, exporting = _timed(lambda: export(connection, SYSTEM, archive))
    shutil.rmtree(place / "postgres", ignore_errors=True)
    held = Archive(archive)
    _told("as-of")
    documents, looking = _timed(lambda: _look(held))
    _told("duckdb's bare scan")
    _, scanning = _timed(lambda: _scan(held.files(SYSTEM, "steps")))
    _told("verify, in two processes")
    verified, verifying = _timed(lambda: verify_shared(held, SYSTEM))
    if verified.faults or verified.entries != entries or verified.decided != entries:
        raise click.ClickException(f"the journal does not verify: {verified.faults[:1] or verified.entries}")
    _told(f"{documents:,} documents, {verified.records:,} records; pyeventsourcing")
    read = subprocess.run([peers, Path(__file__).with_name("peer.py"), str(entries), place], check=True,
                          capture_output=True, text=True)  # fmt: skip
    used = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {
        "entries": entries,
        "as_of": round(entries / looking),
        "verify": round(entries / verifying),
        "export": round(entries / exporting),
        "pyeventsourcing_read": round(entries / float(read.stdout)),
        "duckdb_scan": round(entries / scanning),
        "peak_mib": round(used / 1024),
    }


def _fill(connection: psycopg.Connection[Any], entries: int) -> None:
    connection.execute("INSERT INTO system (name, connector) VALUES (%s, 'none')", (SYSTEM,))
    gc.disable()  # lives end and are freed; nothing else is left behind
    writer = Writer(SYSTEM)
    done = 0
    for part in journal(writer, entries):
        _copy(connection, part)
        done += len(part)
        _told(f"{done:,} written")
    connection.execute("UPDATE system SET batch = %s WHERE name = %s", (writer.batch, SYSTEM))
    for stream, (seq, own) in writer.heads.items():
        connection.execute("INSERT INTO stream_head (stream, seq, hash) VALUES (%s, %s, %s)", (stream, seq, own))


def _copy(connection: psycopg.Connection[Any], rows: Sequence[Row]) -> None:
    with connection.cursor() as cursor, cursor.copy(f"COPY journal ({', '.join(COLUMNS)}) FROM STDIN") as copied:
        for row in rows:
            copied.write_row(row)


def _look(held: Archive) -> int:
    """Fold everything twice: fields to whole documents, and states by the tables; both must agree."""
    with open_duckdb() as duck:
        steps, moves = held.files(SYSTEM, "steps"), held.files(SYSTEM, "moves")
        return sum(fold_documents(duck, steps, Until(), moves))


def _scan(files: Sequence[str]) -> None:
    with open_duckdb() as duck:
        found = duck.execute("SELECT * FROM read_parquet(?, hive_partitioning = false) LIMIT 0", [list(files)])
        columns = ", ".join(f'count("{name[0]}"), max("{name[0]}")' for name in found.description)
        duck.execute(f"SELECT {columns} FROM read_parquet(?, hive_partitioning = false)", [list(files)]).fetchall()  # noqa: S608


def _timed(act: Callable[[], T]) -> tuple[T, float]:
    began = time.perf_counter()
    result = act()
    return result, time.perf_counter() - began


def _told(text: str) -> None:
    click.echo(text, err=True)
