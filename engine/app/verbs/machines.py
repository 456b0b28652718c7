"""`arsync machines`: shows the life cycles that every decision follows, straight from their tables."""

import json

import click

from statemachines import MACHINES
from statemachines.drawing import as_json, as_mermaid, as_text


@click.command()
@click.argument("name", required=False, metavar="[NAME]", type=click.Choice(list(MACHINES)))
@click.option("--json", "json_", is_flag=True, help="Each machine with all its [state, trigger, destination].")
@click.option("--mermaid", is_flag=True, help="Diagrams as Mermaid text, one for each machine.")
def machines(name: str | None, *, json_: bool, mermaid: bool) -> None:
    """Show the state machines: what each state means, what leads where, and who fires it.

    NAME is one of invoice, intent, command, dispute, conflict; without it all are shown.
    """
    if json_ and mermaid:
        raise click.UsageError("--json and --mermaid are two forms of the same answer; give one of them.")
    shown = [MACHINES[name]] if name else list(MACHINES.values())
    if json_:
        click.echo(json.dumps(as_json(shown), indent=2))
        return
    draw = as_mermaid if mermaid else as_text
    click.echo("\n\n".join(draw(machine) for machine in shown))
