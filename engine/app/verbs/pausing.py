"""`arsync pause` and `arsync resume`: hold back what is sent to one ERP, without stopping to read it."""

from pathlib import Path

import click

from engine.app.actor import me
from engine.app.config import Config


@click.command()
@click.argument("system")
@click.option("--why", default="asked for", help="The reason, for those who find it paused.")
@click.pass_obj
def pause(settings: tuple[Config, Path], system: str, why: str) -> None:
    """Send nothing more to SYSTEM until it is resumed.

    What is under way is finished; reading, deciding and looking up go on.
    """
    from engine.app.wiring import now, open_store
    from engine.store import brake
    from engine.store.unit import unit_of_work

    config, folder = settings
    with open_store(config, folder) as store, store.connect() as connection:
        with connection.cursor() as cursor:
            known = brake.paused(cursor, system)
        if known is not None:
            click.echo(f"{system} is paused already, since {known.at.isoformat()} by {known.by}: {known.why}")
            return
        with unit_of_work(connection, system, now()) as work:
            brake.pause(work, me(), why)
    click.echo(f"{system} is paused; `arsync resume {system}` lets it go on")


@click.command()
@click.argument("system")
@click.pass_obj
def resume(settings: tuple[Config, Path], system: str) -> None:
    """Let SYSTEM be written to again; the brake's hour begins anew."""
    from engine.app.wiring import now, open_store
    from engine.store import brake
    from engine.store.unit import unit_of_work

    config, folder = settings
    with (
        open_store(config, folder) as store,
        store.connect() as connection,
        unit_of_work(connection, system, now()) as work,
    ):
        changed = brake.resume(work, me())
    click.echo(f"{system} goes on" if changed else f"{system} was not paused")
