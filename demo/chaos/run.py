"""One chaos: decisions are submitted while programs are killed, then Tryton's books are counted.

`demo.verb` calls it. The count is by what each decision is about and by its amount, never by a key; besides, every
document is compared as at the end of the day.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connectors.tryton.rpc import RpcError
from demo.accountant import Accountant
from demo.agreement import compare_customers, compare_invoices
from demo.analyst import changes
from demo.bills import PAID
from demo.chaos.evidence import Miscount, gather, miscounts
from demo.chaos.killer import Killer
from demo.chaos.work import Race, Work
from demo.company import CompanyPlan
from demo.engine import Engine, EngineFailed, Target
from demo.erp import DemoErp
from demo.holding_proxy import HoldingProxy
from demo.journal import prove
from demo.ledger import FINAL, Difference
from demo.proxy_rules import Hold
from demo.stage import writes

PATIENCE = 45.0
"""Seconds without any change after which nothing more is waited for."""
RETRY_SECONDS = 0.3
RACE_SECONDS = 60.0
LISTS = ("invoices", "customers", "intents")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a chaos."""

    seed: int
    kills: Counter[str]
    intents: int
    miscounts: list[Miscount]
    differences: list[Difference]

    @property
    def well(self) -> bool:
        """Whether nothing was lost, nothing done twice, and both sides agree."""
        return not self.miscounts and not self.differences

    def __str__(self) -> str:
        kinds = Counter(one.kind for one in self.miscounts)
        kills = ", ".join(f"{count} {what}" for what, count in sorted(self.kills.items()))
        return (
            f"chaos {self.seed}: {self.kills.total()} kills ({kills}), {self.intents} intents: {kinds['lost']} lost, "
            f"{kinds['twice']} twice, {len(self.differences)} differences"
        )


def play(
    seed: int, folder: Path, cache: Path, tell: Callable[[str], None], *, kills: int, without: str | None
) -> Verdict:
    """Everything from an empty folder to the verdict; nothing is left running."""
    plan = CompanyPlan()
    with ExitStack() as stack:
        erp = stack.enter_context(DemoErp(folder / "erp", cache, tell, plan=plan))
        proxy = stack.enter_context(HoldingProxy(erp.url))
        target = Target(proxy.url, erp.database, erp.user, erp.password)
        engine = stack.enter_context(
            Engine(folder / "arsync", erp.postgres_dsn, target, hurried=True, without=without)
        )
        accountant = stack.enter_context(erp.accountant())
        killer = Killer(engine, erp, random.Random(seed), kills, tell)
        return Chaos(seed, plan, erp, engine, accountant, proxy, killer, tell).play()


@dataclass(slots=True)
class Chaos:
    """The parts of one chaos."""

    seed: int
    plan: CompanyPlan
    erp: DemoErp
    engine: Engine
    accountant: Accountant
    proxy: HoldingProxy
    killer: Killer
    tell: Callable[[str], None]

    def play(self) -> Verdict:
        """Prepare, kill and decide, let it come to rest, count."""
        work = Work(random.Random(self.seed), self.plan)
        self.tell("The accountant prepares the books")
        work.prepare(self.accountant)
        self.engine.start()
        self.engine.await_ready()
        work.decide({int(row["key"]): row for row in self.engine.ask("invoices", "list")})
        self.tell(f"{len(work.intents)} decisions are submitted, and {self.killer.most} times something is killed")
        self.proxy.rules.listener = self.killer.heard
        thread = threading.Thread(target=self.killer.run, name="killer")
        thread.start()
        try:
            self._submit(work)
            self.killer.over.wait()
        finally:
            self.killer.stop()
            thread.join()
        if self.killer.failed is not None:
            raise self.killer.failed
        self.tell("No more kills; what is under way comes to its end")
        self._await_end(work)
        verdict = self._judge(work)
        code = self.engine.stop()
        if code != 0:
            verdict.differences.append(Difference("arsync run", "exit code", "0", str(code)))
        proof = prove(self.engine)
        self.tell(str(proof))
        verdict.differences.extend(proof.differences)
        return verdict

    def _submit(self, work: Work) -> None:
        """Hand in a few decisions after each kill, so that something is under way at every one of them."""
        left = list(work.handed_in)
        share = -(-len(left) // max(1, self.killer.most))
        with ThreadPoolExecutor(len(work.races) or 1) as pool:
            racing = []
            while left:
                batch, left = [one for part in left[:share] for one in part], left[share:]
                for name, _ in batch:
                    if name in work.races:
                        race = work.races[name]
                        racing.append(pool.submit(self._race, race, self.proxy.hold(writes(race.invoice))))
                self._hand_in([text for _, text in batch])
                before = self.killer.done.total()
                while left and self.killer.done.total() == before and not self.killer.over.is_set():
                    time.sleep(0.05)
            for one in racing:
                one.result()

    def _hand_in(self, texts: list[str]) -> None:
        """Until it is taken: the same id again changes nothing."""
        for attempt in range(100):
            try:
                self.engine.submit(texts)
                return
            except EngineFailed:
                if attempt == 99:
                    raise
                time.sleep(RETRY_SECONDS)

    def _race(self, race: Race, hold: Hold) -> None:
        """While arsync's request to pay this invoice is held, book the same receipt by hand; then let it go on."""
        hold.arrived.wait(RACE_SECONDS)
        try:
            with self.erp.accountant() as person:
                while race.amount not in self._applied(person, race.invoice):
                    try:
                        person.pay(race.invoice, race.amount, race.intent, PAID)
                    except RpcError:
                        time.sleep(RETRY_SECONDS)
        finally:
            hold.release()

    def _applied(self, person: Accountant, invoice: int) -> list[Any]:
        while True:
            try:
                return person.applied(invoice)
            except RpcError:
                time.sleep(RETRY_SECONDS)

    def _await_end(self, work: Work) -> None:
        wanted = {name for name, _ in work.intents}

        def ended(rows: list[dict[str, Any]]) -> bool:
            return wanted <= {row["id"] for row in rows if row["state"] in FINAL}

        for rows in changes(lambda: self.engine.ask("intents", "list"), PATIENCE):
            self.engine.check()
            if ended(rows):
                return

    def _judge(self, work: Work) -> Verdict:
        """Look until both sides agree, or nothing changes any more. Tryton forgot jobs when it was killed."""
        found = self._look(work)
        for found in changes(lambda: self._look(work), 10.0):
            if found.well:
                break
        return found

    def _look(self, work: Work) -> Verdict:
        self.accountant.run_queue()
        with ThreadPoolExecutor(len(LISTS)) as pool:
            asked = {name: pool.submit(self.engine.ask, name, "list") for name in LISTS}
            listed = {name: answer.result() for name, answer in asked.items()}
        books = self.accountant
        pairs = [
            *compare_invoices(books.invoices(), books.instalments(), listed["invoices"], work.disputed),
            *compare_customers(books.customers(), listed["customers"], books.own_party),
        ]
        states = {row["id"]: row["state"] for row in listed["intents"]}
        differences = [difference for pair in pairs for difference in pair.differences]
        differences += [
            Difference(f"intent {one.intent}", "state", one.state, str(states.get(one.intent)))
            for one in work.expected
            if states.get(one.intent) != one.state
        ]
        wrong = miscounts(work.expected, gather(books, self.plan.chart.expense))
        return Verdict(self.seed, Counter(self.killer.done), len(work.intents), wrong, differences)
