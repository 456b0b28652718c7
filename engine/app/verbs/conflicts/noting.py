"""`arsync conflicts assign` and `comment`: who works on a conflict, and what is known about it."""

import click

from engine.app.printing import of_system
from engine.app.verbs.conflicts.reaching import Settings, find, me, open_connection


@click.command()
@click.argument("id_", metavar="ID")
@click.argument("whom")
@click.option("--actor", help="In whose name; the login name otherwise.")
@of_system
@click.pass_obj
def assign(settings: Settings, id_: str, whom: str, actor: str | None, system: str | None) -> None:
    """Give a conflict to WHOM; - gives it back to the queue."""
    from engine.app.wiring import now
    from engine.flow import choosing

    with open_connection(settings) as connection:
        owner, found = find(connection, id_, system)
        choosing.assign(connection, owner, found, None if whom == "-" else whom, actor=actor or me(), clock=now)
    click.echo(f"{found} is {'nobody' if whom == '-' else whom}'s")


@click.command()
@click.argument("id_", metavar="ID")
@click.argument("text")
@click.option("--actor", help="In whose name; the login name otherwise.")
@of_system
@click.pass_obj
def comment(settings: Settings, id_: str, text: str, actor: str | None, system: str | None) -> None:
    """Keep TEXT with a conflict; `show` tells it in the timeline."""
    from engine.app.wiring import now
    from engine.flow import choosing

    if not text.strip():
        raise click.UsageError("an empty comment says nothing")
    with open_connection(settings) as connection:
        owner, found = find(connection, id_, system)
        choosing.comment(connection, owner, found, text, actor=actor or me(), clock=now)
    click.echo(f"{found}: noted")
