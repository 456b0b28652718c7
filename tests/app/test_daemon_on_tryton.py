"""The daemon on a real Tryton, stopped and killed while a payment is on its way: written once, whatever happens."""

import datetime as dt
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from demo.accountant import Accountant, Item
from demo.engine import SYSTEM, Engine, Target
from demo.erp import DemoErp
from demo.holding_proxy import Call, Hold, HoldingProxy
from engine.model.commands import command_key

pytestmark = pytest.mark.live

DAY = dt.date(2026, 11, 20)
PAY = "wizard.account.invoice.pay.execute"


class House:
    """A Tryton, its accountant, and an arsync that writes to it through a proxy."""

    def __init__(self, erp: DemoErp, accountant: Accountant, engine: Engine, proxy: HoldingProxy) -> None:
        self.erp, self.accountant, self.engine, self.proxy = erp, accountant, engine, proxy

    def start(self) -> None:
        (self.engine._folder / "ready.json").unlink(missing_ok=True)
        self.engine.start()
        self.engine.await_ready()

    def pid(self) -> int:
        return int(json.loads((self.engine._folder / "ready.json").read_text())["pid"])

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid(), number)

    def ended(self, seconds: float) -> int | None:
        process = self.engine._process
        assert process is not None
        until = time.monotonic() + seconds
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        return process.returncode

    def submit(self, name: str) -> int:
        """Pay a new invoice; gives its number."""
        party = int(self.accountant.customers()[0]["id"])
        number = self.accountant.create_invoice(party, [Item("Pallets", Decimal("100.00"))], invoice_date=DAY)
        # It is drafted and posted in transactions of their own; between them there is nothing to pay.
        row = self.until(lambda: self.opened(number))
        intent = {"kind": "apply_payment", "id": name, "system": SYSTEM, "customer": row["customer"],
                  "currency": "EUR", "amount": "121.00", "date": str(DAY),
                  "allocations": [{"invoice": str(number), "amount": "121.00", "basis": row["content_version"]}],
                  }  # fmt: skip
        self.engine.submit([json.dumps(intent)])
        return number

    def invoice(self, number: int) -> dict[str, Any] | None:
        return next((row for row in self.engine.ask("invoices", "list") if row["key"] == str(number)), None)

    def opened(self, number: int) -> dict[str, Any] | None:
        row = self.invoice(number)
        return row if row is not None and row["state"] == "open" else None

    def intent(self, name: str) -> dict[str, Any]:
        return next(row for row in self.engine.ask("intents", "list") if row["id"] == name)

    def done(self, name: str) -> bool:
        return bool(self.until(lambda: self.intent(name)["state"] == "done"))

    def until(self, look: Callable[[], Any]) -> Any:
        until = time.monotonic() + 40
        while not (found := look()):
            self.engine.check()
            assert time.monotonic() < until, self.engine.log_tail()
            time.sleep(0.1)
        return found

    def hold(self) -> Hold:
        def match(call: Call) -> bool:
            return call.method == PAY

        return self.proxy.hold(match)

    def effects(self, name: str) -> list[tuple[int | None, Decimal]]:
        return [(p.invoice, p.amount) for p in self.accountant.payments([command_key(SYSTEM, name, 0)])]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    cache = Path(os.environ.get("ARSYNC_CACHE", "~/.cache/arsync")).expanduser()
    folder = tmp_path_factory.mktemp("house")
    with (
        DemoErp(folder / "erp", cache, print) as erp,
        HoldingProxy(erp.url) as proxy,
        Engine(
            folder / "arsync", erp.postgres_dsn, Target(proxy.url, erp.database, erp.user, erp.password)
        ) as engine,
        erp.accountant() as accountant,
    ):
        yield House(erp, accountant, engine, proxy)


def test_a_term_signal_waits_for_what_is_under_way(house: House) -> None:
    house.start()
    hold = house.hold()
    number = house.submit("waits")
    assert hold.arrived.wait(20)
    house.signal(signal.SIGTERM)
    assert house.ended(1.5) is None, "it must not leave a request behind"
    hold.release()
    assert house.ended(15) == 0
    (command,) = house.intent("waits")["commands"]
    assert command["lease_until"] is None
    assert command["answer"] == "accepted"
    assert house.effects("waits") == [(number, Decimal("121.00"))]
    house.start()
    assert house.done("waits")


def test_a_second_signal_ends_it_at_once_and_the_payment_is_found(house: House) -> None:
    hold = house.hold()
    number = house.submit("at-once")
    assert hold.arrived.wait(20)
    for _ in range(2):
        house.signal(signal.SIGTERM)
        time.sleep(0.1)
    assert house.ended(5) == 128 + signal.SIGTERM
    hold.release()
    house.start()
    assert house.done("at-once")
    assert house.effects("at-once") == [(number, Decimal("121.00"))]
    assert house.intent("at-once")["commands"][0]["sends"] == 1


def test_kill_9_while_a_payment_is_on_its_way(house: House) -> None:
    hold = house.hold()
    number = house.submit("killed")
    assert hold.arrived.wait(20)
    house.signal(signal.SIGKILL)
    assert house.ended(5) == -signal.SIGKILL
    house.start()
    assert house.until(lambda: house.intent("killed")["commands"][0]["state"] == "unknown")
    assert house.effects("killed") == []
    hold.release()
    assert house.done("killed")
    assert house.effects("killed") == [(number, Decimal("121.00"))]


def test_an_erp_that_is_away_is_waited_for(house: House) -> None:
    hold = house.hold()
    number = house.submit("away")
    assert hold.arrived.wait(20)
    house.erp.kill_server()
    hold.release()
    assert house.until(lambda: house.intent("away")["commands"][0]["state"] == "unknown")
    house.erp.start_server()
    # Not done, and not to be done again before Tryton can no longer have it under way.
    time.sleep(3)
    assert house.intent("away")["commands"][0]["state"] == "unknown"
    assert house.effects("away") == []
    assert house.invoice(number)["state"] == "matched"  # type: ignore[index]


def checked(house: House) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and findings of `arsync check`."""
    done = subprocess.run(
        [*house.engine._program(), "check", "--json"], cwd=house.engine._folder, capture_output=True, text=True,
        check=False, timeout=60,
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout)


def test_check_beside_the_daemon_and_without_it_and_on_another_erp(house: House) -> None:
    code, found = checked(house)
    assert (code, [one for one in found if one["grade"] != "ok"]) == (0, [])
    assert {"slot", "clock", "one ERP", "credit limits"} <= {one["subject"] for one in found}
    house.signal(signal.SIGKILL)
    house.ended(5)
    with psycopg.connect(house.erp.cluster.dsn(house.erp.database), autocommit=True) as books:
        books.execute("UPDATE account_invoice SET number = number || '-X' WHERE number IS NOT NULL")
        try:
            code, found = checked(house)
        finally:
            books.execute("UPDATE account_invoice SET number = replace(number, '-X', '') WHERE number IS NOT NULL")
    assert code == 1
    (wrong,) = [one for one in found if one["grade"] == "error" and one["subject"] != "slot"]
    assert wrong["subject"] == "one ERP"
    assert "observe" in wrong["fix"]


def test_a_start_that_finds_something_says_it_and_one_that_would_lose_changes_is_refused(house: House) -> None:
    house.engine._log.unlink()
    with psycopg.connect(house.erp.cluster.dsn(house.erp.database), autocommit=True) as books:
        books.execute("ALTER TABLE party_party REPLICA IDENTITY DEFAULT")
        house.start()
        house.until(lambda: "table public.party_party" in house.engine._log.read_text())
        house.signal(signal.SIGTERM)
        house.ended(15)
        books.execute("ALTER TABLE party_party REPLICA IDENTITY NOTHING")
        house.engine.start()
        assert house.ended(30) == 1
        assert "REPLICA IDENTITY FULL" in "".join(house.engine.log_tail())
        books.execute("ALTER TABLE party_party REPLICA IDENTITY FULL")
