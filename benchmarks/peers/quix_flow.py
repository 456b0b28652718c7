"""Quix Streams with its changelog on, over the topic: `quix_flow.py TASK`. Prints {"seconds": ...}.

State is in RocksDB and in a changelog topic, positions are committed at least once, as Quix ships it.
"""

import json
import sys
import time
from pathlib import Path

from machine import decode, step
from quixstreams import Application, State

TASK = json.loads(sys.argv[1])
CLOCK = {"began": 0.0, "ended": 0.0, "seen": -1}


def main() -> None:
    """Read from `begin` to `end`; the last commit is the end of it."""
    app = Application(
        broker_address=TASK["bootstrap"],
        consumer_group=f"quix-{time.monotonic_ns()}",
        auto_offset_reset="earliest",
        state_dir=Path(TASK["state"]) / "state",
        use_changelog_topics=True,
        loglevel="ERROR",
        consumer_extra_config={"fetch.max.bytes": 16 << 20},
    )
    topic = app.topic(TASK["topic"], key_deserializer="bytes", value_deserializer="bytes")
    frame = app.dataframe(topic)

    def take(value: bytes, key: bytes, timestamp: int, headers: object, state: State) -> None:
        event = decode(value)
        if event.source is not None:
            state.set(event.source.table, step(state.get(event.source.table), event))

    def ahead(value: bytes, key: bytes, timestamp: int, headers: object) -> bool:
        # The warm-up in front of the measured part is passed over.
        CLOCK["seen"] += 1
        if CLOCK["seen"] == TASK["begin"]:
            CLOCK["began"] = time.monotonic()
        return CLOCK["seen"] >= TASK["begin"]

    frame = frame.filter(ahead, metadata=True)
    frame.update(take, metadata=True, stateful=True)
    # What the filter drops is not counted.
    app.run(count=TASK["end"] - TASK["begin"])
    CLOCK["ended"] = time.monotonic()
    print(json.dumps({"seconds": CLOCK["ended"] - CLOCK["began"]}))


if __name__ == "__main__":
    main()
