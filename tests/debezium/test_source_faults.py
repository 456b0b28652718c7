"""What `check` finds on a real PostgreSQL with each fault in it, and that opening stops where data is lost."""

import datetime as dt
import shutil
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from connectors.debezium.source import EMBEDDED
from engine.ports.errors import SourceRefused
from engine.ports.finding import Finding, Grade
from engine.ports.source import Resume
from engine.store.embedded import Cluster
from tests.debezium.erp import LIVE, PASSWORD, ROLE, Erp

pytestmark = LIVE


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def check(
    erp: Erp, resume: Resume | None = None, clock: Callable[[], dt.datetime] = now, **options: Any
) -> list[Finding]:
    return EMBEDDED.check(erp.setup(resume, **options), clock, in_use=False)


def wrong(found: list[Finding]) -> Finding:
    """The one finding that is not well; it says what to do, and no secret."""
    (finding,) = [one for one in found if not one.ok]
    assert finding.fix
    assert PASSWORD not in repr(finding)
    return finding


def read_once(erp: Erp, **options: Any) -> Resume:
    """Read the opening state; what comes back is where to go on."""
    resume: Resume | None = None
    until = time.monotonic() + 60
    with closing(erp.open(**options)) as source:
        while resume is None or not (resume["offset"] or {}).get("last_snapshot_record", True):
            assert time.monotonic() < until
            batch = source.poll(1.0)
            if batch is not None:
                resume = batch.resume if batch.resume["offset"] else resume
                source.acknowledge()
    while erp.ask("SELECT count(*) FROM pg_replication_slots WHERE active AND database = current_database()"):
        time.sleep(0.05)
    return resume


def full(erp: Erp) -> None:
    erp.run('ALTER TABLE invoice REPLICA IDENTITY FULL; ALTER TABLE "invoice-line" REPLICA IDENTITY FULL')


def test_a_sound_set_up_has_nothing_to_say_and_is_left_as_it_is(erp: Erp) -> None:
    full(erp)
    assert [one for one in check(erp) if not one.ok] == []
    assert erp.ask("SELECT count(*) FROM pg_replication_slots WHERE database = current_database()") == 0
    assert erp.ask("SELECT count(*) FROM pg_publication") == 0


@pytest.mark.parametrize(
    ("options", "detail", "fix"),
    [
        ({"password": "wrong"}, "refuses the password of erp", "correct source.password"),
        ({"database": "nowhere"}, "nowhere", "correct source.database"),
        ({"passwort": "x"}, "unknown settings: passwort", ""),
    ],
)
def test_a_login_or_a_setting_that_is_wrong(erp: Erp, options: dict[str, Any], detail: str, fix: str) -> None:
    (finding,) = check(erp, **options)
    assert finding.grade is Grade.ERROR
    assert detail in finding.detail
    assert fix in finding.fix


def test_a_login_without_the_right_to_replicate(erp: Erp) -> None:
    full(erp)
    erp.cluster.ensure_role("reader", password=PASSWORD)
    erp.ask(f'GRANT "{ROLE}" TO reader')
    finding = wrong(check(erp, user="reader"))
    assert (finding.subject, finding.fix) == (
        "replication right",
        'let an administrator run: ALTER ROLE "reader" REPLICATION',
    )


def test_a_table_that_may_not_be_read_or_is_not_there(erp: Erp) -> None:
    full(erp)
    erp.cluster.ensure_role("stranger", password=PASSWORD, replication=True)
    found = [one for one in check(erp, user="stranger") if not one.ok]
    assert [one.subject for one in found] == ["table public.invoice", "table public.invoice-line", "publication"]
    assert found[0].fix == 'run: GRANT SELECT ON "public"."invoice" TO "stranger"'
    erp.run("DROP TABLE invoice")
    found = [one for one in check(erp) if not one.ok]
    assert [one.subject for one in found] == ["table public.invoice", "publication"]
    assert "is not in the database" in found[0].detail


@pytest.mark.parametrize(
    ("identity", "grade"),
    [
        ("DEFAULT", Grade.WARNING),
        ("NOTHING", Grade.ERROR),
        ("USING INDEX other_key", Grade.ERROR),
    ],
)
def test_a_replica_identity_that_is_not_full(erp: Erp, identity: str, grade: Grade) -> None:
    full(erp)
    erp.run(
        "ALTER TABLE invoice ALTER total SET NOT NULL",
        "CREATE UNIQUE INDEX other_key ON invoice (total)",
        f"ALTER TABLE invoice REPLICA IDENTITY {identity}",
    )
    finding = wrong(check(erp))
    assert (finding.subject, finding.grade) == ("table public.invoice", grade)
    assert identity.split(" other", maxsplit=1)[0] in finding.detail
    if grade is Grade.ERROR:
        with pytest.raises(SourceRefused, match="REPLICA IDENTITY FULL"):
            erp.open()
    erp.run(finding.fix.rsplit("run: ", 1)[1])
    assert [one for one in check(erp) if not one.ok] == []


def test_a_server_without_logical_log(tmp_path: Path) -> None:
    with Cluster(tmp_path / "postgres", settings={"fsync": "off"}) as plain:
        plain.ensure_role(ROLE, password=PASSWORD, replication=True)
        erp = Erp(plain, "books", tmp_path / "source")
        full(erp)
        finding = wrong(check(erp))
        assert (finding.subject, "wal_level=replica" in finding.detail) == ("wal_level", True)
        assert "set wal_level=logical" in finding.fix


def test_a_slot_that_another_process_reads(erp: Erp) -> None:
    full(erp)
    with closing(erp.open()) as source:
        until = time.monotonic() + 60
        while not erp.ask("SELECT active FROM pg_replication_slots WHERE database = current_database()"):
            assert time.monotonic() < until
            if source.poll(0.2) is not None:
                source.acknowledge()
        finding = wrong(check(erp))
        assert (finding.subject, finding.grade) == ("slot", Grade.ERROR)
        assert "being read by another program (server process" in finding.detail
        assert "another slot" in finding.fix
        # The same, when it is our own daemon that reads.
        assert all(one.ok for one in EMBEDDED.check(erp.setup(), now, in_use=True))


def test_a_clock_that_is_off(erp: Erp) -> None:
    full(erp)
    for seconds in (90, -90):
        finding = wrong(check(erp, clock=lambda off=seconds: now() + dt.timedelta(seconds=off)))  # type: ignore[misc]
        assert (finding.subject, finding.grade) == ("clock", Grade.WARNING)
        assert "0:01:" in finding.detail
        assert "time service" in finding.fix


@pytest.fixture
def own(tmp_path: Path) -> Any:
    """A server of the test's own: what is done to it would reach other tests."""
    cluster = Cluster(tmp_path / "postgres", settings={"wal_level": "logical", "fsync": "off"})
    with cluster:
        cluster.ensure_role(ROLE, password=PASSWORD, replication=True)
        erp = Erp(cluster, "books", tmp_path / "source")
        full(erp)
        yield erp


def write_log(erp: Erp, segments: int) -> None:
    """Fill so many segments (16 MiB) of the server's log."""
    for _ in range(segments):
        erp.ask("SELECT pg_logical_emit_message(false, 'filler', 'x')")
        erp.ask("SELECT pg_switch_wal()")


def test_a_slot_that_falls_behind_and_then_is_lost(own: Erp) -> None:
    resume = read_once(own)
    for setting in ("max_slot_wal_keep_size = '128MB'", "max_wal_size = '64MB'", "min_wal_size = '32MB'"):
        own.ask(f"ALTER SYSTEM SET {setting}")
    own.ask("SELECT pg_reload_conf()")
    assert [one for one in check(own, resume) if not one.ok] == []
    write_log(own, 5)
    finding = wrong(check(own, resume))
    assert (finding.subject, finding.grade) == ("slot", Grade.WARNING)
    assert "MiB more the server throws it away" in finding.detail
    assert "pg_drop_replication_slot('arsync_books')" in finding.fix
    write_log(own, 6)
    own.ask("CHECKPOINT")
    finding = wrong(check(own, resume))
    assert (finding.subject, finding.grade) == ("position", Grade.ERROR)
    assert "has thrown away log" in finding.detail
    assert "--new-epoch" in finding.fix
    with pytest.raises(SourceRefused, match="has thrown away log"):
        own.open(resume)


def test_a_slot_that_is_gone(own: Erp) -> None:
    resume = read_once(own)
    own.ask("SELECT pg_drop_replication_slot('arsync_books')")
    finding = wrong(check(own, resume))
    assert (finding.subject, "is gone from the ERP's server" in finding.detail) == ("position", True)
    assert "arsync reconcile" in finding.fix


def test_a_server_that_was_restored(own: Erp, tmp_path: Path) -> None:
    """From a copy of its files: the log is shorter than what was read. From an archive: another timeline."""
    own.cluster.stop()
    shutil.copytree(tmp_path / "postgres" / "data", tmp_path / "old")
    own.cluster.start()
    resume = read_once(own)
    write_log(own, 2)
    own.cluster.stop()
    shutil.rmtree(tmp_path / "postgres" / "data")
    shutil.copytree(tmp_path / "old", tmp_path / "postgres" / "data")
    own.cluster.start()
    finding = wrong(check(own, resume))
    assert (finding.subject, finding.grade) == ("position", Grade.ERROR)
    assert "gone from the ERP's server" in finding.detail
    own.ask("SELECT pg_create_logical_replication_slot('arsync_books', 'pgoutput')")
    assert "was restored from a backup" in wrong(check(own, resume)).detail
    own.cluster.stop()
    (tmp_path / "postgres" / "data" / "recovery.signal").touch()
    with (tmp_path / "postgres" / "data" / "postgresql.auto.conf").open("a") as settings:
        settings.write("restore_command = 'false'\n")
    own.cluster.start()
    until = time.monotonic() + 20
    while own.ask("SELECT pg_is_in_recovery()"):
        assert time.monotonic() < until
        time.sleep(0.1)
    finding = wrong(check(own, resume))
    assert (finding.subject, "is not the one that was read" in finding.detail) == ("position", True)
    assert "--new-epoch" in finding.fix
    with pytest.raises(SourceRefused, match="is not the one that was read"):
        own.open(resume)


def test_a_server_that_is_away(own: Erp) -> None:
    own.cluster.kill()
    (finding,) = check(own)
    assert (finding.subject, finding.grade) == ("source", Grade.ERROR)
    assert "does not serve" in finding.detail


def test_a_snapshot_is_said_to_be_due(own: Erp) -> None:
    told = {one.subject: one.detail for one in check(own)}
    assert told["position"] == "begins with a snapshot"
    resume = read_once(own)
    told = {one.subject: one.detail for one in check(own, resume)}
    assert told["position"] == "goes on where it was"
