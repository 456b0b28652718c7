"""The archive: a system's journal in Parquet files by month, verifiable on its own, read with no database running.

`arsync journal export` adds to it, replay reads it. Beside the entries, as they are in the store, each part has its
`steps`: what every entry left different, field by field, in columns, so that looking back in time reads no JSON, and
its `lasts`: what the part left of each document, so that looking at what lies behind it does not read its steps. A
manifest for each system names every file with its digest, the end of every stream, and the checkpoints.
"""

import datetime as dt
import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from engine.model.canonical import canonical_bytes
from engine.store.checkpoints import Checkpoint, CheckpointError, read_checkpoint
from engine.store.journal import Row
from engine.store.steps import DERIVED, lasts_sql

FORMAT = "arsync-archive/1"
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_PART = 5_000
MEMORY = "2GB"
"""What DuckDB may use for one part of an archive; what it needs beyond that goes to disk."""
COLUMNS = 'stream, seq, system, batch, place, epoch_us("at") AS micros, kind, body, previous, hash'

WORKING = ".export-"
"""Begins the name of the folder in which an export works."""
_WRITTEN = re.compile(
    rf"(?:month=\d{{4}}-\d\d/(?:tmp_)?(?:entries|lasts|{'|'.join(DERIVED)})-(?P<first>\d{{12,}})-\d{{12,}}"
    r"|(?:tmp_)?records-(?P<batch>\d{12,}))\.parquet"
)
"""A file that an export writes; DuckDB gives it its name when it is whole."""


class ArchiveError(RuntimeError):
    """An archive is missing, or is not what its manifest says."""


class FileEntry(msgspec.Struct, frozen=True):
    """One file of the archive: `path` below the system's folder, and the batches that it holds.

    `kind` is `entries`, `steps`, `lasts`, `moves`, or `records` for those of the checkpoint at which the archive
    begins.
    """

    path: str
    sha256: str
    rows: int
    first: int
    last: int
    kind: str = "entries"


class Part(msgspec.Struct, frozen=True):
    """The files of one part: its entries, their steps, and the last of each document, where that was kept. `first`
    and `last` are the batches of its steps."""

    entries: str
    steps: str
    lasts: str | None
    first: int
    last: int


class Manifest(msgspec.Struct, frozen=True):
    """What an archive holds of one system. `seal` is the digest of all the rest."""

    system: str
    batch: int = 0
    heads: dict[str, tuple[int, str]] = {}
    files: tuple[FileEntry, ...] = ()
    checkpoints: tuple[str, ...] = ()
    pruned_to: int = 0
    format: str = FORMAT
    seal: str = ""

    def sealed(self) -> "Manifest":
        """The same with its seal."""
        bare = msgspec.structs.replace(self, seal="")
        return msgspec.structs.replace(self, seal=hashlib.sha256(canonical_bytes(bare)).hexdigest())


def open_duckdb(memory: str | None = None, threads: int | None = None, spill: str | None = None) -> Any:
    """A DuckDB in memory that loads nothing from outside. `memory` bounds it, as in `2GB`; what it needs beyond that
    goes to the folder `spill`, and is an error without one.
    """
    import duckdb

    settings: dict[str, Any] = {"autoinstall_known_extensions": False, "autoload_known_extensions": False}
    if memory is not None:
        settings["memory_limit"] = memory
    if threads is not None:
        settings["threads"] = threads
    if spill is not None:
        settings["temp_directory"] = spill
    connection = duckdb.connect(":memory:", config=settings)
    connection.execute("SET TimeZone = 'UTC'")
    return connection


class Archive:
    """An archive as a place to read a journal from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not folder.is_dir():
            raise ArchiveError(f"there is no archive {folder}; `arsync journal export {folder}` makes one")
        self._manifests: dict[str, Manifest] = {}

    @property
    def name(self) -> str:
        return f"the archive {self.folder}"

    def systems(self) -> list[str]:
        return sorted(path.parent.name.removeprefix("system=") for path in self.folder.glob("system=*/manifest.json"))

    def manifest(self, system: str) -> Manifest:
        """What it holds of a system.

        Raises:
            ArchiveError: it holds nothing of it, or the manifest is not as it was written.
        """
        if system not in self._manifests:
            self._manifests[system] = read_manifest(self.folder, system)
        return self._manifests[system]

    def files(self, system: str, kind: str = "entries") -> list[str]:
        """The paths of its files of a kind, oldest first."""
        return [str(self.place(system) / one.path) for one in self.manifest(system).files if one.kind == kind]

    def parts(self, system: str) -> list[Part]:
        """Its parts, oldest first."""
        place, files = self.place(system), self.manifest(system).files
        kept = {one.path for one in files if one.kind == "lasts"}
        found = []
        for one in files:
            if one.kind == "steps":
                entries, lasts = (place / _beside(one.path, "steps", kind) for kind in ("entries", "lasts"))
                known = _beside(one.path, "steps", "lasts") in kept
                found.append(
                    Part(str(entries), str(place / one.path), str(lasts) if known else None, one.first, one.last)
                )
        return found

    def place(self, system: str) -> Path:
        """The system's folder."""
        return self.folder / f"system={system}"

    def damaged(self, system: str) -> list[str]:
        """Sentences about files that are missing or are not as they were written, and files that nobody wrote.

        What an export writes behind the manifest's last batch is not at fault: it belongs to the archive only when
        the manifest names it.
        """
        faults = []
        place, manifest = self.place(system), self.manifest(system)
        for one in manifest.files:
            file = place / one.path
            if not file.is_file():
                faults.append(f"file {one.path} of the archive is missing")
            elif file_digest(file) != one.sha256:
                faults.append(f"file {one.path} of the archive is not as it was written")
        apart = [name for name in _unnamed(place, manifest) if not _is_unfinished(name, manifest.batch)]
        faults += [f"file {name} stands in the archive, and its manifest does not know it" for name in sorted(apart)]
        return faults

    def steps_apart(self, system: str) -> list[str]:
        """Sentences about steps that are not those which their entries give."""
        faults = []
        place, files = self.place(system), self.manifest(system).files
        lasts = {one.path for one in files if one.kind == "lasts"}
        with TemporaryDirectory(prefix="arsync-steps-") as folder, open_duckdb(MEMORY, spill=folder) as duck:
            for path in (one.path for one in files if one.kind == "entries"):
                for kind, made in DERIVED.items():
                    duck.execute(f"CREATE OR REPLACE TABLE {kind} AS {made(parquet(place / path))}")
                    name = _beside(path, "entries", kind)
                    faults += _apart(duck, f"SELECT * FROM {kind}", place, name)  # noqa: S608 - a kind of file
                if (name := _beside(path, "entries", "lasts")) in lasts:
                    faults += _apart(duck, lasts_sql("steps"), place, name)
        return faults

    def heads(self, system: str) -> dict[str, tuple[int, str]]:
        return self.manifest(system).heads

    def count(self, system: str, after: int = 0) -> int:
        return sum(one.rows for one in self.manifest(system).files if one.kind == "entries" and one.last > after)

    def rows(self, system: str, after: int = 0) -> Iterator[Sequence[Row]]:
        # File by file and in one thread: what is read ahead of who reads would be held in memory.
        with open_duckdb(threads=1) as duck:
            for file in self.files(system):
                cursor = duck.execute(
                    f"SELECT {COLUMNS} FROM read_parquet(?, hive_partitioning = false) WHERE batch > ?",  # noqa: S608
                    [file, after],
                )
                while part := cursor.fetchmany(_PART):
                    yield [row_of(one) for one in part]

    def checkpoints(self, system: str) -> list[Checkpoint]:
        return [read_checkpoint(line) for line in self.manifest(system).checkpoints]

    def records(self, system: str, batch: int) -> Iterator[tuple[str, str]]:
        """Of the checkpoint that stands for what was pruned before the archive began; of others none are needed."""
        files = self.files(system, "records") if batch == self.pruned_to(system) else []
        if files:
            with open_duckdb() as duck:
                cursor = duck.execute("SELECT name, record FROM read_parquet(?)", [files])
                while part := cursor.fetchmany(_PART):
                    yield from part

    def pruned_to(self, system: str) -> int:
        return self.manifest(system).pruned_to


def _unnamed(place: Path, manifest: Manifest) -> set[str]:
    """The files in a system's folder that its manifest does not name."""
    # An export beside may take away a folder that is being looked into; `os.walk` goes on.
    found = (Path(folder) / name for folder, _, names in os.walk(place) for name in names)
    files = {str(file.relative_to(place)) for file in found if file.is_file()}
    return files - {one.path for one in manifest.files} - {"manifest.json"}


def unfinished(place: Path, manifest: Manifest) -> set[str]:
    """Those of them that belong to an export that is under way or was broken off: they prove nothing."""
    return {name for name in _unnamed(place, manifest) if _is_unfinished(name, manifest.batch)}


def _is_unfinished(name: str, batch: int) -> bool:
    if name.startswith(WORKING) or name == "manifest.part":
        return True
    written = _WRITTEN.fullmatch(name)
    return written is not None and int(written["first"] or written["batch"]) > batch


def _beside(path: str, kind: str, other: str) -> str:
    """The file of another kind of the same part."""
    return path.replace(f"/{kind}-", f"/{other}-")


def parquet(file: Path) -> str:
    """All rows of a file, as a statement reads them."""
    return f"(SELECT * FROM read_parquet('{file}', hive_partitioning = false))"  # noqa: S608 - its own path


def _apart(duck: Any, again: str, place: Path, name: str) -> list[str]:
    """A sentence when a file is not what a query gives. An earlier version wrote no column for a field that came
    later, of which its entries then tell nothing."""
    columns = ", ".join(f'"{one[0]}"' for one in duck.execute(f"SELECT * FROM ({again}) LIMIT 0").description)  # noqa: S608
    (apart,) = duck.execute(
        f"""WITH again AS MATERIALIZED ({again}),
                 there AS (SELECT {columns} FROM (
                   SELECT * FROM again WHERE false UNION ALL BY NAME SELECT * FROM {parquet(place / name)}))
            SELECT count(*) FROM ((SELECT * FROM again EXCEPT ALL SELECT * FROM there)
                                  UNION ALL (SELECT * FROM there EXCEPT ALL SELECT * FROM again))"""  # noqa: S608
    ).fetchone()
    return [f"file {name} of the archive is not what its entries give: {apart} rows differ"] if apart else []


def row_of(found: Sequence[Any]) -> Row:
    """A row as the store gives it, its time out of microseconds since 1970."""
    stream, seq, system, batch, place, at, kind, body, previous, own = found
    return stream, seq, system, batch, place, _EPOCH + dt.timedelta(microseconds=at), kind, body, previous, own


def read_manifest(folder: Path, system: str) -> Manifest:
    """The manifest of a system.

    Raises:
        ArchiveError: there is none, or it is not as it was written.
    """
    file = folder / f"system={system}" / "manifest.json"
    try:
        raw = file.read_bytes()
        read = msgspec.json.decode(raw, type=Manifest)
        if read.sealed() != read or raw != manifest_bytes(read):
            raise ArchiveError(f"{file} is not as it was written")
        for line in read.checkpoints:
            read_checkpoint(line)
    except FileNotFoundError:
        raise ArchiveError(f"the archive {folder} holds nothing of system {system}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, CheckpointError) as error:
        raise ArchiveError(f"{file} is not as it was written: {error}") from None
    return read


def manifest_bytes(manifest: Manifest) -> bytes:
    """A manifest as it stands in its file."""
    return json.dumps(msgspec.to_builtins(manifest), indent=1, sort_keys=True).encode() + b"\n"


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Replace a system's manifest as a whole."""
    file = folder / f"system={manifest.system}" / "manifest.json"
    half = file.with_suffix(".part")
    with half.open("wb") as opened:
        opened.write(manifest_bytes(manifest.sealed()))
        opened.flush()
        os.fsync(opened.fileno())
    half.replace(file)


def file_digest(file: Path) -> str:
    """SHA-256 of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
