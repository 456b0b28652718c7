"""The whole demo through its command line, on a real Tryton and a real Debezium."""

import re
import signal
from pathlib import Path

import pytest

from demo.bills import AFTER, BEFORE
from tests.demo.runs import left_behind, outcome, started

pytestmark = pytest.mark.live

MEMOS = 3

KINDS = (
    "voided_target", "customer_mismatch", "duplicate_receipt", "already_cleared", "over_application",
    "concurrent_claims", "period_closed", "precondition_failed", "stale_basis", "erp_reversed", "credit_limit_race",
)  # fmt: skip
"""The conflicts that a day on a real Tryton raises; docs/conflicts.md names them."""


def test_both_sides_agree_after_the_day(tmp_path: Path) -> None:
    code, text = outcome(started(tmp_path))
    last = text.splitlines()[-1]
    assert code == 0, text
    assert last.startswith(f"agree: {len(BEFORE) + len(AFTER) + MEMOS} invoices, 8 customers, "), text
    assert last.endswith(" intents, 0 differences"), text
    assert re.search(r"The journal verifies: (\d+) entries, \1 decided again, digest [0-9a-f]{16}", text), text
    for kind in KINDS:
        assert kind in text
    assert list(tmp_path.iterdir()) == []
    assert left_behind(tmp_path) == []


@pytest.mark.long
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
