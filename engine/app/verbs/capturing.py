"""`arsync connect-config` and `arsync snapshot`: setting up a capture that runs apart from arsync, and asking it for
a snapshot."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.app.config import Config
from engine.app.printing import as_json

if TYPE_CHECKING:
    from engine.ports.source import Remote, SourceSetup


@click.command("connect-config")
@click.argument("system")
@click.option(
    "--apply", "url", metavar="URL", help="Create or update it there; - takes the URL of the configuration."
)
@as_json
@click.pass_obj
def connect_config(settings: tuple[Config, Path], system: str, url: str | None, json_: bool) -> None:  # noqa: FBT001
    """Print the connector of SYSTEM as Kafka Connect wants it, without its password.

    With --apply it is created or updated through Connect's REST API; the exit code is 1 when Connect refuses.
    """
    kind, setup = _capture(settings, system)
    if url is not None:
        done = kind.apply_capture(setup, None if url == "-" else url)
        click.echo(json.dumps({"system": system, "done": done}) if json_ else done)
        return
    name, config = kind.capture_config(setup)
    click.echo(json.dumps({"name": name, "config": config}, indent=2))


@click.command()
@click.argument("system")
@click.option("--table", "tables", multiple=True, help="Only this table, as schema.table; may be repeated.")
@click.option("--incremental", is_flag=True, help="In chunks, while the stream goes on.")
@as_json
@click.pass_obj
def snapshot(
    settings: tuple[Config, Path],
    system: str,
    tables: tuple[str, ...],
    incremental: bool,  # noqa: FBT001
    json_: bool,  # noqa: FBT001
) -> None:
    """Ask the capture of SYSTEM to read its tables anew.

    Without --incremental the stream stops for it, and rows that are gone are noticed; that is what
    `arsync run --new-epoch` waits for (and asks for by itself).
    """
    kind, setup = _capture(settings, system)
    unknown = sorted(set(tables) - set(setup.tables))
    if unknown:
        raise click.UsageError(f"not captured: {', '.join(unknown)}; captured are: {', '.join(setup.tables)}")
    number = kind.snapshot(setup, tables or setup.tables, whole=not incremental)
    said = {"system": system, "request": number, "tables": list(tables or setup.tables)}
    click.echo(
        json.dumps(said) if json_ else f"{system}: snapshot {number} of {len(said['tables'])} tables asked for"
    )


def _capture(settings: tuple[Config, Path], system: str) -> "tuple[Remote, SourceSetup]":
    from engine.app import registry
    from engine.app.verbs.run import choose_system
    from engine.app.wiring import source_folder
    from engine.flow.reader import source_setup
    from engine.ports.source import Remote

    config, folder = settings
    name, chosen = choose_system(config, system)
    kind = registry.source(chosen.source, "debezium")
    if not isinstance(kind, Remote):
        raise click.ClickException(
            f"the source of {name} is of the type {chosen.source.get('type', 'debezium')}, which runs beside arsync "
            'and needs no connector; set source.type = "kafka" to read what Kafka Connect captures'
        )
    mapping = registry.connector(chosen.connector).mapping
    work = source_folder(config, folder, name)
    return kind, source_setup(name, dict(chosen.source), mapping, None, work, config.daemon.batch_size)
