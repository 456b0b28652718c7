"""`python -m benchmarks source`: row changes a second that Debezium brings, without an engine behind it."""

import json
from typing import TYPE_CHECKING

import click

from benchmarks.running import Tell, running

if TYPE_CHECKING:
    from benchmarks.live.house import House


@click.command()
@click.option("--events", default=200_000, show_default=True, type=click.IntRange(1_000), help="Row changes to read.")
@click.option("--runs", default=3, show_default=True, type=click.IntRange(1), help="Turns that each side has.")
@click.option("--seed", default=20_261_128, show_default=True, help="Of the workload.")
@click.option("--quick", is_flag=True, help="5,000 events, one turn.")
@click.option("--json", "json_", is_flag=True, help="One JSON object as the last line.")
def source(events: int, runs: int, seed: int, quick: bool, json_: bool) -> None:  # noqa: FBT001 - flags
    """Row changes a second out of the ERP's log: through Kafka Connect into a topic, and embedded.

    Exits with 1 when a side brought more or less than was played.
    """
    if quick:
        events, runs = 5_000, 1
    rates: dict[str, list[float]] = {}
    with running("source", kafka=True) as (folder, tell):
        from benchmarks.ingest.verb import figures
        from benchmarks.live.house import open_house

        with open_house(folder, seed, kafka=True) as house:
            tell("the servers are up")
            for run in range(runs):
                for name, rate in _run(house, run, events, tell).items():
                    rates.setdefault(name, []).append(rate)
        line = {name: figures(held) for name, held in rates.items()}
    click.echo(f"{'row changes/s':20}{'median':>9}{'min':>9}{'max':>9}{'runs':>6}")
    for name, held in line.items():
        click.echo(f"{name:20}{held['median']:>9}{held['min']:>9}{held['max']:>9}{held['runs']:>6}")
    if json_:
        click.echo(json.dumps({**line, "events": events}))


def _run(house: "House", run: int, events: int, tell: Tell) -> dict[str, float]:
    """By side, row changes a second; each run has a database of its own, and the order turns round."""
    from benchmarks.live.erp import LiveErp
    from benchmarks.live.player import Player
    from benchmarks.source.sides import Embedded, ThroughConnect, as_printed, by_default

    erp = LiveErp(house.erp, f"source{run}", house.seed)
    sides: dict[str, ThroughConnect | Embedded] = {
        "connect_config": as_printed(erp, house.stack, f"printed{run}", house.folder / f"printed{run}"),
        "connect_defaults": by_default(erp, house.stack, f"defaults{run}", house.folder / f"defaults{run}"),
        "embedded": Embedded(erp, f"embedded{run}", house.folder / f"embedded{run}"),
    }
    for side in sides.values():
        side.stand_still()
    with Player(erp.dsn, house.seed) as player:
        played = player.play(events)
    tell(f"run {run + 1}: {played.events} row changes are in the log")
    rates = {}
    for name in sides if run % 2 == 0 else reversed(list(sides)):
        rates[name] = sides[name].turn(played.events).rate
        tell(f"{name:17} {rates[name]:8.0f} row changes/s")
    return rates
