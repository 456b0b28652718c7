"""`arsync journal`: checkpoints, the archive, and pruning what it holds."""

import json
from pathlib import Path

import click

from engine.app.config import Config
from engine.app.printing import as_json, of_system


@click.group()
def journal() -> None:
    """The journal: checkpoints, export to an archive, prune."""


@journal.command()
@of_system
@click.option("--key", "key_file", type=click.Path(dir_okay=False, path_type=Path),
              help="An Ed25519 private key in PEM to sign with.")  # fmt: skip
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path),
              help="Add it to this file too; keep that where the database's owner cannot write.")  # fmt: skip
@click.pass_obj
def checkpoint(settings: tuple[Config, Path], system: str | None, key_file: Path | None, out: Path | None) -> None:
    """Take a checkpoint of each system and print it, one line of JSON each. The daemon may go on working."""
    from engine.app.checkpointing import add_line
    from engine.app.wiring import now, open_store
    from engine.store.checkpoints import take

    config, folder = settings
    with open_store(config, folder) as store, store.connect() as connection:
        names = [system] if system else [str(n) for (n,) in connection.execute("SELECT name FROM system ORDER BY 1")]
        for name in names:
            point = take(connection, name, now(), key_file)
            click.echo(point.line)
            if out is not None:
                add_line(out, point)


@journal.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@of_system
@as_json
@click.pass_obj
def export(settings: tuple[Config, Path], folder: Path, system: str | None, json_: bool) -> None:  # noqa: FBT001
    """Add to the archive in FOLDER every entry that it does not hold yet (Parquet, by system and month)."""
    from engine.app.progress import Bar
    from engine.app.wiring import open_store
    from engine.store.exporting import export as add

    config, place = settings
    done = []
    with open_store(config, place) as store, store.connect() as connection:
        names = [system] if system else [str(n) for (n,) in connection.execute("SELECT name FROM system ORDER BY 1")]
        for name in names:
            row = connection.execute("SELECT count(*) FROM journal WHERE system = %s", (name,)).fetchone()
            bar = Bar(f"export {name}", int(row[0]) if row else 0)
            done.append(add(connection, name, folder, bar.to))
            bar.close()
    if json_:
        import msgspec

        click.echo(json.dumps(msgspec.to_builtins(done), indent=2))
        return
    for one in done:
        click.echo(f"{one.system}: {one.entries} entries added, the archive goes up to batch {one.batch}")


@journal.command()
@click.argument("folder", type=click.Path(file_okay=False, exists=True, path_type=Path))
@click.argument("system")
@click.pass_obj
def prune(settings: tuple[Config, Path], folder: Path, system: str) -> None:
    """Delete SYSTEM's entries from the store, up to the newest checkpoint that the archive in FOLDER covers.

    The archive is verified first, and every entry is held against it. Needs the owner's role ([store] owner_dsn).
    """
    import psycopg

    from engine.app.wiring import now, open_store
    from engine.flow.replay.verifying import verify
    from engine.store.archive import Archive
    from engine.store.exporting import prune as remove

    config, place = settings
    archive = Archive(folder)
    found = verify(archive, system)
    if found.faults:
        raise click.ClickException(
            f"the archive does not verify: {found.faults[0].sentence}; `arsync replay verify --archive {folder}`"
        )
    with open_store(config, place) as store, psycopg.connect(store.owner_dsn, autocommit=True) as owner:
        entries, batch = remove(owner, system, folder, now())
    click.echo(f"{system}: {entries} entries up to batch {batch} pruned; they are in {folder}")
