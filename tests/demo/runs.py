"""Runs of the whole demo through its command line."""

import os
import subprocess
import sys
from pathlib import Path

import psutil  # type: ignore[import-untyped]

ARSYNC = Path(sys.executable).parent / "arsync"


def started(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = os.environ | {"TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [str(ARSYNC), "demo", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def outcome(process: subprocess.Popen[str]) -> tuple[int, str]:
    text, _ = process.communicate(timeout=560)
    return process.returncode, text


def left_behind(folder: Path) -> list[str]:
    """Processes that still work in a folder of the demo."""
    found = []
    for process in psutil.process_iter():
        try:
            line, place = " ".join(process.cmdline()), process.cwd()
        except psutil.Error:
            continue
        if str(folder) in line or place.startswith(str(folder)):
            found.append(line)
    return found
