"""Runs the peers, in an environment of their own: `make bench` fills it from benchmarks/peers/requirements.txt."""

import os
import shutil
import time
from pathlib import Path

from benchmarks.ingest.sides import ask
from benchmarks.ingest.synced import SyncFailed
from benchmarks.ingest.topic import Filled

VENV = "ARSYNC_PEERS"
"""The variable that names the peers' environment; `.venv-peers` beside this checkout otherwise."""
_PROGRAMS = Path(__file__).parents[1] / "peers"


class NoPeerError(RuntimeError):
    """A peer cannot run here; the text says why."""


def streaming(program: str, folder: Path, filled: Filled) -> float:
    """Seconds a record costs a peer, with its state in a new folder. NoPeerError when it cannot run."""
    venv = Path(os.environ.get(VENV, Path(__file__).parents[2] / ".venv-peers"))
    python = venv / "bin" / "python"
    if not python.exists():
        raise NoPeerError(f"there is no {python}; run `make bench`, which makes it")
    state = folder / f"{program}-{time.monotonic_ns()}"
    state.mkdir()
    task = {"bootstrap": filled.bootstrap, "topic": filled.topic, "begin": filled.begin, "end": filled.end,
            "state": str(state)}  # fmt: skip
    try:
        told = ask([str(python), str(_PROGRAMS / f"{program}.py")], task, state)
    except SyncFailed as error:
        raise NoPeerError(str(error)) from error
    finally:
        shutil.rmtree(state, ignore_errors=True)
    return float(told["seconds"]) / filled.records
