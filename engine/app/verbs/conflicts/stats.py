"""`arsync conflicts stats`: kinds, ages, money at stake, and how long people took."""

from typing import Any

import click

from engine.app.printing import as_json
from engine.app.verbs.conflicts.reaching import Settings, open_connection
from engine.app.verbs.conflicts.selecting import selection, wanted


@click.command()
@selection
@as_json
@click.pass_obj
def stats(settings: Settings, /, json_: bool, **options: Any) -> None:  # noqa: FBT001
    """Counts over all states; money and ages of what is open; times of what people resolved. --state is not used."""
    import json

    from engine.app.verbs.conflicts import layout
    from engine.app.wiring import now
    from engine.store import conflict_queries

    which = wanted(options)
    with open_connection(settings) as connection, connection.cursor() as cursor:
        found = conflict_queries.stats(cursor, which, now())
    if json_:
        click.echo(json.dumps(found, indent=2))
        return
    oldest = f", the oldest for {layout.span(found['oldest_seconds'])}" if found["open"] else ""
    click.echo(f"{found['open']} open{oldest}; at stake: {layout.amounts(found['money_at_stake'])}")
    click.echo("open since: " + ", ".join(f"{name} {number}" for name, number in found["ages"].items()))
    click.echo("")
    took = found["resolved_by_people_seconds"]
    click.echo(f"{'kind':20}{'open':>7}{'applied':>9}{'dismissed':>11}{'resolved in':>13}{'9 of 10 in':>12}")
    for kind, states in found["kinds"].items():
        waiting = sum(states.get(state, 0) for state in conflict_queries.OPEN)
        times = took.get(kind, {})
        click.echo(
            f"{kind:20}{waiting:7}{states.get('applied', 0):9}{states.get('dismissed', 0):11}"
            f"{layout.span(times.get('median')):>13}{layout.span(times.get('p90')):>12}"
        )
