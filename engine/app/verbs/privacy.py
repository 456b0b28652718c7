"""`arsync privacy`: personal data stands outside every hash, so that it can be erased."""

from pathlib import Path

import click

from engine.app.config import Config
from engine.app.printing import of_system


@click.group()
def privacy() -> None:
    """Personal data of customers."""


@privacy.command()
@click.argument("customer")
@of_system
@click.pass_obj
def erase(settings: tuple[Config, Path], customer: str, system: str | None) -> None:
    """Erase names and addresses of CUSTOMER, by key, for good. Every chain of the journal stays valid.

    Erase them in the ERP first: as long as they stand there, its next change brings them back. The exit code is 1
    when nothing is known of the customer.
    """
    from engine.app.wiring import now, open_store
    from engine.store.privacy import erase as forget

    config, folder = settings
    with open_store(config, folder) as store, store.connect() as connection:
        systems = (
            [system] if system else [str(n) for (n,) in connection.execute("SELECT name FROM system ORDER BY 1")]
        )
        done = [name for name in systems if forget(connection, name, customer, now())]
    if not done:
        raise click.ClickException(f"there is no personal data of customer {customer}; `arsync customers list`")
    click.echo(f"personal data of customer {customer} is erased in {', '.join(done)}")
