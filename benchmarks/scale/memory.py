"""`python -m benchmarks memory`: what a worker's memory comes to after N events, and after a tenth of them.

One `arsync run` reads all of it in one go, while the topic is filled part by part ahead of it.
"""

import json
from pathlib import Path
from typing import Any

import click

from benchmarks.running import Tell, running


@click.command()
@click.option(
    "--events", default=10_000_000, show_default=True, type=click.IntRange(10_000), help="Row changes to read."
)
@click.option("--seed", default=20_261_128, show_default=True, help="Of the workload.")
@click.option("--quick", is_flag=True, help="40,000 events.")
@click.option("--json", "json_", is_flag=True, help="One JSON object as the last line.")
def memory(events: int, seed: int, quick: bool, json_: bool) -> None:  # noqa: FBT001 - flags
    """MiB resident after a tenth of the events and after all: the worker, and the process that reads the topic.

    Exits with 1 when the store did not arrive at what the workload ends with.
    """
    with running("memory", kafka=True) as (folder, tell):
        line = measure(folder, 40_000 if quick else events, seed, tell)
    for seen in line["seen"]:
        click.echo(f"{seen['events']:>12,} events: {seen['worker']:8.1f} MiB, reading {seen['reading']:7.1f} MiB")
    click.echo(f"after all, {line['ratio']:.2f} times that after a tenth")
    if json_:
        click.echo(json.dumps(line))


def measure(folder: Path, events: int, seed: int, tell: Tell) -> dict[str, Any]:
    """Fill and read in twenty parts; gives the last line."""
    from benchmarks.ingest.settings import SETTINGS
    from benchmarks.ingest.synced import BASE, SYSTEM, Synced, SyncFailed
    from benchmarks.ingest.topic import TOPIC, Filler
    from engine.store.embedded import Cluster
    from tests.kafka_stack.stack import kafka_stack

    parts = 20
    with (
        kafka_stack(folder / "kafka", heap="1g", for_speed=True) as stack,
        Cluster(folder / "postgres", settings=SETTINGS) as cluster,
    ):
        filler = Filler(stack.bootstrap, seed)
        synced = Synced(folder, cluster, stack.bootstrap, TOPIC)
        synced.read_snapshot(filler.warm_up())
        seen: list[dict[str, Any]] = []
        read = 0
        with synced.running(BASE) as (pid, await_offset):
            for _ in range(parts):
                filled = filler.fill(events // parts)
                await_offset(filled.end)
                read += filled.events
                seen.append({"events": read, **_resident(pid)})
                tell(f"{read:,} events: {seen[-1]}")
        difference = filled.expected.difference(cluster.dsn(BASE), SYSTEM)
        if difference is not None:
            raise SyncFailed(difference)
    tenth = seen[parts // 10 - 1]
    return {"events": read, "worker_mib": seen[-1]["worker"], "worker_mib_after_a_tenth": tenth["worker"],
            "ratio": round(seen[-1]["worker"] / tenth["worker"], 3), "seen": seen}  # fmt: skip


def _resident(pid: int) -> dict[str, float]:
    """MiB of a worker, and of the processes that it has started."""
    import psutil  # type: ignore[import-untyped]

    worker = psutil.Process(pid)
    children = sum(child.memory_info().rss for child in worker.children(recursive=True))
    return {"worker": round(worker.memory_info().rss / 2**20, 1), "reading": round(children / 2**20, 1)}
