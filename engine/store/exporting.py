"""Moves the journal into an archive: exports what is not there yet, and prunes from the store what was exported.

`arsync journal export` and `arsync journal prune` call it. An export ends at a batch; its files are complete on disk
before the manifest names them, so that one that is broken off leaves nothing but files that the next one removes. Two
exports of one system into one archive never overlap.
"""

import datetime as dt
import fcntl
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from engine.store import archive as arch
from engine.store import checkpoints
from engine.store.archive import Archive, ArchiveError, FileEntry, Manifest
from engine.store.steps import DERIVED, lasts_sql

Connection = psycopg.Connection[tuple[Any, ...]]
PART = 500_000
"""Entries in one file at most, save that a batch is never cut."""

GROUP = 20_480
"""Rows of one group in a file. Who reads entries holds the bodies of a group in memory; who reads the steps of one
bucket reads some of its neighbours' in its first group and its last.
"""

LINE = 16 << 20
"""Bytes that the longest line between store and archive may have without more room being made."""

DELIMITER, QUOTE = "\x02", "\x01"
"""Of the file between store and archive: an entry's JSON never holds them, so that nothing of it must be quoted."""

_TYPES = (
    "{'stream': 'VARCHAR', 'seq': 'BIGINT', 'system': 'VARCHAR', 'batch': 'BIGINT', 'place': 'INTEGER', "
    "'at': 'TIMESTAMP', 'kind': 'VARCHAR', 'body': 'VARCHAR', 'previous': 'VARCHAR', 'hash': 'VARCHAR'}"
)


class Exported(msgspec.Struct):
    """How many entries were added, and the batch up to which the archive goes now."""

    system: str
    entries: int
    batch: int
    files: int


def export(
    connection: Connection, system: str, folder: Path, told: Callable[[int], None] = lambda _done: None
) -> Exported:
    """Add to the archive in `folder` all entries of a system that it does not hold yet.

    Raises:
        ArchiveError: the archive is not as it was written, entries between it and the store are gone, or the store
            has another history; or another export is under way.
    """
    place = folder / f"system={system}"
    place.mkdir(parents=True, exist_ok=True)
    with _alone(folder, system):
        return _export(connection, system, folder, told)


@contextmanager
def _alone(folder: Path, system: str) -> Iterator[None]:
    """Keep other exports of a system out of an archive. The lock ends with its process, however that ends."""
    with (folder / f".{system}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ArchiveError(
                f"another export of {system} into {folder} is under way; try again when it has ended"
            ) from None
        yield


def _export(connection: Connection, system: str, folder: Path, told: Callable[[int], None]) -> Exported:
    place = folder / f"system={system}"
    manifest = Archive(folder).manifest(system) if (place / "manifest.json").exists() else Manifest(system)
    _remove_unfinished(place, manifest)
    manifest = _behind_pruned(connection, manifest, place)
    _hold_against(connection, manifest, folder)
    added = 0
    while True:
        upto = _next_end(connection, system, manifest.batch)
        if upto is None:
            break
        manifest, rows = _export_part(connection, manifest, place, upto)
        added += rows
        told(added)
    lines = tuple(line for line, _ in checkpoints.kept(connection, system))
    # A checkpoint that the entries here do not reach yet proves nothing here: one taken since the last part was read.
    merged = dict.fromkeys((*manifest.checkpoints, *lines))
    reached = tuple(one for one in merged if _reaches(manifest, checkpoints.read_checkpoint(one)))
    if added or reached != manifest.checkpoints or not (place / "manifest.json").exists():
        manifest = msgspec.structs.replace(manifest, checkpoints=reached)
        arch.write_manifest(folder, manifest)
    return Exported(system, added, manifest.batch, len(manifest.files))


def _remove_unfinished(place: Path, manifest: Manifest) -> None:
    """Remove what an export left that was broken off."""
    for name in arch.unfinished(place, manifest):
        (place / name).unlink(missing_ok=True)
    for left in place.glob(f"{arch.WORKING}*/"):
        shutil.rmtree(left)


def _behind_pruned(connection: Connection, manifest: Manifest, place: Path) -> Manifest:
    """A new archive of a store that was pruned begins with the records of its checkpoint."""
    system = manifest.system
    gone = [checkpoints.read_checkpoint(line) for line, pruned in checkpoints.kept(connection, system) if pruned]
    if not gone or manifest.batch >= gone[-1].batch:
        return manifest
    if manifest.batch:
        raise ArchiveError(
            f"the store's entries begin behind batch {gone[-1].batch}, and the archive ends at {manifest.batch}; "
            "export into the archive with which it was pruned, or into a new folder"
        )
    point = gone[-1]
    with arch.open_duckdb() as duck:
        duck.execute("CREATE TABLE records (name VARCHAR, record VARCHAR, batch BIGINT)")
        rows = connection.execute(
            "SELECT name, record, batch FROM checkpoint_record WHERE system = %s AND batch = %s ORDER BY name",
            (system, point.batch),
        ).fetchall()
        if rows:
            duck.executemany("INSERT INTO records VALUES (?, ?, ?)", rows)
        file = _write(duck, "SELECT * FROM records", place, f"records-{point.batch:012d}.parquet", "records")
    return msgspec.structs.replace(
        manifest, batch=point.batch, heads=dict(point.heads), files=(file,), pruned_to=point.batch
    )


def _hold_against(connection: Connection, manifest: Manifest, folder: Path) -> None:
    """Hold the end of every stream in the archive against the store, which must have gone on from there."""
    points = [
        checkpoints.read_checkpoint(line) for line, gone in checkpoints.kept(connection, manifest.system) if gone
    ]
    pruned = points[-1].heads if points else {}
    asked = list(manifest.heads)
    found = connection.execute(
        """SELECT j.stream, j.hash FROM unnest(%s::text[], %s::bigint[]) AS head (stream, seq)
           JOIN journal j ON j.stream = head.stream AND j.seq = head.seq""",
        (asked, [manifest.heads[stream][0] for stream in asked]),
    ).fetchall()
    # Of what was pruned the checkpoint holds the last hash, and it was pruned only once an archive had it.
    held = {**{stream: own for stream, (seq, own) in pruned.items() if manifest.heads.get(stream) == (seq, own)},
            **dict(found)}  # fmt: skip
    for stream, (seq, own) in manifest.heads.items():
        if held.get(stream) != own:
            raise ArchiveError(
                f"entry {stream}#{seq} is not in the store as it is in {folder}: the store was restored since, or "
                "another store is exported; export into a new folder"
            )


def prune(owner: Connection, system: str, folder: Path, now: dt.datetime) -> tuple[int, int]:
    """Delete from the store the entries up to the newest checkpoint that the archive covers; as the owner's role.

    Gives the number of entries and the batch. Every entry is held against the archive first.

    Raises:
        ArchiveError: there is no such checkpoint, or an entry in the archive is not the one in the store.
    """
    held = Archive(folder)
    manifest = held.manifest(system)
    points = [checkpoints.read_checkpoint(line) for line, gone in checkpoints.kept(owner, system) if not gone]
    covered = [one for one in points if one.batch <= _last_batch(owner, system) and _reaches(manifest, one)]
    if not covered:
        raise ArchiveError(
            f"no checkpoint of {system} lies within {folder}; `arsync journal checkpoint`, then "
            f"`arsync journal export {folder}`, then prune again"
        )
    point = covered[-1]
    with owner.transaction():
        ours = _fingerprints(owner, system, point.batch)
        theirs = _archived(held, system, point.batch)
        if any(theirs.get(name) != own for name, own in ours.items()):
            wrong = next(name for name, own in ours.items() if theirs.get(name) != own)
            raise ArchiveError(f"entry {wrong[0]}#{wrong[1]} is not in {folder} as it is in the store")
        owner.execute("DELETE FROM journal WHERE system = %s AND batch <= %s", (system, point.batch))
        owner.execute(
            "UPDATE checkpoint SET pruned_at = %s WHERE system = %s AND batch = %s", (now, system, point.batch)
        )
        owner.execute("DELETE FROM checkpoint_record WHERE system = %s AND batch < %s", (system, point.batch))
    return len(ours), point.batch


def _reaches(manifest: Manifest, point: checkpoints.Checkpoint) -> bool:
    return all(manifest.heads.get(stream, (0, ""))[0] >= seq for stream, (seq, _) in point.heads.items())


def _fingerprints(connection: Connection, system: str, upto: int) -> dict[tuple[str, int], tuple[str, str]]:
    """Of every entry its hash and the digest of its body."""
    found = connection.execute(
        """SELECT stream, seq, hash, encode(sha256(convert_to(body, 'UTF8')), 'hex') FROM journal
           WHERE system = %s AND batch <= %s""",
        (system, upto),
    )
    return {(stream, seq): (own, body) for stream, seq, own, body in found}


def _archived(held: Archive, system: str, upto: int) -> dict[tuple[str, int], tuple[str, str]]:
    wrong = held.damaged(system)
    if wrong:
        raise ArchiveError(f"{wrong[0]}; export into another folder, and prune with that")
    with arch.open_duckdb() as duck:
        found = duck.execute(
            "SELECT stream, seq, hash, sha256(body) FROM read_parquet(?, hive_partitioning = false) WHERE batch <= ?",
            [held.files(system), upto],
        ).fetchall()
    return {(stream, seq): (own, body) for stream, seq, own, body in found}


def _next_end(connection: Connection, system: str, after: int) -> int | None:
    """The batch with which the next part ends."""
    row = connection.execute(
        """SELECT max(batch) FROM (
             SELECT batch FROM journal WHERE system = %s AND batch > %s ORDER BY batch LIMIT %s) AS part""",
        (system, after, PART),
    ).fetchone()
    return int(row[0]) if row and row[0] is not None else None


def _last_batch(connection: Connection, system: str) -> int:
    row = connection.execute("SELECT batch FROM system WHERE name = %s", (system,)).fetchone()
    return int(row[0]) if row else 0


def _export_part(connection: Connection, manifest: Manifest, place: Path, upto: int) -> tuple[Manifest, int]:
    first = manifest.batch + 1
    with (
        tempfile.TemporaryDirectory(dir=place, prefix=arch.WORKING) as folder,
        arch.open_duckdb(arch.MEMORY, spill=folder) as duck,
    ):
        file, longest = Path(folder) / "part.csv", 0
        with file.open("wb") as opened, connection.cursor() as cursor:
            asked = cursor.copy(
                """COPY (SELECT stream, seq, system, batch, place,
                                to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'), kind, body, previous, hash
                         FROM journal WHERE system = %s AND batch > %s AND batch <= %s
                         ORDER BY batch, place, stream, seq)
                   TO STDOUT (FORMAT csv, DELIMITER E'\\x02', QUOTE E'\\x01', NULL '')""",
                (manifest.system, manifest.batch, upto),
            )
            with asked as copied:
                for line in copied:
                    longest = max(longest, len(line))
                    opened.write(line)
        return write_part(duck, file, manifest, place, first, upto, longest)


def write_part(
    duck: Any, file: Path, manifest: Manifest, place: Path, first: int, upto: int, longest: int = 0
) -> tuple[Manifest, int]:
    """Turn a CSV of entries, in their order, into Parquet by month, with their steps; the manifest with them.

    `longest` is the length of its longest line, in bytes, where one may be long.
    """
    room = max(LINE, longest + 1024)
    duck.execute(
        f"""CREATE OR REPLACE TABLE part AS SELECT * FROM read_csv(?, header = false, columns = {_TYPES},
            delim = '{DELIMITER}', quote = '{QUOTE}', escape = '{QUOTE}', new_line = '\\n', auto_detect = false,
            max_line_size = {room}, nullstr = '', force_not_null = ['body'])""",  # noqa: S608 - types of this file
        [str(file)],
    )
    files = list(manifest.files)
    months = duck.execute("SELECT DISTINCT strftime(\"at\", '%Y-%m') FROM part ORDER BY 1").fetchall()
    for (month,) in months:
        entries = f"(SELECT * FROM part WHERE strftime(\"at\", '%Y-%m') = '{month}')"  # noqa: S608 - its own month
        plain = f"SELECT * FROM {entries} ORDER BY batch, place, stream, seq"  # noqa: S608 - as above
        derived = {kind: made(entries) for kind, made in DERIVED.items()}
        part = f"{first:012d}-{upto:012d}.parquet"
        for kind, query in {"entries": plain, **derived}.items():
            files.append(_write(duck, query, place, f"month={month}/{kind}-{part}", kind))
        steps = arch.parquet(place / f"month={month}/steps-{part}")
        files.append(_write(duck, lasts_sql(steps), place, f"month={month}/lasts-{part}", "lasts"))
    heads = dict(manifest.heads)
    for stream, seq, own in duck.execute(
        "SELECT stream, max(seq), arg_max(hash, seq) FROM part GROUP BY stream ORDER BY stream"
    ).fetchall():
        heads[stream] = (seq, own)
    rows = int(duck.execute("SELECT count(*) FROM part").fetchone()[0])
    duck.execute("DROP TABLE part")
    return msgspec.structs.replace(manifest, files=tuple(files), heads=heads, batch=upto), rows


def _write(duck: Any, query: str, place: Path, path: str, kind: str) -> FileEntry:
    file = place / path
    file.parent.mkdir(exist_ok=True)
    duck.execute(f"COPY ({query}) TO '{file}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {GROUP})")
    rows, first, last = duck.execute(
        "SELECT count(*), coalesce(min(batch), 0), coalesce(max(batch), 0) FROM read_parquet(?)", [str(file)]
    ).fetchone()
    return FileEntry(path, arch.file_digest(file), rows, first, last, kind)
