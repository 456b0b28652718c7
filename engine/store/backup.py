"""Saves the whole store to one file, and brings it back.

A backup is a zip of the tables' rows as PostgreSQL writes them (COPY text), read in one snapshot, with a manifest:
the schema's revision, the rows of each table and their digests, and the head of every journal stream. It fits any
PostgreSQL, the embedded one included. What happened after it is not in it: so a restored store takes every system's
log from a new snapshot, and looks every key up before it sends it, also for the first time.
"""

import datetime as dt
import hashlib
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import psycopg
from psycopg import sql

from engine.store import schema
from engine.store.journal import Entry
from engine.store.unit import unit_of_work

FORMAT = "arsync-backup/1"
_MANIFEST = "manifest.json"
_CHUNK = 1 << 20
# In an order in which nothing refers to what is not there yet; staging tables are no part of the store.
TABLES = (
    "system", "source_position", "pending_record", "mirror", "mirror_ref", "document_sum", "invoice", "customer",
    "personal", "transition", "intent", "command", "conflict", "journal", "stream_head", "checkpoint",
    "checkpoint_record", "backlog", "dead_letter", "outbound", "feed_position", "inbox_position",
    "conflict_note", "dead_letter_version", "chore", "reconciliation",
)  # fmt: skip


class BackupError(RuntimeError):
    """A file is no backup, is damaged, or does not fit this store; nothing was changed."""


def backup(dsn: str, file: Path, now: dt.datetime) -> dict[str, int]:
    """Write the store to `file`, which must not exist; gives the rows of each table.

    The file appears only when it is complete. The daemon may go on working meanwhile.
    """
    half = file.with_name(file.name + ".part")
    counts: dict[str, int] = {}
    digests: dict[str, str] = {}
    if file.exists():
        raise BackupError(f"{file} exists; a backup overwrites nothing")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        heads = connection.execute("SELECT stream, seq, hash FROM stream_head ORDER BY stream").fetchall()
        with (
            half.open("xb") as opened,
            zipfile.ZipFile(opened, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        ):
            half.chmod(0o600)
            for table in TABLES:
                counts[table], digests[table] = _save(connection, archive, table)
            manifest = {
                "format": FORMAT, "made_at": now.isoformat(), "revision": schema.revision(dsn), "rows": counts,
                "sha256": digests, "streams": [list(head) for head in heads],
            }  # fmt: skip
            archive.writestr(_MANIFEST, json.dumps(manifest, indent=2))
        connection.execute("COMMIT")
    half.replace(file)
    return counts


def restore(owner_dsn: str, file: Path, now: dt.datetime) -> dict[str, int]:
    """Fill an empty store from a backup; gives the rows of each table. All or nothing.

    Raises:
        BackupError: the file is not a whole backup of this version, or the store is not empty.
    """
    with _opened(file) as (archive, manifest):
        found = schema.revision(owner_dsn)
        if manifest["revision"] != found:
            raise BackupError(
                f"{file} holds tables of revision {manifest['revision']}, this store has {found}; restore it with "
                "the arsync that made it, then run `arsync migrate` with this one"
            )
        with psycopg.connect(owner_dsn) as connection:
            for table in TABLES:
                name = sql.Identifier(table)
                row = connection.execute(sql.SQL("SELECT EXISTS (SELECT 1 FROM {})").format(name)).fetchone()
                if row and row[0]:
                    raise BackupError(f"the store holds rows in {table} already; restore into an empty one")
            for table in TABLES:
                _load(connection, archive, table, manifest["sha256"][table])
            _start_anew(connection, now, manifest["made_at"])
    return dict(manifest["rows"])


def manifest_of(file: Path) -> dict[str, Any]:
    """What a backup says of itself."""
    with _opened(file) as (_, manifest):
        return manifest


def _start_anew(connection: psycopg.Connection[Any], now: dt.datetime, made_at: str) -> None:
    """Forget where the logs stood: what came after the backup is told again by a snapshot, not by the log."""
    for (system,) in connection.execute("SELECT name FROM system ORDER BY name").fetchall():
        with unit_of_work(connection, system, now) as work:
            work.note(Entry(f"{system}/config", "config", now, {"restored": {"made_at": made_at}}))
    connection.execute("UPDATE source_position SET resume = NULL, snapshot_complete = false, told_until = NULL")
    connection.execute("DELETE FROM pending_record")
    connection.execute("UPDATE command SET lease_owner = NULL, lease_until = NULL")
    connection.execute("UPDATE system SET restored_at = %s", (now,))
    # What was published after the backup is not known here: feeds begin again with every document.
    connection.execute("DELETE FROM feed_position")
    for table in ("dead_letter", "chore"):
        newest = sql.SQL("SELECT setval(pg_get_serial_sequence({}, 'id'), coalesce(max(id), 0) + 1) FROM {}")
        connection.execute(newest.format(table, sql.Identifier(table)))


def _save(connection: psycopg.Connection[Any], archive: zipfile.ZipFile, table: str) -> tuple[int, str]:
    digest = hashlib.sha256()
    with archive.open(table, "w", force_zip64=True) as member, connection.cursor() as cursor:
        with cursor.copy(sql.SQL("COPY {} ({}) TO STDOUT").format(*_named(connection, table))) as rows:
            for data in rows:
                digest.update(data)
                member.write(data)
        return cursor.rowcount, digest.hexdigest()


def _load(connection: psycopg.Connection[Any], archive: zipfile.ZipFile, table: str, expected: str) -> None:
    digest = hashlib.sha256()
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(*_named(connection, table))
    with archive.open(table) as member, connection.cursor() as cursor, cursor.copy(statement) as rows:
        for data in _chunks(member):
            digest.update(data)
            rows.write(data)
    if digest.hexdigest() != expected:
        raise BackupError(f"table {table} of the backup is not as it was written; take another backup")


def _named(connection: psycopg.Connection[Any], table: str) -> tuple[sql.Composable, sql.Composable]:
    """A table and its columns by name, so that their order does not matter."""
    columns = connection.execute(
        """SELECT column_name FROM information_schema.columns
           WHERE table_schema = 'public' AND table_name = %s ORDER BY column_name""",
        (table,),
    )
    return sql.Identifier(table), sql.SQL(", ").join(sql.Identifier(str(name)) for (name,) in columns)


def _chunks(member: IO[bytes]) -> Iterator[bytes]:
    while data := member.read(_CHUNK):
        yield data


@contextmanager
def _opened(file: Path) -> Iterator[tuple[zipfile.ZipFile, dict[str, Any]]]:
    try:
        with zipfile.ZipFile(file) as archive:
            manifest = json.loads(archive.read(_MANIFEST))
            if manifest.get("format") != FORMAT:
                raise BackupError(f"{file} is a backup of another form: {manifest.get('format')}, needed is {FORMAT}")
            yield archive, manifest
    except FileNotFoundError:
        raise BackupError(f"there is no file {file}") from None
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise BackupError(f"{file} is not a whole backup: {error}") from None
