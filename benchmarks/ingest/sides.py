"""Runs the sides that are programs of their own: each is handed a task as JSON and answers with its seconds."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.ingest.synced import SyncFailed, drop_database
from benchmarks.ingest.topic import Filled
from engine.store.embedded import Cluster

MOST_SECONDS = 600.0


def ceiling(cluster: Cluster, filled: Filled) -> float:
    """Seconds a record costs without any logic."""
    name = f"ceiling{time.monotonic_ns()}"
    cluster.ensure_database(name)
    with psycopg.connect(cluster.dsn("postgres"), autocommit=True) as owner:
        owner.execute("CHECKPOINT")
    task = {"bootstrap": filled.bootstrap, "topic": filled.topic, "begin": filled.begin, "end": filled.end,
            "dsn": cluster.dsn(name)}  # fmt: skip
    told = ask([sys.executable, "-m", "benchmarks.ingest.ceiling"], task)
    with psycopg.connect(cluster.dsn(name), autocommit=True) as store:
        row = store.execute("SELECT count(*) FROM event").fetchone()
    if row is None or row[0] != filled.records:
        raise SyncFailed(f"the ceiling wrote {row} of {filled.records} records")
    drop_database(cluster, name)
    return float(told["seconds"]) / (filled.records)


def ask(command: Sequence[str], task: dict[str, Any], folder: Path | None = None) -> dict[str, Any]:
    """Run a program with a task; its answer is the last line that it prints. SyncFailed when it fails."""
    done = subprocess.run(
        [*command, json.dumps(task)], capture_output=True, text=True, check=False, timeout=MOST_SECONDS, cwd=folder
    )
    if done.returncode != 0 or not done.stdout.strip():
        raise SyncFailed(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer
