"""Broker and Connect worker together, and whether they can be had here. Tests and benchmarks call `kafka_stack`."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path

import pytest

from tests.kafka_stack.broker import Broker
from tests.kafka_stack.connect import Connect
from tests.kafka_stack.doors import Doors
from tests.kafka_stack.jars import EXTERNAL, EXTERNAL_CONNECT, jars, why_not
from tests.kafka_stack.program import in_ci


class KafkaStack:
    """A broker, and a Connect worker that starts when it is first asked for."""

    def __init__(
        self, folder: Path, held: ExitStack, *, heap: str, for_speed: bool, users: Mapping[str, str]
    ) -> None:
        self._folder = folder
        self._held = held
        self._heap, self._for_speed = heap, for_speed
        self.broker: Broker | None = None
        external = os.environ.get(EXTERNAL)
        if external:
            self.bootstrap = external
        else:
            doors = Doors(folder / "doors", users) if users else None
            made = Broker(folder / "broker", jars(), heap=heap, for_speed=for_speed, doors=doors)
            self.broker = held.enter_context(made)
            self.bootstrap = self.broker.bootstrap

    @cached_property
    def connect(self) -> Connect:
        """The Connect worker."""
        external = os.environ.get(EXTERNAL_CONNECT)
        if external:
            return Connect.at(external, self._folder / "connect", self.bootstrap)
        return self._held.enter_context(
            Connect(self._folder / "connect", jars(), self.bootstrap, heap=self._heap, for_speed=self._for_speed)
        )


@contextmanager
def kafka_stack(
    folder: Path, *, heap: str = "768m", for_speed: bool = False, users: Mapping[str, str] | None = None
) -> Iterator[KafkaStack]:
    """A stack in `folder`; stopped when the block ends, whatever happened.

    Benchmarks want it `for_speed`. With `users` and their passwords the broker has encrypted listeners too.
    """
    with ExitStack() as held:
        yield KafkaStack(folder, held, heap=heap, for_speed=for_speed, users=users or {})


def require_stack(*, connect: bool = False) -> None:
    """Skip the calling test, with the reason, where the stack cannot be had; in CI that is a failure."""
    reason = why_not()
    if os.environ.get(EXTERNAL) and (os.environ.get(EXTERNAL_CONNECT) or not connect):
        reason = None
    if reason is None:
        return
    if in_ci():
        pytest.fail(f"in CI the tests on a real Kafka must run: {reason}")
    pytest.skip(reason)
