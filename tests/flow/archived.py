"""Archives that are made without a database."""

from collections.abc import Sequence
from pathlib import Path

from engine.store.archive import Archive, Manifest, open_duckdb, write_manifest
from engine.store.exporting import DELIMITER, write_part
from engine.store.journal import Row
from tests.flow.memory_journal import SYSTEM, made


def archived(folder: Path, entries: int) -> Archive:
    """An archive of so many sound entries."""
    return archived_rows(folder, made(entries).entries)


def archived_rows(folder: Path, rows: Sequence[Row], most: int | None = None) -> Archive:
    """An archive of these entries, `most` of them in a part; a batch is never cut."""
    place, manifest = folder / f"system={SYSTEM}", Manifest(SYSTEM)
    place.mkdir(parents=True)
    while rest := [row for row in rows if row[3] > manifest.batch]:
        upto = rest[(most or len(rest)) - 1 : most][-1][3] if len(rest) > (most or 0) else rest[-1][3]
        file = folder / "entries.csv"
        with file.open("w", encoding="utf-8") as opened:
            for row in rest:
                if row[3] <= upto:
                    fields = (*row[:5], row[5].replace(tzinfo=None).isoformat(" "), *row[6:])
                    opened.write(DELIMITER.join(map(str, fields)) + "\n")
        with open_duckdb() as duck:
            manifest, _ = write_part(duck, file, manifest, place, manifest.batch + 1, upto)
        file.unlink()
    write_manifest(folder, manifest)
    return Archive(folder)
