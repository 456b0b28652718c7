"""Two real Trytons, Kafka Connect, Kafka, three workers that write back, one of them killed: both sides agree.

The demo's day is played on both systems at once. The owner of one is killed with SIGKILL while a payment that it sent
has not reached Tryton yet; whoever takes over must find out what became of it. At the end everything is compared
through Tryton's own API.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

import psycopg
import pytest

from demo.analyst import Analyst
from demo.closing import compare
from demo.company import CompanyPlan
from demo.day import Day
from demo.erp import DemoErp
from demo.evening import Evening
from demo.holding_proxy import HoldingProxy
from demo.ledger import Ledger
from demo.tally import Tally
from tests.kafka_stack.stack import KafkaStack, require_stack
from tests.on_kafka.crew import Crew
from tests.on_kafka.trytons import Ambush, SharedArsync, tryton_system, write_secrets

pytestmark = [pytest.mark.live, pytest.mark.long]

PATIENCE = 150.0
"""Seconds without any change after which the day goes on: longer than a lost answer is in doubt."""
STRUCK = "two-trytons-a"
SYSTEMS = (STRUCK, "two-trytons-b")
T = TypeVar("T")
R = TypeVar("R")


def at_once(act: Callable[[T], R], things: list[T]) -> list[R]:
    """Do it to all of them side by side; raises what the first one raised."""
    with ThreadPoolExecutor(len(things)) as pool:
        return list(pool.map(act, things))


@pytest.fixture
def erps(tmp_path: Path, stack: KafkaStack) -> Iterator[dict[str, DemoErp]]:
    """Both Trytons, brought up while Connect starts."""
    require_stack(connect=True)
    cache = Path(os.environ.get("ARSYNC_CACHE", "~/.cache/arsync")).expanduser()
    made = {name: DemoErp(tmp_path / name, cache, print) for name in SYSTEMS}
    try:
        with ThreadPoolExecutor(2) as pool:
            starting = [pool.submit(erp.start) for erp in made.values()]
            assert stack.connect.url
            for one in starting:
                one.result()
        yield made
    finally:
        for erp in made.values():
            erp.stop()


class Company:
    """One Tryton, the people of its day, and their arsync."""

    def __init__(self, name: str, erp: DemoErp, crew: Crew, stack: KafkaStack, held: ExitStack) -> None:
        self.name, self.erp = name, erp
        self.proxy = held.enter_context(HoldingProxy(erp.url))
        self.accountant = held.enter_context(erp.accountant())
        self.arsync = SharedArsync(crew, name, stack.connect)
        self.stage = Ambush(self.proxy, PATIENCE, crew.check)
        analyst = Analyst(self.arsync, Ledger(), PATIENCE, prefix="day", system=name)
        self.day = Day(self.accountant, analyst, self.arsync, self.stage, Tally(CompanyPlan()), self.tell)

    def tell(self, sentence: str) -> None:
        print(f"{self.name}: {sentence}")

    def play(self) -> None:
        self.day.while_arsync_reads()
        self.day.morning()
        self.day.noon()
        Evening(self.day).play()


def test_both_agree_although_the_owner_of_one_is_killed_while_it_pays(
    erps: dict[str, DemoErp], stack: KafkaStack, store_dsn: str, tmp_path: Path
) -> None:
    killed: list[str] = []
    with ExitStack() as held:
        crew = held.enter_context(Crew(tmp_path / "crew", store_dsn, ""))
        companies = [Company(name, erp, crew, stack, held) for name, erp in erps.items()]
        crew.configure("".join(
            tryton_system(one.name, one.erp, one.proxy.url, stack.connect, stack.bootstrap, "two-trytons")
            for one in companies
        ))  # fmt: skip
        for one in companies:
            write_secrets(crew, one.name, one.erp)

        def strike() -> None:
            killed.append(crew.owners()[STRUCK])
            crew.kill(killed[0])
            crew.until(lambda: crew.owners().get(STRUCK, killed[0]) != killed[0])
            print(f"{killed[0]} had {STRUCK} and is dead; now: {crew.owners()}")

        companies[0].stage.strike = strike
        at_once(lambda one: one.day.before_arsync(), companies)
        for one in companies:
            one.arsync.start()
        names = [crew.start() for _ in range(3)]
        at_once(lambda one: one.arsync.await_ready(), companies)
        crew.await_ready(*names)
        at_once(lambda one: one.play(), companies)
        outcomes = at_once(lambda one: compare(one.accountant, one.day), companies)
        for name in list(crew.workers):
            assert crew.stop(name) == 0, crew.log(name)
        for one in companies:
            stack.connect.delete(one.name)
    for outcome in outcomes:
        assert not outcome.differences, [str(one) for one in outcome.differences]
        assert len(outcome.intents) > 30
    assert len(killed) == 1
    with psycopg.connect(store_dsn, autocommit=True) as connection:
        row = connection.execute("SELECT fence FROM system WHERE name = %s", (STRUCK,)).fetchone()
    assert row is not None
    assert row[0] > 1, "nobody took over"
