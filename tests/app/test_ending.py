"""How the command line ends when a thread is left at work."""

import subprocess
import sys

import pytest

_PROGRAM = """
import atexit, sys, threading
from engine.app.cli import main
atexit.register(print, "taken down", flush=True)
if sys.argv.pop(1) == "left":
    threading.Thread(target=threading.Event().wait, daemon=True).start()
main()
"""


@pytest.mark.parametrize(
    ("thread", "words", "code", "taken_down"),
    [
        ("none", ("machines",), 0, True),
        ("left", ("machines",), 0, False),
        ("left", ("no-such-verb",), 2, False),
        ("left", ("--config", "/no/such.toml", "status"), 1, False),
    ],
)
def test_the_interpreter_is_not_taken_down_under_a_thread_at_work(
    thread: str, words: tuple[str, ...], code: int, *, taken_down: bool
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, thread, *words], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == code
    assert ("taken down" in done.stdout) is taken_down
    assert (done.stdout if code == 0 else done.stderr).strip() not in ("", "taken down"), "all of it is said before"
