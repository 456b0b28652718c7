"""Members that own systems for a moment and do nothing: `python -m tests.on_kafka.guests BROKERS GROUP SEED SYSTEMS`.

A process of their own: kafka-python leaves a socket to the collector when a member goes while it still connects.
"""

import random
import sys
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

from connectors.debezium.kafka.group import join
from engine.ports.errors import SourceError
from engine.ports.source import SourceSetup
from tests.on_kafka.crew import SESSION


def come_and_go(bootstrap: str, group: str, systems: list[str], rng: random.Random) -> None:
    """Join at some moment of the next half second, and leave within another."""
    time.sleep(rng.uniform(0, 0.5))
    options = {"bootstrap": bootstrap, "group": group, "session_seconds": SESSION}
    setups = [SourceSetup(name, options, [], [], None, Path(), 1) for name in systems]
    with suppress(SourceError), closing(join(setups)) as member:
        until = time.monotonic() + rng.uniform(0, 1)
        while time.monotonic() < until:
            member.owned(0.05)


def main() -> None:
    """Three at once."""
    bootstrap, group, seed, *systems = sys.argv[1:]
    rngs = [random.Random(f"{seed} {place}") for place in range(3)]
    guests = [threading.Thread(target=come_and_go, args=(bootstrap, group, systems, rng)) for rng in rngs]
    for guest in guests:
        guest.start()
    for guest in guests:
        guest.join()


if __name__ == "__main__":
    main()
