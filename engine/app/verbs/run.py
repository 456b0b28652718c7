"""`arsync run`: read a system's changes and keep its documents."""

import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from engine.app.config import Config, SystemConfig


@click.command()
@click.option("--system", help="Which system; needed only when several are configured.")
@click.option("--capture", type=click.Path(dir_okay=False), help="Read a recorded capture instead of the database.")
@click.option("--until-end", is_flag=True, help="Stop when the capture has been read.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Records in one batch.")
@click.option("--new-epoch", is_flag=True, help="Take a new snapshot: the ERP's log no longer continues.")
@click.pass_obj
def run(
    settings: tuple[Config, Path],
    system: str | None,
    capture: str | None,
    until_end: bool,  # noqa: FBT001 - a command line flag
    batch_size: int | None,
    new_epoch: bool,  # noqa: FBT001 - a command line flag
) -> None:
    """Read changes and apply them until stopped (SIGTERM or Ctrl-C finishes the batch first)."""
    from engine.app.wiring import open_store

    config, folder = settings
    name, chosen = choose_system(config, system)
    stopped: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda signum, _frame: stop_or_die(stopped, signum))
    options: dict[str, Any] = dict(chosen.source)
    if capture is not None:
        options = {"type": "capture", "path": str(Path(capture).resolve())}
    if new_epoch:
        options["new_epoch"] = True
    with open_store(config, folder) as store:
        records = _read(
            store, config, name, chosen, options, folder, batch_size, until_end=until_end, stopped=stopped
        )
    click.echo(f"{name}: {records} records read", err=True)


def choose_system(config: Config, name: str | None) -> tuple[str, SystemConfig]:
    """The named system, or the only one; without a configuration, one of the only installed connector."""
    from engine.app import registry

    if name is None and len(config.systems) == 1:
        name = next(iter(config.systems))
    if name is not None and name in config.systems:
        return name, config.systems[name]
    installed = registry.names(registry.CONNECTORS)
    if not config.systems and len(installed) == 1:
        return name or installed[0], SystemConfig(connector=installed[0])
    known = ", ".join(sorted(config.systems)) or "none"
    raise click.UsageError(f"which system? name one with --system; configured are: {known}")


def stop_or_die(stopped: list[int], signum: int) -> None:
    """The first signal asks for an orderly end, the second ends at once."""
    if stopped:
        raise SystemExit(128 + signum)
    stopped.append(signum)


def _read(
    store: Any,
    config: Config,
    name: str,
    chosen: SystemConfig,
    options: Mapping[str, Any],
    folder: Path,
    batch_size: int | None,
    *,
    until_end: bool,
    stopped: list[int],
) -> int:
    from engine.app import registry
    from engine.app.config import policy_of
    from engine.app.wiring import enter_system, now
    from engine.flow.pipeline import Pipeline
    from engine.ports.source import SourceSetup
    from engine.store.position import load_position

    mapping = registry.connector(chosen.connector).mapping
    records = 0
    with store.connect() as connection:
        enter_system(connection, name, chosen.connector)
        with connection.cursor() as cursor:
            stored = load_position(cursor, name)
        work = folder / config.store.folder / "sources" / name
        work.mkdir(parents=True, exist_ok=True)
        setup = SourceSetup(
            system=name,
            options=options,
            tables=[f"{spec.schema}.{spec.name}" for spec in mapping.tables],
            excluded=[f"{spec.schema}.{spec.name}.{column}" for spec in mapping.tables for column in spec.excluded],
            resume=stored.resume if stored else None,
            folder=work,
            max_batch=batch_size or config.daemon.batch_size,
        )
        source = registry.source(options, "debezium")(setup)
        try:
            pipeline = Pipeline(
                connection,
                name,
                mapping,
                policy_of(chosen.policy),
                now,
                epoch=source.epoch,
                brake=config.daemon.brake,
            )
            pipeline.catch_up()
            quiet_since = time.monotonic()
            while not stopped:
                batch = source.poll(0.2)
                if batch is not None:
                    records += pipeline.take(batch)
                    source.acknowledge()
                    quiet_since = time.monotonic()
                elif source.exhausted and until_end:
                    break
                elif time.monotonic() - quiet_since > config.daemon.quiet_seconds:
                    pipeline.settle()
            if source.exhausted:
                pipeline.settle()
        finally:
            source.close()
    return records
