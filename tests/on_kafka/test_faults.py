"""Random faults while systems are worked on: workers killed, frozen, stopped and started, messages delivered twice.

Whatever happens, the result is that of one clean run: the same documents, led there by the same steps. The seed is
printed; `ARSYNC_SEED` plays one again. `make prove` has 200 faults.
"""

import os
import random
import signal
import time
from pathlib import Path

import psycopg
import pytest

from tests.flow.test_capture_runs_through import outcome
from tests.kafka_stack.stack import KafkaStack
from tests.on_kafka import topics
from tests.on_kafka.crew import Crew, kafka_system, positions
from tests.on_kafka.recorded import Recording
from tests.on_kafka.test_workers import clean_run

pytestmark = pytest.mark.live

FAULTS = ("kill", "freeze", "leave", "join", "twice")


class Trouble:
    """Feeds the systems' topics piece by piece, and does one thing after another to the workers meanwhile."""

    def __init__(self, crew: Crew, bootstrap: str, systems: list[str], recording: Recording, seed: int) -> None:
        self.crew, self.bootstrap, self.systems, self.recording = crew, bootstrap, systems, recording
        self.rng = random.Random(seed)
        self.sent = dict.fromkeys(systems, 0)
        self.written = dict.fromkeys(systems, 0)

    def feed(self, count: int) -> None:
        """So many more messages for every system."""
        for system in self.systems:
            start = self.sent[system]
            self.sent[system] = min(len(self.recording.messages), start + count)
            self._write(system, start, self.sent[system])

    def fault(self) -> str:
        """Do one thing; which."""
        what = self.rng.choice(FAULTS)
        name = self.rng.choice(sorted(self.crew.workers))
        if what == "kill":
            self.crew.kill(name)
            self.crew.start()
        elif what == "freeze":
            worker = self.crew.workers[name]
            worker.send_signal(signal.SIGSTOP)
            time.sleep(self.rng.uniform(0.2, 8))
            worker.send_signal(signal.SIGCONT)
        elif what == "leave" and len(self.crew.workers) > 1:
            # One that has not begun to listen for it yet is ended by the signal itself.
            assert self.crew.stop(name) in (0, -signal.SIGTERM)
        elif what == "join" and len(self.crew.workers) < 4:
            self.crew.start()
        else:
            system = self.rng.choice(self.systems)
            start = self.rng.randrange(max(1, self.sent[system]))
            # From a place on, as Connect does when it had not stored how far it was; never before a snapshot's end.
            self._write(system, max(start, len(self.recording.snapshot)), self.sent[system])
        return what

    def _write(self, system: str, start: int, end: int) -> None:
        part = [message[1:] for message in self.recording.messages[start:end]]
        topics.send(self.bootstrap, f"{system}.changes", part)
        self.written[system] += len(part)


@pytest.mark.parametrize("faults", [20, pytest.param(200, marks=pytest.mark.prove)])
def test_whatever_happens_the_result_is_that_of_a_clean_run(
    faults: int, stack: KafkaStack, store_dsn: str, shared: Path, tmp_path: Path
) -> None:
    seed = int(os.environ.get("ARSYNC_SEED") or random.randrange(1 << 32))
    print(f"seed {seed}")
    recording = Recording(shared / "events.jsonl")
    systems = [f"trouble-{seed:x}-{letter}" for letter in "ab"]
    for system in systems:
        topics.make(stack.bootstrap, f"{system}.changes")
    text = "".join(kafka_system(system, stack.bootstrap, group=f"trouble-{seed:x}") for system in systems)
    with Crew(tmp_path / "crew", store_dsn, text) as crew:
        trouble = Trouble(crew, stack.bootstrap, systems, recording, seed)
        for _ in range(2):
            crew.start()
        trouble.feed(len(recording.snapshot) + 20)
        done = []
        for _ in range(faults):
            done.append(trouble.fault())
            trouble.feed(len(recording.messages) // faults + 1)
        trouble.feed(len(recording.messages))
        crew.until(lambda: positions(store_dsn, systems) == trouble.written, seconds=300)
    reference = clean_run(store_dsn, f"trouble-{seed:x}-reference", recording)
    with psycopg.connect(store_dsn, autocommit=True) as connection:
        for system in systems:
            assert outcome(connection, system) == reference, f"seed {seed}, faults {done}"
