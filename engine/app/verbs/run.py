"""`arsync run`: the daemon of one system, one of several workers that share systems, or one pass over a capture."""

from pathlib import Path

import click

from engine.app.config import Config, SystemConfig


@click.command()
@click.option("--system", help="Only this system; needed when several cannot be shared by workers.")
@click.option("--capture", type=click.Path(dir_okay=False), help="Read a recorded capture instead of the database.")
@click.option("--until-end", is_flag=True, help="Stop when the capture has been read.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Records in one batch.")
@click.option("--new-epoch", is_flag=True, help="Take a new snapshot: the ERP's log no longer continues.")
@click.option(
    "--ready-file", type=click.Path(dir_okay=False), help="Written (JSON: pid, port) once documents are there."
)
@click.pass_obj
def run(
    settings: tuple[Config, Path],
    system: str | None,
    capture: str | None,
    until_end: bool,  # noqa: FBT001 - a command line flag
    batch_size: int | None,
    new_epoch: bool,  # noqa: FBT001 - a command line flag
    ready_file: str | None,
) -> None:
    """Read changes, decide, and write back until stopped.

    Systems whose changes come from Kafka are shared: start this as often as there shall be workers, with the same
    configuration. Each works on some of the systems, and takes over those of a worker that ends or dies.

    SIGTERM or Ctrl-C finishes what is under way and gives the leases back; a second one ends at once.
    """
    from engine.app.daemon import Orders, run_daemon
    from engine.app.logs import set_up_logs
    from engine.app.wiring import open_store
    from engine.app.worker import run_worker

    config, folder = settings
    set_up_logs(config.log, folder)
    shared = shared_systems(config, system) if capture is None else {}
    if shared:
        if new_epoch and len(shared) > 1:
            raise click.UsageError("--new-epoch is for one system; name it with --system")
        orders = Orders(", ".join(shared), None, until_end, batch_size, new_epoch, ready_file)
        with open_store(config, folder) as store:
            records = run_worker(store, config, shared, folder, orders)
        click.echo(f"{orders.system}: {records} records read", err=True)
        return
    name, chosen = choose_system(config, system)
    orders = Orders(name, capture, until_end, batch_size, new_epoch, ready_file)
    with open_store(config, folder) as store:
        records = run_daemon(store, config, chosen, folder, orders)
    click.echo(f"{name}: {records} records read", err=True)


def shared_systems(config: Config, name: str | None) -> dict[str, SystemConfig]:
    """The named system, or all, where workers can share them; none where one of them cannot be shared."""
    from engine.app import registry
    from engine.ports.source import Shared

    chosen = {one: system for one, system in config.systems.items() if name in (None, one)}
    if all(isinstance(registry.source(system.source, "debezium"), Shared) for system in chosen.values()):
        return chosen
    return {}


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
