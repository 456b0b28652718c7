"""`python -m benchmarks replay`: export, verify and as-of over a journal of N entries, beside what others read.

The entries are written by the real rules (`benchmarks.replay.lives`), copied into a PostgreSQL of its own, exported
from there, and then read from Parquet alone. Everything is measured in one run, each verb in a process of its own
(`benchmarks.replay.stages`). See docs/benchmarks.md.
"""

import gc
import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import psycopg

from benchmarks.replay.lives import SYSTEM, Writer, journal
from benchmarks.replay.stages import DSN, StageFailed, staged
from engine.store import schema
from engine.store.embedded import Cluster
from engine.store.journal import COLUMNS, Row

MOST_EVENTS = 1_000_000
"""That the peer writes and reads: it reads them page by page, and more of them not otherwise."""


@click.command()
@click.option("--entries", default=200_000, show_default=True, help="Entries of the journal.")
@click.option("--peers", type=click.Path(dir_okay=False, path_type=Path), default=Path(".venv-peers/bin/python"),
              show_default=True, help="The python of the peers' environment.")  # fmt: skip
@click.option("--json", "json_", is_flag=True, help="End with one line of JSON.")
def replay(entries: int, peers: Path, json_: bool) -> None:  # noqa: FBT001 - click's own call
    """Rates in entries a second, and MiB that each verb's processes hold together at most."""
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
        archive.mkdir()
        stages = {"export": _staged("export", archive, {DSN: cluster.dsn("bench")})}
    shutil.rmtree(place / "postgres", ignore_errors=True)
    stages |= {stage: _staged(stage, archive) for stage in ("as_of", "scan", "verify")}
    verified = stages["verify"].found
    if verified["faults"] or verified["entries"] != entries or verified["decided"] != entries:
        raise click.ClickException(f"the journal does not verify: {verified}")
    events = min(entries, MOST_EVENTS)
    _told(f"{stages['as_of'].found:,} documents, {verified['records']:,} records; pyeventsourcing, {events:,} events")
    read = subprocess.run([peers, Path(__file__).with_name("peer.py"), str(events), place], check=True,
                          capture_output=True, text=True)  # fmt: skip
    verbs = ("export", "as_of", "verify")
    return {
        "entries": entries,
        "as_of": round(entries / stages["as_of"].seconds),
        "verify": round(entries / stages["verify"].seconds),
        "export": round(entries / stages["export"].seconds),
        "pyeventsourcing_read": round(events / float(read.stdout)),
        "duckdb_scan": round(entries / stages["scan"].seconds),
        "peak_mib": max(stages[verb].mib for verb in verbs),
        **{f"{verb}_mib": stages[verb].mib for verb in verbs},
    }


class _Stage(NamedTuple):
    found: Any
    seconds: float
    mib: int


def _staged(stage: str, archive: Path, told: Mapping[str, str] | None = None) -> _Stage:
    _told(stage)
    try:
        said, mib = staged(stage, archive, told)
    except StageFailed as error:
        raise click.ClickException(str(error)) from error
    _told(f"{stage}: {said['seconds']:.1f} seconds, {mib:.0f} MiB")
    return _Stage(said["found"], said["seconds"], round(mib))


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


def _told(text: str) -> None:
    click.echo(text, err=True)
