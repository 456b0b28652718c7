"""Brings up what a change comes through, and an arsync that follows an ERP at work: `open_house`, then `follow`.

Ways: `connect` is Debezium in Kafka Connect, configured by `arsync connect-config`, and the topic; `embedded` is
Debezium beside the engine. Each following has a database of the ERP and one of the store to itself.
"""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import msgspec
import psycopg

from benchmarks.ingest.settings import SETTINGS as STORE_SETTINGS
from benchmarks.live.erp import PASSWORD, ROLE, LiveErp
from benchmarks.live.erp import SETTINGS as ERP_SETTINGS
from benchmarks.live.player import Player
from benchmarks.workload.expected import Expected
from engine.store import schema
from engine.store.embedded import Cluster
from tests.kafka_stack.stack import KafkaStack, kafka_stack
from tests.on_kafka import topics
from tests.on_kafka.crew import Crew

Way = Literal["connect", "embedded"]
PATIENCE = 120.0
"""Seconds without any progress after which arsync counts as stuck."""
_ROOT = Path(__file__).parents[2]


class BehindError(RuntimeError):
    """arsync did not arrive, or arrived elsewhere; the text says where it stands, with the end of its log."""


class Setup(msgspec.Struct, frozen=True):
    """How arsync is run. `module` is run in place of the command `arsync`, `connector` in place of Tryton's with
    `target` as its section; `more` are further sections. A worker that dies is missed after `session_seconds`, unless
    the next one comes back under the same name, its `instance`.
    """

    connector: str = "tryton"
    target: Mapping[str, str] = {}
    more: str = ""
    module: str | None = None
    environment: Mapping[str, str] = {}
    session_seconds: float = 30
    instance: str | None = None


class House:
    """The servers that run. Made by `open_house`."""

    def __init__(self, folder: Path, erp: Cluster, store: Cluster, stack: KafkaStack | None, seed: int) -> None:
        self.folder, self.erp, self.store, self.seed = folder, erp, store, seed
        self._stack = stack

    @property
    def stack(self) -> KafkaStack:
        """Kafka, where the house was opened with it."""
        if self._stack is None:
            raise RuntimeError("this house has no Kafka")
        return self._stack


@contextmanager
def open_house(folder: Path, seed: int, *, kafka: bool) -> Iterator[House]:
    """The ERP's PostgreSQL, the store's, and Kafka where it is asked for; all is stopped when the block ends."""
    with ExitStack() as held:
        erp = held.enter_context(Cluster(folder / "erp", settings=ERP_SETTINGS))
        store = held.enter_context(Cluster(folder / "store", settings=STORE_SETTINGS))
        stack = held.enter_context(kafka_stack(folder / "kafka", heap="1g", for_speed=True)) if kafka else None
        yield House(folder, erp, store, stack, seed)


class _Crew(Crew):
    """Workers of `arsync run`, or of what stands in for it."""

    def __init__(self, folder: Path, dsn: str, systems: str, setup: Setup) -> None:
        super().__init__(folder, dsn, systems)
        self._setup = setup

    def _command(self, *words: str) -> list[str]:
        if self._setup.module is None:
            return super()._command(*words)
        return [sys.executable, "-m", self._setup.module, *words]

    def _environment(self) -> dict[str, str]:
        held = {**super()._environment(), **self._setup.environment, "ERP_PASSWORD": PASSWORD}
        path = [held.get("PYTHONPATH"), str(_ROOT)]
        return held | {"PYTHONPATH": os.pathsep.join(part for part in path if part)}


class Workers:
    """The workers that read one system, and their store."""

    def __init__(self, system: str, crew: Crew, dsn: str) -> None:
        self.system, self.crew, self.dsn = system, crew, dsn

    def await_arrival(self, expected: Expected) -> None:
        """Wait until the store holds what the ERP does. BehindError when nothing moves any more before."""
        before, since = None, time.monotonic()
        while (difference := expected.difference(self.dsn, self.system)) is not None:
            now = self._position()
            if now != before:
                before, since = now, time.monotonic()
            elif time.monotonic() - since > PATIENCE:
                logs = "\n".join(self.crew.log(name) for name in self.crew.workers)
                raise BehindError(f"{self.system}: {difference}; the ends of the logs:\n{logs}")
            self.crew.check()
            time.sleep(0.2)

    def _position(self) -> tuple[Any, ...] | None:
        with psycopg.connect(self.dsn, autocommit=True) as store:
            query = "SELECT epoch, commit_lsn, resume FROM source_position WHERE system = %s"
            return store.execute(query, (self.system,)).fetchone()


class Following(Workers):
    """An arsync on an ERP at work. Made by `follow`."""

    def __init__(self, way: Way, erp: LiveErp, player: Player, crew: Crew, dsn: str) -> None:
        super().__init__(erp.name, crew, dsn)
        self.way, self.erp, self.player = way, erp, player


@contextmanager
def follow(house: House, name: str, way: Way, setup: Setup, *, workers: int = 1) -> Iterator[Following]:
    """A new ERP, and so many workers that have read its snapshot; `name` is the system's and the databases'."""
    erp = LiveErp(house.erp, name, house.seed)
    dsn = _new_store(house, name)
    text = _system(house, erp, way, setup) + setup.more
    with Player(erp.dsn, house.seed) as player, _Crew(house.folder / name, dsn, text, setup) as crew:
        try:
            if way == "connect":
                make_topic(house, name)
                crew.arsync("connect-config", name, "--apply", "-")
                house.stack.connect.await_running(name)
            crew.await_ready(*[crew.start() for _ in range(workers)])
            yield Following(way, erp, player, crew, dsn)
        finally:
            if way == "connect":
                house.stack.connect.delete(name)


@contextmanager
def follow_topic(house: House, name: str, setup: Setup) -> Iterator[Workers]:
    """One worker on a topic that somebody else fills: `<name>.changes`, which must hold a snapshot already."""
    dsn = _new_store(house, name)
    text = _section(f"systems.{name}", {"connector": setup.connector}) + _topic_section(house, name, setup)
    with _Crew(house.folder / name, dsn, text + setup.more, setup) as crew:
        crew.await_ready(crew.start())
        yield Workers(name, crew, dsn)


def make_topic(house: House, name: str) -> str:
    """The topic of a system; the broker's own clock says when a record was there."""
    topic = f"{name}.changes"
    topics.make(house.stack.bootstrap, topic, retention_ms="-1", message_timestamp_type="LogAppendTime")
    return topic


def _new_store(house: House, name: str) -> str:
    house.store.ensure_database(name)
    dsn = house.store.dsn(name)
    schema.migrate(dsn, None)
    return dsn


def _topic_section(house: House, name: str, setup: Setup) -> str:
    settings = {"type": "kafka", "bootstrap": house.stack.bootstrap, "group": name,
                "session_seconds": setup.session_seconds}  # fmt: skip
    named = {"instance": setup.instance} if setup.instance is not None else {}
    return _section(f"systems.{name}.source", settings | named)


def _system(house: House, erp: LiveErp, way: Way, setup: Setup) -> str:
    database = {"host": erp.host, "port": erp.port, "database": erp.name, "user": ROLE,
                "password_env": "ERP_PASSWORD"}  # fmt: skip
    place = f"systems.{erp.name}"
    text = _section(place, {"connector": setup.connector})
    if way == "embedded":
        text += _section(f"{place}.source", {"type": "debezium", **database})
    else:
        text += _topic_section(house, erp.name, setup)
        text += _section(f"{place}.source.capture", {"connect": house.stack.connect.url, **database})
    return text + (_section(f"{place}.target", setup.target) if setup.target else "")


def _section(name: str, settings: Mapping[str, object]) -> str:
    return "".join([f"\n[{name}]\n", *(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())])
