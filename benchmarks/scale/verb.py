"""`python -m benchmarks scale`: what an event costs in a store of many documents, and among several workers."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from benchmarks.running import Tell, running

if TYPE_CHECKING:
    from engine.store.embedded import Cluster


class Size(msgspec.Struct, frozen=True):
    """Numbers of `documents` at rest, rising, and of `workers`; `events` row changes in each of `runs` turns."""

    documents: Sequence[int]
    workers: Sequence[int]
    events: int
    runs: int
    lean: bool


@click.command()
@click.option("--documents", default="10000,1000000", show_default=True,
              help="Documents at rest in the store, rising; empty leaves this out.")  # fmt: skip
@click.option("--lean", is_flag=True, help="Documents at rest bring their record and their head's row only.")
@click.option("--workers", default="1,2,4", show_default=True, help="On as many systems; empty leaves this out.")
@click.option("--events", default=60_000, show_default=True, type=click.IntRange(1_000),
              help="Row changes of each turn, and of each system.")  # fmt: skip
@click.option(
    "--runs", default=3, show_default=True, type=click.IntRange(1), help="Turns at each number of documents."
)
@click.option("--seed", default=20_261_128, show_default=True, help="Of the workload.")
@click.option("--quick", is_flag=True, help="1,000 and 20,000 documents, 1 and 2 workers, one turn of 5,000 events.")
@click.option("--json", "json_", is_flag=True, help="One JSON object as the last line.")
def scale(
    documents: str,
    lean: bool,  # noqa: FBT001
    workers: str,
    events: int,
    runs: int,
    seed: int,
    quick: bool,  # noqa: FBT001
    json_: bool,  # noqa: FBT001
) -> None:
    """Microseconds an event costs with many documents in the store, and events a second among several workers.

    Exits with 1 when a store did not arrive at what its workload ends with.
    """
    size = Size(_numbers(documents), _numbers(workers), events, runs, lean)
    if quick:
        size = Size((1_000, 20_000), (1, 2), 5_000, 1, lean)
    with running("scale", kafka=True) as (folder, tell):
        line = measure(folder, size, seed, tell)
    show(line)
    if json_:
        click.echo(json.dumps(line))


def _numbers(text: str) -> list[int]:
    return sorted(int(part) for part in text.split(",") if part)


def measure(folder: Path, size: Size, seed: int, tell: Tell) -> dict[str, Any]:
    """Both halves; gives the last line."""
    from benchmarks.ingest.settings import SETTINGS
    from benchmarks.scale.workers import share
    from engine.store.embedded import Cluster
    from tests.kafka_stack.stack import kafka_stack

    with (
        kafka_stack(folder / "kafka", heap="1g", for_speed=True) as stack,
        Cluster(folder / "postgres", settings=SETTINGS) as cluster,
    ):
        tell("Kafka and PostgreSQL are up")
        in_store = _documents(folder, cluster, stack.bootstrap, size, seed, tell)
        shared = {
            str(number): share(folder, cluster, stack.bootstrap, number, size.events, seed, tell)
            for number in size.workers
        }
    return {"documents": in_store, "workers": shared, "events": size.events, "lean": size.lean}


def _documents(folder: Path, cluster: "Cluster", bootstrap: str, size: Size, seed: int, tell: Tell) -> dict[str, Any]:
    """By number of documents, microseconds an event; null with its reason where they do not fit."""
    from benchmarks.ingest.synced import BASE, SYSTEM, Synced
    from benchmarks.ingest.topic import TOPIC, Filler
    from benchmarks.scale.at_rest import FROM, AtRest, NoRoomError

    if not size.documents:
        return {}
    filler = Filler(bootstrap, seed)
    synced = Synced(folder, cluster, bootstrap, TOPIC, daemon=f"batch_size = {min(5_000, size.events // 8)}")
    synced.read_snapshot(filler.warm_up())
    # What the pattern is taken from, and what makes the turns alike: all have as many invoices under way.
    synced.go_on(BASE, filler.fill(max(size.events, 5_000)))
    at_rest = AtRest(cluster.dsn(BASE), SYSTEM, folder, lean=size.lean)
    found: dict[str, Any] = {}
    for count in size.documents:
        try:
            at_rest.reach(count, tell)
        except NoRoomError as error:
            found[str(count)] = {"microseconds": None, "reason": str(error)}
            tell(f"{count:,} documents: {error}")
            break
        costs = []
        for _ in range(size.runs):
            filled = filler.fill(size.events)
            costs.append(synced.go_on(BASE, filled, FROM) * filled.records / filled.events * 1e6)
            tell(f"{count:,} documents at rest: {costs[-1]:.0f} microseconds an event")
        found[str(count)] = {"microseconds": round(statistics.median(costs), 1), "min": round(min(costs), 1),
                             "max": round(max(costs), 1), "runs": size.runs,
                             "gigabytes": round(at_rest.bytes() / 1e9, 2)}  # fmt: skip
    return found


def show(line: dict[str, Any]) -> None:
    """The figures for people."""
    for count, held in line["documents"].items():
        cost = held["reason"] if held["microseconds"] is None else f"{held['microseconds']:.1f} microseconds an event"
        click.echo(f"{int(count):>12,} documents at rest: {cost}")
    for number, held in line["workers"].items():
        click.echo(f"{number:>3} workers on as many systems: {held['events_per_second'] or '-'} events/s in all")
