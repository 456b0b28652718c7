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
    """Erase names and addresses of CUSTOMER, by key, for good, out of its dead letters too.

    Every chain of the journal stays valid.

    Erase them in the ERP first: as long as they stand there, its next change brings them back. The exit code is 1
    when nothing is known of the customer.
    """
    from engine.app import registry
    from engine.app.wiring import now, open_store
    from engine.store.privacy import erase as forget

    config, folder = settings
    with open_store(config, folder) as store, store.connect() as connection:
        systems = connection.execute(
            "SELECT name, connector FROM system WHERE %(system)s::text IS NULL OR name = %(system)s ORDER BY 1",
            {"system": system},
        ).fetchall()
        done = [
            str(name)
            for name, connector in systems
            if forget(connection, name, customer, now(), registry.connector(connector).mapping.tables)
        ]
    if not done:
        raise click.ClickException(f"there is no personal data of customer {customer}; `arsync customers list`")
    click.echo(f"personal data of customer {customer} is erased in {', '.join(done)}")
