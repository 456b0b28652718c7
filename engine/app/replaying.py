"""Opens what is replayed: the store of the configuration, or an archive with no database running."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import click

from engine.app.config import Config
from engine.flow.replay.reading import Journal
from engine.store.checkpoints import Checkpoint, CheckpointError, check_signature, read_checkpoint

of_archive = click.option(
    "--archive", type=click.Path(file_okay=False, path_type=Path),
    help="Read this archive in place of the store; needs no database.",
)  # fmt: skip


class Opened(NamedTuple):
    """A journal, its systems that were asked for, and for a store the records that it holds now."""

    journal: Journal
    systems: list[str]
    current: Callable[[str], Iterator[tuple[str, str]]] | None


@contextmanager
def opened(settings: tuple[Config, Path], archive: Path | None, system: str | None) -> Iterator[Opened]:
    """The journal to replay.

    Raises:
        click.ClickException: there is no such system in it.
    """
    if archive is not None:
        from engine.store.archive import Archive

        held = Archive(archive)
        yield Opened(held, _chosen(held, system), None)
        return
    from engine.app.wiring import open_store
    from engine.store.journal_reading import StoredJournal

    config, folder = settings
    with open_store(config, folder) as store, store.connect() as connection:
        journal = StoredJournal(connection)
        yield Opened(journal, _chosen(journal, system), journal.current)


def _chosen(journal: Journal, system: str | None) -> list[str]:
    known = journal.systems()
    if system is None:
        return known
    if system not in known:
        raise click.ClickException(f"{journal.name} holds no system {system}; it holds {', '.join(known) or 'none'}")
    return [system]


def outside_checkpoints(files: tuple[Path, ...], public_key: str | None) -> list[Checkpoint]:
    """Checkpoints out of files that were kept outside, one on each line, their signatures checked.

    Raises:
        CheckpointError: one is not as it was written, or not signed as it must be.
    """
    found = []
    for file in files:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise CheckpointError(f"{file} cannot be read: {error}") from None
        for line in lines:
            if line.strip():
                point = read_checkpoint(line)
                wrong = check_signature(point, public_key)
                if wrong is not None:
                    raise CheckpointError(f"{file}: {wrong}")
                found.append(point)
    return found
