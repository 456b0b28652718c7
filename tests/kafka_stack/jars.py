"""Where Kafka's and Debezium's programs are: resolved once by Maven, kept in a cache that is keyed by the pom's text.

Tests and benchmarks call `why_not` first: without Java, or without Maven and without a cache, there is no stack.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

POM = Path(__file__).with_name("pom.xml")
EXTERNAL = "ARSYNC_TEST_KAFKA"
"""`host:port` of a broker that is used instead of one of our own; Kafka Connect still needs Maven."""


EXTERNAL_CONNECT = "ARSYNC_TEST_CONNECT"
"""`http://127.0.0.1:port` of a Connect worker that is used instead of one of our own, with that broker."""


class NoStackError(RuntimeError):
    """The programs cannot be had here."""


def why_not() -> str | None:
    """Why the stack's programs cannot be had on this machine; None when they can."""
    if shutil.which("java") is None:
        return "there is no java; install a Java runtime, 17 or newer"
    if not _folder(POM).is_dir() and shutil.which("mvn") is None:
        return f"there is no mvn to resolve Kafka with; install Maven, or name a broker in {EXTERNAL}"
    return None


def jars(pom: Path = POM) -> Path:
    """The folder that holds every jar of the pom, resolved now when it is not in the cache.

    Raises:
        NoStackError: Maven is missing, or cannot resolve the pom; the sentence holds its last lines.
    """
    folder = _folder(pom)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / "resolving.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _resolve(pom, folder)
    return folder


def _folder(pom: Path) -> Path:
    cache = Path(os.environ.get("ARSYNC_CACHE", "~/.cache/arsync")).expanduser()
    return cache / "kafka" / hashlib.sha256(pom.read_bytes()).hexdigest()[:20]


def _resolve(pom: Path, folder: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise NoStackError(f"there is no mvn to resolve {pom} with; install Maven")
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        made = Path(work) / "jars"
        # Maven may write beside the pom, so it works on a copy.
        shutil.copy(pom, Path(work) / "pom.xml")
        done = subprocess.run(
            [maven, "-B", "-q", "-f", str(Path(work) / "pom.xml"), "dependency:copy-dependencies",
             f"-DoutputDirectory={made}", "-DincludeScope=runtime"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0 or not made.is_dir():
            said = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
            raise NoStackError(f"Maven cannot resolve {pom}:\n{said}")
        made.replace(folder)
