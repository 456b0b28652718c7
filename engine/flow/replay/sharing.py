"""Verifies an archive in two processes: one proves the first part, the other goes over it and proves the rest.

Going over entries costs a fraction of deciding on them. Where the first part ends both must know the same ends of
all streams and the same records; then each entry was proven by one of them, on what the other one proved.
"""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from engine.flow.replay.verifying import MOST, Progress, Share, Verified, verify
from engine.store.archive import Archive, open_duckdb
from engine.store.checkpoints import Checkpoint

FIRST_PART = 0.62
"""How much the first process proves, so that both are done at about the same time."""

WORTH_IT = 200_000
"""Entries from which on a second process is started."""


def verify_shared(
    archive: Archive,
    system: str,
    *,
    outside: Sequence[Checkpoint] = (),
    progress: Progress = lambda _done: None,
    worth_it: int = WORTH_IT,
) -> Verified:
    """What `verify` finds, in two processes where the archive has `worth_it` entries or more."""
    split = _split(archive, system, worth_it)
    if split is None:
        return verify(archive, system, outside=outside, progress=progress)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        later = pool.submit(_rest, archive.folder, system, tuple(outside), split)
        first = verify(archive, system, outside=outside, progress=progress, share=Share(stop_at=split))
        rest, digest, ends = later.result()
    if (digest, ends) != (first.digest, first.ends):
        sentence = f"the two parts of {system} do not lead to the same records at batch {split}"
        first.say(f"batch {split}", sentence, "digest", first.digest, digest)
    return _joined(first, rest)


def _rest(
    folder: Path, system: str, outside: tuple[Checkpoint, ...], split: int
) -> tuple[Verified, str, dict[str, tuple[int, str]]]:
    midway: list[tuple[str, dict[str, tuple[int, str]]]] = []
    found = verify(
        Archive(folder),
        system,
        outside=outside,
        share=Share(fold_to=split),
        at_split=lambda digest, ends: midway.append((digest, ends)),
    )
    return found, *(midway or [("", {})])[0]


def _split(archive: Archive, system: str, worth_it: int) -> int | None:
    count = archive.count(system)
    if count < worth_it:
        return None
    with open_duckdb() as duck:
        row = duck.execute(
            "SELECT batch FROM read_parquet(?, hive_partitioning = false) LIMIT 1 OFFSET ?",
            [archive.files(system), int(count * FIRST_PART)],
        ).fetchone()
    return int(row[0]) if row else None


def _joined(first: Verified, rest: Verified) -> Verified:
    """One result of two."""
    rest.covered = first.entries + rest.covered if rest.covered else first.covered
    rest.entries += first.entries
    rest.decided += first.decided
    rest.chained_only += first.chained_only
    rest.began = first.began
    rest.checkpoints += first.checkpoints
    faults = [*first.faults, *rest.faults]
    rest.more_faults += first.more_faults + max(0, len(faults) - MOST)
    rest.faults = faults[:MOST]
    return rest
