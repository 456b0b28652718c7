"""The whole demo through its command line, on a real Tryton and a real Debezium."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from demo.bills import AFTER, BEFORE

pytestmark = pytest.mark.live

MEMOS = 3
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
    text, _ = process.communicate(timeout=280)
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


def test_both_sides_agree_after_the_day(tmp_path: Path) -> None:
    code, text = outcome(started(tmp_path))
    last = text.splitlines()[-1]
    assert code == 0, text
    assert last.startswith(f"agree: {len(BEFORE) + len(AFTER) + MEMOS} invoices, 8 customers, "), text
    assert last.endswith(" intents, 0 differences"), text
    for kind in ("concurrent_claims", "duplicate_receipt", "already_cleared", "erp_reversed", "voided_target"):
        assert kind in text
    assert list(tmp_path.iterdir()) == []
    assert left_behind(tmp_path) == []


def test_without_writeback_the_ledger_disagrees(tmp_path: Path) -> None:
    code, text = outcome(started(tmp_path, "--without", "writeback"))
    assert code == 1, text
    assert text.splitlines()[-1].startswith("disagree: "), text
    assert "intent day-full: effect on invoice" in text
    assert list(tmp_path.iterdir()) == []
    assert left_behind(tmp_path) == []


def test_an_interrupt_stops_everything(tmp_path: Path) -> None:
    process = started(tmp_path, "--without", "writeback")
    assert process.stdout is not None
    before = []
    for line in process.stdout:
        before.append(line)
        if "AR side has read" in line:
            break
    running = left_behind(tmp_path)
    process.send_signal(signal.SIGINT)
    code, text = outcome(process)
    assert len(running) > 2, "".join(before) + text
    assert code == 1, text
    assert "agree:" not in text
    assert list(tmp_path.iterdir()) == []
    assert left_behind(tmp_path) == []
