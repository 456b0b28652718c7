"""Bytewax with recovery on, over the topic: `bytewax_flow.py TASK`. Prints {"seconds": ...}.

One worker; its state and its positions go to SQLite, as Bytewax keeps them, every second.
"""

import json
import sys
import time
from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import cluster_main
from machine import decode, step

TASK = json.loads(sys.argv[1])
LAST = TASK["end"] - 1
CLOCK = {"began": 0.0}


class _Sink(StatelessSinkPartition):
    def write_batch(self, items: list) -> None:
        if any(offset == LAST for _, (offset, _) in items):
            CLOCK["ended"] = time.monotonic()


class Sink(DynamicSink):
    """Where every result goes."""

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Sink:
        return _Sink()


def keyed(message: object) -> tuple[str, tuple[int, object]]:
    """(table/key, (offset, event))"""
    if not CLOCK["began"]:
        CLOCK["began"] = time.monotonic()
    event = decode(message.value)
    if event.source is None:
        return "border", (message.offset, event)
    return f"{event.source.table}/{message.key.decode()}", (message.offset, event)


def take(held: list | None, item: tuple) -> tuple:
    """The state after an event, and what is told of it."""
    offset, event = item
    held = step(held, event)
    return held, (offset, held[1])


def main() -> None:
    """Read from `begin` to `end`."""
    folder = Path(TASK["state"]) / "recovery"
    folder.mkdir()
    init_db_dir(folder, 1)
    flow = Dataflow("events")
    source = KafkaSource(
        [TASK["bootstrap"]], [TASK["topic"]], starting_offset=TASK["begin"], tail=False, batch_size=5000
    )
    messages = op.input("in", flow, source)
    told = op.stateful_map("state", op.map("key", messages, keyed), take)
    op.output("out", told, Sink())
    cluster_main(flow, [], 0, recovery_config=RecoveryConfig(str(folder)), epoch_interval=timedelta(seconds=1))
    print(json.dumps({"seconds": CLOCK["ended"] - CLOCK["began"]}))


if __name__ == "__main__":
    main()
