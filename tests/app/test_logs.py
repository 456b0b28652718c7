"""The daemon's log: whole lines in a file that is set aside when it is large, for the owner alone."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from engine.app.config import LogConfig
from engine.app.logs import set_up_logs
from engine.ports.errors import ConfigError


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
        handler.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)
    structlog.reset_defaults()


def test_a_file_is_set_aside_and_only_so_many_stay(tmp_path: Path) -> None:
    set_up_logs(LogConfig(format="json", file="logs/arsync.log", megabytes=0.002, keep=2), tmp_path)
    log = structlog.get_logger()
    for number in range(200):
        log.info("read", number=number)
    files = sorted((tmp_path / "logs").iterdir())
    assert [file.name for file in files] == ["arsync.log", "arsync.log.1", "arsync.log.2"]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    lines = [json.loads(line) for file in reversed(files) for line in file.read_text().splitlines()]
    numbers = [line["number"] for line in lines]
    assert numbers == list(range(200 - len(numbers), 200)), "no line is lost where a file ends"
    assert set(lines[0]) == {"event", "number", "level", "timestamp"}


def test_what_other_packages_warn_of_stands_in_the_same_form(tmp_path: Path) -> None:
    set_up_logs(LogConfig(format="json", file="arsync.log"), tmp_path)
    logging.getLogger("somebody").warning("odd: %s", 7)
    logging.getLogger("somebody").info("not this")
    try:
        raise ValueError("broken")
    except ValueError:
        structlog.get_logger().exception("failed")
    warned, failed = (json.loads(line) for line in (tmp_path / "arsync.log").read_text().splitlines())
    assert (warned["event"], warned["level"]) == ("odd: 7", "warning")
    assert "ValueError: broken" in failed["exception"]


def test_without_a_file_it_goes_to_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs(LogConfig(), tmp_path)
    structlog.get_logger().info("started", system="erp")
    written = capsys.readouterr()
    assert written.out == ""
    assert "started" in written.err
    assert "\x1b[" not in written.err, "no colours where nobody sees them"


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(ConfigError, match=r"taken/arsync\.log cannot be written"):
        set_up_logs(LogConfig(file="taken/arsync.log"), tmp_path)
