"""`python -m benchmarks recovery`: kill -9 under load, and seconds until arsync is no further behind than before.

The worker that has the system is killed. Where it was the only one it is started again at once, as a supervisor would
do; of two workers the other one takes over, and a new one is started when it has.
"""

import json
import statistics
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import click
import msgspec

from benchmarks.running import Tell, running

if TYPE_CHECKING:
    from benchmarks.live.house import Following, House, Way
    from benchmarks.live.load import Load, Watch


class Scene(msgspec.Struct, frozen=True):
    """How changes come, how many workers there are, and whether they come back to the group under the same name."""

    way: "Way"
    workers: int = 1
    named: bool = False


_SCENES = {
    "embedded": Scene("embedded"),
    "kafka_1": Scene("connect"),
    "kafka_1_named": Scene("connect", named=True),
    "kafka_2": Scene("connect", 2),
}
_STEADY_SECONDS, _STEADY = 1.0, 0.9
"""For so long, and in this share of all looks, the lag must be within what 95 of 100 looks saw before."""
_MOST_SECONDS = 300.0


class Size(msgspec.Struct, frozen=True):
    """`rate` row changes a second, so many `kills` of each scene, `before` seconds under load before each; Kafka
    misses a worker after `session` seconds."""

    rate: float
    kills: int
    before: float
    session: float


@click.command()
@click.option("--rate", default=1_000.0, show_default=True, type=click.FloatRange(10), help="Row changes a second.")
@click.option("--kills", default=3, show_default=True, type=click.IntRange(1), help="Of each scene.")
@click.option("--before", default=15.0, show_default=True, type=click.FloatRange(2), help="Seconds before each kill.")
@click.option("--scenes", default=",".join(_SCENES), show_default=True, help="Which ones, one after another.")
@click.option("--session", default=30.0, show_default=True, type=click.FloatRange(1),
              help="Seconds after which Kafka misses a worker; 30 is what arsync ships.")  # fmt: skip
@click.option("--seed", default=20_261_128, show_default=True, help="Of the workload.")
@click.option("--quick", is_flag=True, help="embedded and kafka_2, one kill each, a session of 6 s.")
@click.option("--json", "json_", is_flag=True, help="One JSON object as the last line.")
def recovery(
    rate: float, kills: int, before: float, scenes: str, session: float, seed: int, quick: bool, json_: bool  # noqa: FBT001
) -> None:  # fmt: skip
    """Seconds from kill -9 under load to a lag as it was before.

    Exits with 1 when an invoice did not end as it should have.
    """
    size = Size(rate, kills, before, session)
    if quick:
        scenes, size = "embedded,kafka_2", Size(min(rate, 300.0), 1, 5.0, 6.0)
    chosen = [name for name in _SCENES if name in scenes.split(",")]
    kafka = any(_SCENES[name].way == "connect" for name in chosen)
    with running("recovery", kafka=kafka) as (folder, tell):
        from benchmarks.live.house import open_house

        with open_house(folder, seed, kafka=kafka) as house:
            tell("the servers are up")
            line = {name: _scene(house, name, size, tell) for name in chosen}
    show(line)
    if json_:
        click.echo(json.dumps({**line, "rate": size.rate, "session_seconds": size.session}))


def _scene(house: "House", name: str, size: Size, tell: Tell) -> dict[str, Any]:
    from benchmarks.live.house import Setup, follow
    from benchmarks.live.load import Load, Watch

    scene = _SCENES[name]
    took: list[dict[str, float]] = []
    setup = Setup(session_seconds=size.session, instance=name if scene.named else None)
    with follow(house, name, scene.way, setup, workers=scene.workers) as following:
        with Load(following.player, size.rate) as load, Watch(following.dsn, following.system) as watch:
            for _ in range(size.kills):
                took.append(_kill(following, load, watch, size.before))
                tell(f"{name}: {took[-1]}")
        played = load.last
        if played is not None:
            following.await_arrival(played.expected)
    caught_up = [one["caught_up"] for one in took]
    return {"median": round(statistics.median(caught_up), 2), "min": min(caught_up), "max": max(caught_up),
            "kills": took}  # fmt: skip


def _kill(following: "Following", load: "Load", watch: "Watch", before: float) -> dict[str, float]:
    """Seconds from a kill to the first commit, and until the lag was as before; that lag, and the worst one."""
    time.sleep(before)
    # The first part of the time goes to what a start leaves to do.
    lags = sorted(one.lag for one in watch.since(time.monotonic() - before / 2))
    usual = lags[int(len(lags) * 0.95)]
    crew = following.crew
    name = crew.owners()[following.system] if len(crew.workers) > 1 else next(iter(crew.workers))
    alone = len(crew.workers) == 1
    killed = time.monotonic()
    crew.kill(name)
    started = crew.start() if alone else None
    first, caught_up = _watched(watch, killed, usual, load)
    worst = max(one.lag for one in watch.since(killed))
    if started is None:
        started = crew.start()
    crew.await_ready(started)
    return {"first_commit": round(first - killed, 2), "caught_up": round(caught_up - killed, 2),
            "usual_lag": round(usual, 3), "worst_lag": round(worst, 2)}  # fmt: skip


def _watched(watch: "Watch", killed: float, usual: float, load: "Load") -> tuple[float, float]:
    """When something was committed for the first time, and when it had caught up (`time.monotonic`)."""
    from benchmarks.live.house import BehindError

    while time.monotonic() - killed < _MOST_SECONDS:
        time.sleep(0.2)
        load.check()
        seen = watch.since(killed)
        # While nothing is committed the lag grows with the clock; what the killed one had still committed is passed.
        rising = [b for a, b in pairwise(seen) if b.lag < a.lag and b.at - killed > 0.5]
        if not rising:
            continue
        first = rising[0].at
        near = [one for one in seen if one.at >= first and one.lag <= usual]
        for one in near:
            following = [other.lag <= usual for other in seen if 0 <= other.at - one.at <= _STEADY_SECONDS]
            if seen[-1].at - one.at >= _STEADY_SECONDS and sum(following) >= _STEADY * len(following):
                return first, one.at
    raise BehindError(f"not caught up {_MOST_SECONDS:.0f} s after the kill")


def show(line: dict[str, Any]) -> None:
    """The figures for people."""
    click.echo(f"{'seconds until caught up':26}{'median':>9}{'min':>9}{'max':>9}")
    for name, held in line.items():
        click.echo(f"{name:26}{held['median']:>9.2f}{held['min']:>9.2f}{held['max']:>9.2f}")
