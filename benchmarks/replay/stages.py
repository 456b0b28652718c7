"""One verb of replay in a process of its own: `python -m benchmarks.replay.stages STAGE ARCHIVE`.

So what it holds in memory is its own: `staged` starts one, and adds up what it and its children hold while it runs.
PostgreSQL, from which an export reads, is not among them; the variable `ARSYNC_BENCH_DSN` names it, for that holds a
password. The last line is JSON: `seconds`, and what it came to.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import psycopg

from benchmarks.replay.lives import SYSTEM
from engine.flow.replay.folding import Until, fold_documents
from engine.flow.replay.sharing import verify_shared
from engine.store.archive import Archive, open_duckdb
from engine.store.exporting import export

DSN = "ARSYNC_BENCH_DSN"
_LOOK_SECONDS = 0.05


class StageFailed(RuntimeError):
    """A verb ended with an error; its own words are on standard error."""


def staged(stage: str, archive: Path, told: Mapping[str, str] | None = None) -> tuple[dict[str, Any], float]:
    """What a stage came to, and the most MiB that its processes held at one moment: their resident sets added up.

    `told` are further variables of its environment. Pages that two of them share count twice. What is held for less
    than a twentieth of a second may be missed.

    Raises:
        StageFailed: it ended with an error.
    """
    words = [sys.executable, "-m", "benchmarks.replay.stages", stage, str(archive)]
    environment = {**os.environ, **(told or {})}
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as started:
        root, most = psutil.Process(started.pid), 0
        while started.poll() is None:
            most = max(most, _resident(root))
            time.sleep(_LOOK_SECONDS)
        said = started.stdout.read() if started.stdout else ""
    if started.returncode:
        raise StageFailed(f"{stage} ended with {started.returncode}")
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found, most / 2**20


def _resident(root: psutil.Process) -> int:
    """Bytes of a process and of all that it has started."""
    total = 0
    try:
        for process in (root, *root.children(recursive=True)):
            total += process.memory_info().rss
    except psutil.NoSuchProcess:  # it has just ended
        return 0
    return total


def _export(archive: Path) -> int:
    with psycopg.connect(os.environ[DSN], autocommit=True) as connection:
        return export(connection, SYSTEM, archive).entries


def _as_of(archive: Path) -> int:
    """Fold everything twice: fields to whole documents, and states by the tables; both must agree."""
    held = Archive(archive)
    with open_duckdb() as duck:
        return sum(fold_documents(duck, held.parts(SYSTEM), Until(), held.files(SYSTEM, "moves")))


def _scan(archive: Path) -> int:
    files = Archive(archive).files(SYSTEM, "steps")
    with open_duckdb() as duck:
        found = duck.execute("SELECT * FROM read_parquet(?, hive_partitioning = false) LIMIT 0", [files])
        columns = ", ".join(f'count("{name[0]}"), max("{name[0]}")' for name in found.description)
        duck.execute(f"SELECT {columns} FROM read_parquet(?, hive_partitioning = false)", [files]).fetchall()  # noqa: S608
    return len(files)


def _verify(archive: Path) -> dict[str, Any]:
    found = verify_shared(Archive(archive), SYSTEM)
    return {"entries": found.entries, "decided": found.decided, "records": found.records,
            "faults": [fault.sentence for fault in found.faults[:3]]}  # fmt: skip


STAGES: dict[str, Callable[[Path], Any]] = {"export": _export, "as_of": _as_of, "scan": _scan, "verify": _verify}

if __name__ == "__main__":
    began = time.perf_counter()
    result = STAGES[sys.argv[1]](Path(sys.argv[2]))
    sys.stdout.write(json.dumps({"seconds": time.perf_counter() - began, "found": result}) + "\n")
