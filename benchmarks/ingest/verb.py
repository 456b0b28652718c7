"""`python -m benchmarks ingest`: arsync beside a ceiling and its peers, on one topic in one run."""

import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmarks.running import Tell, running

if TYPE_CHECKING:
    from benchmarks.ingest.synced import Synced
    from benchmarks.ingest.topic import Filled
    from engine.store.embedded import Cluster

    Way = Callable[[Filled], float]
    """Reads the measured part once, and gives the seconds that a record took."""

SIDES = ("arsync", "ceiling", "bytewax_recovery", "quix", "jdbc_sink")
_SHOWN_SETTINGS = ("fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size")


@click.command()
@click.option("--events", default=120_000, show_default=True, type=click.IntRange(1_000), help="Row changes to read.")
@click.option("--runs", default=5, show_default=True, type=click.IntRange(1), help="Turns that each side has.")
@click.option("--seed", default=20_261_128, show_default=True, help="Of the workload.")
@click.option("--sides", default=",".join(SIDES), show_default=True, help="Which take part.")
@click.option("--quick", is_flag=True, help="arsync and the ceiling only, fewer events and turns.")
@click.option("--json", "json_", is_flag=True, help="One JSON object as the last line.")
def ingest(events: int, runs: int, seed: int, sides: str, quick: bool, json_: bool) -> None:  # noqa: FBT001 - flags
    """Events a second from a Kafka topic to committed state in PostgreSQL.

    Exits with 1 when a side did not arrive at the state that the workload ends with.
    """
    if quick:
        events, runs = min(events, 24_000), min(runs, 3)
    asked = [side for side in (SIDES[:2] if quick else SIDES) if side in sides.split(",")]
    with running("ingest", kafka=True) as (folder, tell):
        line = measure(folder, events, runs, seed, asked, tell)
    show(line)
    if json_:
        click.echo(json.dumps(line))


def measure(folder: Path, events: int, runs: int, seed: int, sides: Sequence[str], tell: Tell) -> dict[str, Any]:
    """Bring the parts up below `folder`, give every side its turns in a changing order, and give the last line."""
    from benchmarks.ingest.mirror.sink import Sink
    from benchmarks.ingest.settings import SETTINGS, told_settings
    from benchmarks.ingest.synced import Synced
    from benchmarks.ingest.topic import TOPIC, Filler
    from engine.store.embedded import Cluster
    from tests.kafka_stack.stack import kafka_stack

    with (
        kafka_stack(folder / "kafka", heap="1g", for_speed=True) as stack,
        Cluster(folder / "postgres", settings=SETTINGS) as cluster,
        Sink(folder, cluster, stack.bootstrap, seed) as sink,
    ):
        tell("Kafka and PostgreSQL are up")
        filler = Filler(stack.bootstrap, seed)
        # What is timed begins with the first batch's commit, so a short run needs smaller batches than the shipped.
        synced = Synced(folder, cluster, stack.bootstrap, TOPIC, daemon=f"batch_size = {min(5_000, events // 8)}")
        synced.read_snapshot(filler.warm_up())
        filled = filler.fill(events)
        tell(f"{filled.events} events in {filled.records} records, {filled.size / 1e6:.0f} MB, are in the topic")
        ways = _ways(folder, cluster, synced) | {"jdbc_sink": sink.run}
        rates, reasons = take_turns({side: ways[side] for side in sides}, filled, runs, tell)
        settings = told_settings(cluster, _SHOWN_SETTINGS)
    line: dict[str, Any] = {side: figures(rates[side]) if rates.get(side) else None for side in SIDES}
    missing = {side: reasons.get(side, "left out") for side in SIDES if line[side] is None}
    return {**line, "events": filled.events, "records": filled.records, "reasons": missing, "settings": settings}


def _ways(folder: Path, cluster: "Cluster", synced: "Synced") -> "dict[str, Way]":
    from benchmarks.ingest.peers import streaming
    from benchmarks.ingest.sides import ceiling

    return {
        "arsync": synced.run,
        "ceiling": lambda filled: ceiling(cluster, filled),
        "bytewax_recovery": lambda filled: streaming("bytewax_flow", folder, filled),
        "quix": lambda filled: streaming("quix_flow", folder, filled),
    }


def take_turns(
    ways: "dict[str, Way]", filled: "Filled", runs: int, tell: Tell
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Events a second of every turn, by side; and why a side could not run. The order turns round every time."""
    from benchmarks.ingest.peers import NoPeerError

    rates: dict[str, list[float]] = {side: [] for side in ways}
    reasons: dict[str, str] = {}
    for turn in range(runs):
        for side in ways if turn % 2 == 0 else tuple(reversed(ways)):
            if side in reasons:
                continue
            try:
                seconds = ways[side](filled)
            except NoPeerError as error:
                reasons[side] = str(error)
                tell(f"{side} cannot run: {error}")
                continue
            rates[side].append(filled.events / (seconds * filled.records))
            tell(f"{side:17} {rates[side][-1]:8.0f} events/s")
    return rates, reasons


def figures(rates: Sequence[float]) -> dict[str, float]:
    """What a side's turns come to."""
    return {
        "median": round(statistics.median(rates)),
        "min": round(min(rates)),
        "max": round(max(rates)),
        "runs": len(rates),
    }


def show(line: dict[str, Any]) -> None:
    """The figures for people."""
    ceiling = line["ceiling"]["median"] if line["ceiling"] else None
    click.echo(f"{'events/s':18}{'median':>9}{'min':>9}{'max':>9}{'runs':>6}{'of ceiling':>12}")
    for side in SIDES:
        held = line[side]
        if held is None:
            click.echo(f"{side:18}{'-':>9}  {line['reasons'][side]}")
            continue
        part = f"{held['median'] / ceiling:.2f}" if ceiling else "-"
        click.echo(f"{side:18}{held['median']:>9}{held['min']:>9}{held['max']:>9}{held['runs']:>6}{part:>12}")
    click.echo(", ".join(f"{name} = {value}" for name, value in line["settings"].items()))
