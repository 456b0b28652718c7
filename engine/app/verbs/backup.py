"""`arsync backup` and `arsync restore`: the whole store in one file, and back."""

from pathlib import Path

import click

from engine.app.config import Config


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.pass_obj
def backup(settings: tuple[Config, Path], file: Path) -> None:
    """Write the whole store to FILE, while the daemon works on. FILE must not exist."""
    from engine.app.wiring import now, open_store
    from engine.store.backup import backup as save

    config, folder = settings
    with open_store(config, folder) as store:
        counts = save(store.dsn, file, now())
    click.echo(f"{file}: {sum(counts.values())} rows, {counts['journal']} of them journal entries")


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.pass_obj
def restore(settings: tuple[Config, Path], file: Path) -> None:
    """Fill an empty store from FILE.

    The next `arsync run` takes a new snapshot of each system: what happened after the backup is told by it. Every
    command is looked up in the ERP by its key before it is sent, for the backup may not know that it was.
    """
    from engine.app.wiring import now, open_store
    from engine.store.backup import restore as load

    config, folder = settings
    with open_store(config, folder, migrate=True) as store:
        counts = load(store.owner_dsn, file, now())
    click.echo(f"restored {sum(counts.values())} rows; start `arsync run` for each system, it takes a new snapshot")
