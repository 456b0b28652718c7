"""Which processes, log and port belong to the PostgreSQL of a folder.

`embedded` calls it. Its promises: a process is known by the server's name in its own command line, never by its
number alone, so no stranger is ever signalled; and that needs no right to look into another user's processes.
"""

import fcntl
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]

POLL_SECONDS: Final = 0.01


def lock_lines(data: Path) -> list[str]:
    """Read the server's lock file: pid, folder, start, port, sockets, address, memory, status; empty if none."""
    try:
        return (data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []


def find_postmaster(data: Path, name: str) -> psutil.Process | None:
    """Find the living first process of the server called `name` whose data lie in `data`."""
    lines = lock_lines(data)
    # The number may belong to a stranger by now; and while a server starts, no number stands there yet.
    with suppress(psutil.Error, ValueError, IndexError):
        process = psutil.Process(int(lines[0]))
        if f"cluster_name={name}" in process.cmdline() and not is_gone(process):
            return process
    return None


def end_leftovers(data: Path, name: str) -> list[int]:
    """End what a killed server left running and drop its lock file; give the pids that would not end."""
    lock = data / "postmaster.pid"
    if not lock.exists():
        return []
    left = [process for process in psutil.process_iter() if _belongs(process, name)]
    if not (end(left, signal.SIGQUIT, 2.0) or end(left, signal.SIGKILL, 10.0)):
        return [process.pid for process in left if not is_gone(process)]
    lock.unlink(missing_ok=True)
    return []


def end(processes: list[psutil.Process], number: int, seconds: float) -> bool:
    """Send the signal to each and wait; tell whether all ended in time."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
    deadline = time.monotonic() + seconds
    while not all(is_gone(process) for process in processes):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def is_gone(process: psutil.Process) -> bool:
    """Tell whether it ended; one that waits to be reaped has ended."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def free_port(host: str, wanted: int) -> int | None:
    """Give the wanted port if nobody listens on it, else another free one; none when there is none."""
    for number in (wanted, 0):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, number))
            return int(probe.getsockname()[1])
    return None


@contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Let one process at a time start or stop a server; the others wait."""
    handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def log_tail(log: Path, start: int = 0, *, lines: int = 15) -> str:
    """Give the last lines of the log, none from before the byte `start`; empty when it cannot be read."""
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(start, log.stat().st_size - 8192))
        return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-lines:])
    return ""


def _belongs(process: psutil.Process, name: str) -> bool:
    with suppress(psutil.Error):
        words = process.cmdline()
        title = words[0] if words else ""
        return f"cluster_name={name}" in words or title.startswith(f"postgres: {name}: ")
    return False
