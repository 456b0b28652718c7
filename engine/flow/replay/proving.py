"""Verifies a journal wherever it is kept: an archive's files first, then what all journals have in common."""

from collections.abc import Callable, Iterator, Sequence

from engine.flow.replay.reading import Journal
from engine.flow.replay.sharing import verify_shared
from engine.flow.replay.verifying import Progress, Verified, verify
from engine.store.archive import Archive, ArchiveError
from engine.store.checkpoints import Checkpoint, CheckpointError


def prove(
    journal: Journal,
    system: str,
    *,
    outside: Sequence[Checkpoint] = (),
    progress: Progress = lambda _done: None,
    current: Callable[[str], Iterator[tuple[str, str]]] | None = None,
    decide: bool = True,
) -> Verified:
    """Verify one system's journal with everything that is known of the place where it is kept."""
    result = Verified(system)
    try:
        if isinstance(journal, Archive):
            for sentence in journal.damaged(system):
                result.say(sentence.split(" of the archive")[0], sentence)
        if isinstance(journal, Archive) and decide:
            found = verify_shared(journal, system, outside=outside, progress=progress)
        else:
            found = verify(
                journal, system, outside=outside, progress=progress, decide=decide,
                current=(lambda: current(system)) if current is not None else None,
            )  # fmt: skip
        found.faults[:0] = result.faults
        if isinstance(journal, Archive) and not result.faults and decide:
            for sentence in journal.steps_apart(system):
                found.say(sentence.split(" of the archive")[0], sentence)
    except (ArchiveError, CheckpointError, OSError) as error:
        result.say(journal.name, str(error))
        return result
    except Exception as error:
        if not isinstance(journal, Archive) or type(error).__module__.partition(".")[0] not in ("duckdb", "_duckdb"):
            raise
        result.say(journal.name, f"{journal.name} cannot be read: {error}")
        return result
    return found
