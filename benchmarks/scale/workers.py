"""So many workers on as many systems, each with a topic of its own: events a second of all together."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.ingest.synced import SyncFailed
from benchmarks.ingest.topic import Filled, Filler
from engine.store import schema
from engine.store.embedded import Cluster
from tests.on_kafka.crew import Crew, kafka_system

_LOOK_SECONDS = 0.02
_PATIENCE = 120.0
Seen = tuple[float, dict[str, int]]
"""(`time.monotonic`, by system the next offset)"""


def share(
    folder: Path, cluster: Cluster, bootstrap: str, number: int, events: int, seed: int, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Each worker has read its system's snapshot; then all begin with the measured part at once. SyncFailed when a
    store ends elsewhere than its workload.

    Timed is what all of them do together: from when every system's first batch is committed to when the first system
    has come to its end.
    """
    name = f"share{number}"
    systems = [f"{name}-{place}" for place in range(number)]
    fillers = {system: Filler(bootstrap, seed + place, f"{system}.changes") for place, system in enumerate(systems)}
    cluster.ensure_database(name)
    dsn = cluster.dsn(name)
    schema.migrate(dsn, None)
    text = f"batch_size = {min(5_000, events // 8)}\n"
    text += "".join(kafka_system(system, bootstrap, group=name) for system in systems)
    with Crew(folder / name, dsn, text) as crew:
        ends = {system: filler.warm_up() for system, filler in fillers.items()}
        crew.await_ready(*[crew.start() for _ in range(number)])
        crew.until(lambda: len(set(crew.owners().values())) == number)
        _until(crew, dsn, systems, lambda at: all(at[system] >= ends[system] for system in systems))
        with _held_back(dsn):
            filled = {system: filler.fill(events) for system, filler in fillers.items()}
        began = time.monotonic()
        seen = _until(crew, dsn, systems, lambda at: all(at[system] >= filled[system].end for system in systems))
        seconds = time.monotonic() - began
        owners = set(crew.owners().values())
    if len(owners) != number:
        raise SyncFailed(f"of {number} workers {len(owners)} have a system in the end")
    for system, one in filled.items():
        difference = one.expected.difference(dsn, system)
        if difference is not None:
            raise SyncFailed(f"{system}: {difference}")
    together = _together(seen, filled)
    tell(f"{number} workers, {number} systems: {together or 0:.0f} events/s in all, {seconds:.1f} s to the last end")
    told: dict[str, Any] = {"events_per_second": together and round(together), "seconds": round(seconds, 2),
                            "events": sum(one.events for one in filled.values())}  # fmt: skip
    reason = "at no time was every system being read; ask for more events"
    return told if together is not None else {**told, "reason": reason}


@contextmanager
def _held_back(dsn: str) -> Iterator[None]:
    """Nobody commits anything for the time of the block: every system's head lock is taken."""
    with psycopg.connect(dsn) as store:
        store.execute("SELECT name FROM system FOR UPDATE")
        yield


def _together(seen: Sequence[Seen], filled: Mapping[str, Filled]) -> float | None:
    """Events a second while every system was worked on; None where there was no such time."""
    begun = [(at, held) for at, held in seen if all(held[system] > one.begin for system, one in filled.items())]
    ended = [(at, held) for at, held in begun if any(held[system] >= one.end for system, one in filled.items())]
    if not ended or ended[0][0] <= begun[0][0]:
        return None
    (first_at, first), (last_at, last) = begun[0], ended[0]
    events = sum((last[system] - first[system]) * one.events / one.records for system, one in filled.items())
    return events / (last_at - first_at)


def _until(crew: Crew, dsn: str, systems: Sequence[str], enough: Callable[[dict[str, int]], bool]) -> list[Seen]:
    """Look at the positions until they are enough; gives them whenever they had moved."""
    seen: list[Seen] = []
    query = "SELECT system, (resume ->> 'offset')::bigint FROM source_position"
    with psycopg.connect(dsn, autocommit=True) as store:
        while not seen or not enough(seen[-1][1]):
            read: dict[str, int | None] = dict(store.execute(query).fetchall())
            now = {system: read.get(system) or 0 for system in systems}
            if not seen or now != seen[-1][1]:
                seen.append((time.monotonic(), now))
            elif time.monotonic() - seen[-1][0] > _PATIENCE:
                logs = "\n".join(crew.log(name) for name in crew.workers)
                raise SyncFailed(f"the workers stand at {now}; the ends of their logs:\n{logs}")
            crew.check()
            time.sleep(_LOOK_SECONDS)
    return seen
