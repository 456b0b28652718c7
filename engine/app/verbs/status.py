"""`arsync status`: how far each system was read, and how many of what stand where."""

import json
from pathlib import Path
from typing import Any

import click

from engine.app.config import Config
from engine.app.printing import as_json, of_system


@click.command()
@of_system
@as_json
@click.pass_obj
def status(settings: tuple[Config, Path], system: str | None, json_: bool) -> None:  # noqa: FBT001
    """Lag, states, outbox and conflicts."""
    from engine.app.wiring import open_store
    from engine.store import exclusive
    from engine.store import status as standing

    config, folder = settings
    with open_store(config, folder) as store, store.connect() as connection, connection.cursor() as cursor:
        known = standing.systems(cursor)
        if system is not None and system not in known:
            raise click.ClickException(
                f"system {system} is not in the store; known are: {', '.join(known) or 'none'}"
            )
        found = [
            {**standing.status(cursor, name), "daemon": exclusive.is_taken(connection, name)}
            for name in known
            if system in (None, name)
        ]
    if json_:
        click.echo(json.dumps({"systems": found}, indent=2))
        return
    if not found:
        click.echo("no system was read yet; `arsync run` starts with one")
    for one in found:
        _print(one)


def _print(one: dict[str, Any]) -> None:
    click.echo(f"{one['system']}: daemon {'running' if one['daemon'] else 'not running'}")
    lag = one["lag_seconds"]
    snapshot = "complete" if one["snapshot_complete"] else "not complete"
    click.echo(f"  read to position {one['position'] or '-'}, snapshot {snapshot}")
    click.echo(f"  last change {one['last_change_at'] or '-'}, applied after {'-' if lag is None else f'{lag} s'}")
    if one["reconciled"]:
        click.echo(f"  {_verified(one['reconciled'])}")
    if one["paused"]:
        click.echo(f"  PAUSED since {one['paused']['at']} by {one['paused']['by']}: {one['paused']['why']}")
    for what in ("invoices", "intents", "commands", "conflicts", "documents_parked", "dead_letters"):
        states = ", ".join(f"{count} {state}" for state, count in one[what].items() if count) or "none"
        click.echo(f"  {what.replace('_', ' '):17} {states}")


def _verified(told: dict[str, Any]) -> str:
    """What the last reconcile found."""
    if told["differences"] or told["unsettled"]:
        return f"reconciled {told['at']}: {told['differences']} differences, {told['unsettled']} not settled"
    through = "" if told["position"] is None else f", verified through position {told['position']}"
    return f"reconciled {told['at']}: the same as the ERP{through}"
