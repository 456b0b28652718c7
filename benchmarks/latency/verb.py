"""`python -m benchmarks latency`: milliseconds from the ERP's commit to ours, and from a decision to the ERP."""

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
import msgspec

from benchmarks.running import Tell, running

if TYPE_CHECKING:
    from benchmarks.latency.asking import Asking
    from benchmarks.live.house import Following, House, Way


class Size(msgspec.Struct, frozen=True):
    """Each of `rates` (row changes a second) is kept for `seconds`, with `asks` intents a second beside it; `warm`
    row changes come before them all."""

    rates: Sequence[float]
    seconds: float
    warm: int
    asks: float


@click.command()
@click.option("--rates", default="100,1000", show_default=True, help="Row changes a second, one after the other.")
@click.option("--seconds", default=60.0, show_default=True, type=click.FloatRange(5), help="That each rate is kept.")
@click.option("--warm", default=30_000, show_default=True, type=click.IntRange(1), help="Row changes before them.")
@click.option("--asks", default=5.0, show_default=True, type=click.FloatRange(0.1), help="Intents a second.")
@click.option("--ways", default="connect,embedded", show_default=True, help="How Debezium is run, one after another.")
@click.option(
    "--topic-rates", default="10000", show_default=True, help="The same from a topic on; empty leaves it out."
)
@click.option("--seed", default=20_261_128, show_default=True, help="Of the workload.")
@click.option("--quick", is_flag=True, help="500 a second, 2,000 from a topic on, 5 s each.")
@click.option("--json", "json_", is_flag=True, help="One JSON object as the last line.")
def latency(
    rates: str, seconds: float, warm: int, asks: float, ways: str, topic_rates: str, seed: int, quick: bool,  # noqa: FBT001
    json_: bool,  # noqa: FBT001
) -> None:  # fmt: skip
    """Milliseconds from the ERP's commit to the transition's, and from an intent to its first byte to the ERP.

    Exits with 1 when an invoice or an intent did not end as it should have.
    """
    chosen: list[Way] = [way for way in ("connect", "embedded") if way in ways.split(",")]
    size, in_topic = Size(_numbers(rates), seconds, warm, asks), _numbers(topic_rates)
    if quick:
        size, in_topic = Size((500,), 5, 3_000, asks), [2_000]
    kafka = "connect" in chosen or bool(in_topic)
    with running("latency", kafka=kafka) as (folder, tell):
        from benchmarks.live.house import open_house

        with open_house(folder, seed, kafka=kafka) as house:
            tell("the servers are up")
            line: dict[str, Any] = {way: measure(house, way, size, tell) for way in chosen}
            line["topic"] = {f"{rate:.0f}": measure_topic(house, rate, size, tell) for rate in in_topic}
    show(line)
    if json_:
        click.echo(json.dumps(line))


def _numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",") if part]


def measure(house: "House", way: "Way", size: Size, tell: Tell) -> dict[str, Any]:
    """One way with every rate; percentiles by rate."""
    from benchmarks.latency import asking
    from benchmarks.latency.stations import Store, at_once, awaited, changes, percentiles, read_topic
    from benchmarks.latency.target import NAME, installed
    from benchmarks.latency.traced import VARIABLE
    from benchmarks.live.erp import PASSWORD, ROLE
    from benchmarks.live.house import Setup, follow

    folder = house.folder / f"{way}-files"
    environment = {**installed(folder), VARIABLE: str(folder / "trace"), asking.TOKEN_VARIABLE: asking.TOKEN}
    target = {"dsn": house.erp.dsn(way, user=ROLE, password=PASSWORD), "file": str(folder / "sent")}
    setup = Setup(connector=NAME, target=target, more=asking.SECTIONS, module="benchmarks.latency.traced",
                  environment=environment)  # fmt: skip
    with follow(house, way, way, setup) as following:
        following.await_arrival(following.player.play(size.warm).expected)
        tell(f"{way}: {size.warm} row changes were read to warm up")
        asker = asking.Asking(following.erp, _url(following), size.asks)
        parts = [_part(following, asker, rate, size.seconds, tell) for rate in size.rates]
        _await_done(following, len(asker.asked))
        # The trace's last lines are written before the worker has ended.
        following.crew.stop(next(iter(following.crew.workers)))
        topic = read_topic(house.stack.bootstrap, f"{way}.changes") if way == "connect" else None
        store = Store(following.dsn, following.system, folder / "trace", folder / "sent")
        return {
            f"{part.rate:.0f}": {
                "played": round(part.came, 1),
                "late_ms": round(part.late * 1e3, 1),
                "busy": store.busy(part.between),
                "erp_to_transition": percentiles(changes(store, following.erp, topic, part.between)),
                "intent_to_erp": percentiles(at_once(store, asker.asked, part.between)),
                "erp_to_command": percentiles(awaited(store, following.erp, asker.asked, topic, part.between)),
            }
            for part in parts
        }


def measure_topic(house: "House", rate: float, size: Size, tell: Tell) -> dict[str, Any]:
    """A rate from the topic on, without an ERP; percentiles."""
    from benchmarks.latency.pacing import Pacer, Task
    from benchmarks.latency.stations import Store, from_topic, percentiles, read_topic
    from benchmarks.latency.traced import VARIABLE
    from benchmarks.live.house import Setup, follow_topic, make_topic

    name = f"topic{rate:.0f}"
    topic, trace = make_topic(house, name), house.folder / f"{name}.trace"
    setup = Setup(module="benchmarks.latency.traced", environment={VARIABLE: str(trace)})
    task = Task(house.stack.bootstrap, topic, house.seed, size.warm, round(rate * size.seconds), rate)
    with Pacer(task) as pacer:
        warm = pacer.await_warm()
        with follow_topic(house, name, setup) as workers:
            workers.await_arrival(warm)
            began = time.time()
            paced = pacer.keep_rate()
            ended = time.time()
            workers.await_arrival(paced.expected)
            arrived = time.time()
            workers.crew.stop(next(iter(workers.crew.workers)))
            store = Store(workers.dsn, name, trace, house.folder / "nothing-is-sent")
            samples = from_topic(store, read_topic(house.stack.bootstrap, topic), (began, ended))
            busy = store.busy((began, ended))
    kept, late, after = paced.events / paced.seconds, paced.behind * 1e3, arrived - ended
    tell(f"topic: {kept:.0f} row changes/s, at most {late:.0f} ms late; all arrived {after:.1f} s later")
    return {"played": round(kept, 1), "late_ms": round(late, 1), "arrived_later_seconds": round(after, 1),
            "busy": busy, "topic_to_transition": percentiles(samples)}  # fmt: skip


class Kept(msgspec.Struct, frozen=True):
    """A rate that was kept `between` two times (seconds since 1970): the one that was asked for and the one that came
    of it, and by how many seconds the writer was late at the worst."""

    rate: float
    came: float
    late: float
    between: tuple[float, float]


def _part(following: "Following", asker: "Asking", rate: float, seconds: float, tell: Tell) -> Kept:
    began = time.time()
    asker.start()
    played = following.player.play(round(rate * seconds), rate)
    asker.end()
    ended = time.time()
    following.await_arrival(played.expected)
    kept = played.events / played.seconds
    late = f"at most {played.behind * 1e3:.0f} ms late"
    tell(f"{following.way}: {kept:.0f} row changes/s for {seconds:.0f} s, {late}")
    return Kept(rate, kept, played.behind, (began, ended))


def _await_done(following: "Following", number: int) -> None:
    """Every intent is confirmed by its echo, and nothing disagreed."""
    import psycopg

    from benchmarks.live.house import BehindError

    def standing() -> tuple[dict[str, int], int]:
        with psycopg.connect(following.dsn, autocommit=True) as store:
            rows = store.execute("SELECT state, count(*) FROM intent GROUP BY state").fetchall()
            row = store.execute("SELECT count(*) FROM conflict").fetchone()
        return dict(rows), int(row[0]) if row else 0

    until = time.monotonic() + 60
    while (found := standing()) != ({"done": number}, 0):
        if time.monotonic() > until:
            raise BehindError(f"of {number} intents, by state: {found[0]}; conflicts: {found[1]}")
        time.sleep(0.2)


def _url(following: "Following") -> str:
    (name,) = following.crew.workers
    ready = json.loads((following.crew.folder / f"{name}.ready").read_text(encoding="utf-8"))
    return f"http://127.0.0.1:{ready['http']}"


def show(line: dict[str, Any]) -> None:
    """The figures for people."""
    click.echo(f"{'milliseconds':44}{'p50':>9}{'p95':>9}{'p99':>9}{'n':>8}")
    for way, rates in line.items():
        for rate, part in rates.items():
            for what in ("erp_to_transition", "intent_to_erp", "erp_to_command", "topic_to_transition"):
                for station, held in part.get(what, {}).items():
                    title = f"{way} {rate}/s {what} {station}"
                    click.echo(f"{title:44}" + "".join(f"{held[p]:>9.1f}" for p in ("p50", "p95", "p99"))
                               + f"{held['n']:>8}")  # fmt: skip
