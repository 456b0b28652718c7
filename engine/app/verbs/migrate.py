"""`arsync migrate`: bring the store's tables up to this version."""

from pathlib import Path

import click

from engine.app.config import Config


@click.command()
@click.pass_obj
def migrate(settings: tuple[Config, Path]) -> None:
    """Create or upgrade the store's tables."""
    from engine.app.wiring import open_store

    config, folder = settings
    with open_store(config, folder, migrate=True):
        click.echo("the store's tables are up to date")
