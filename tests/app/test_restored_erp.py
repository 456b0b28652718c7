"""An ERP that is restored from an older backup under a running arsync: noticed, healed by the commands it names,
and then every document compared with the ERP's own word."""

import datetime as dt
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from demo.accountant import Accountant, Item
from demo.engine import SYSTEM, Engine, Target
from demo.erp import DATABASE, DemoErp

pytestmark = [pytest.mark.live, pytest.mark.long]

DAY = dt.date(2026, 11, 20)
ITEMS = [Item("Pallets", Decimal("100.00"))]


class Restorable:
    """A Tryton whose PostgreSQL is set back to a copy of its files, and an arsync that reads and writes it."""

    def __init__(self, folder: Path, erp: DemoErp, engine: Engine, accountant: Accountant) -> None:
        self.erp, self.engine, self.accountant = erp, engine, accountant
        self.home = folder / "arsync"
        self.data = folder / "erp" / "erp-postgres" / "data"
        self.copy = folder / "backup"

    def back_up(self) -> None:
        self.erp.cluster.stop()
        shutil.copytree(self.data, self.copy)
        self.erp.cluster.start()
        self.reconnect()

    def restore(self) -> None:
        self.erp.cluster.stop()
        shutil.rmtree(self.data)
        shutil.copytree(self.copy, self.data)
        self.erp.cluster.start()

    def reconnect(self) -> None:
        """Tryton's server keeps connections that are dead now."""
        self.erp.kill_server()
        self.erp.start_server()

    def arsync(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        program = self.engine._program()
        return subprocess.run(
            [*program, *arguments], cwd=self.home, capture_output=True, text=True, timeout=90, check=False
        )

    def bill(self, count: int) -> list[int]:
        party = int(self.accountant.customers()[0]["id"])
        return [self.accountant.create_invoice(party, ITEMS, invoice_date=DAY) for _ in range(count)]

    def row(self, number: int) -> dict[str, Any]:
        found: dict[str, Any] = self.until(
            lambda: next((row for row in self.rows() if row["key"] == str(number)), None)
        )
        return found

    def rows(self) -> list[dict[str, Any]]:
        return self.engine.ask("invoices", "list")

    def pay(self, name: str, number: int) -> None:
        row = self.row(number)
        intent = {"kind": "apply_payment", "id": name, "system": SYSTEM, "customer": row["customer"],
                  "currency": "EUR", "amount": "121.00", "date": str(DAY),
                  "allocations": [{"invoice": str(number), "amount": "121.00", "basis": row["content_version"]}],
                  }  # fmt: skip
        self.engine.submit([json.dumps(intent)])
        self.until(lambda: self.state(name) == "done")

    def state(self, name: str) -> str:
        return str(next(row["state"] for row in self.engine.ask("intents", "list") if row["id"] == name))

    def start(self, *arguments: str) -> None:
        (self.home / "ready.json").unlink(missing_ok=True)
        self.engine.start(*arguments)
        self.engine.await_ready()

    def ended(self) -> int:
        process = self.engine._process
        assert process is not None
        return process.wait(60)

    def until(self, look: Any) -> Any:
        until = time.monotonic() + 60
        while not (found := look()):
            self.engine.check()
            assert time.monotonic() < until, self.engine.log_tail()
            time.sleep(0.5)
        return found


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Restorable]:
    cache = Path(os.environ.get("ARSYNC_CACHE", "~/.cache/arsync")).expanduser()
    with (
        DemoErp(tmp_path / "erp", cache, print) as erp,
        Engine(
            tmp_path / "arsync", erp.postgres_dsn, Target(erp.url, erp.database, erp.user, erp.password)
        ) as engine,
        erp.accountant() as accountant,
    ):
        yield Restorable(tmp_path, erp, engine, accountant)


def test_it_is_noticed_and_healed_by_the_commands_that_are_named(house: Restorable) -> None:
    house.start()
    kept = house.bill(2)
    house.pay("before", kept[0])
    house.back_up()
    # All of this will never have been.
    lost = house.bill(2)
    house.pay("after", lost[0])
    house.until(lambda: house.row(lost[1])["open_amount"] == "121.00")
    house.restore()
    assert house.ended() != 0
    said = "\n".join(house.engine.log_tail())
    assert "restored from a backup" in said
    assert "arsync run --new-epoch" in said
    assert "arsync reconcile" in said
    # As long as nobody has decided, it does not go on by itself, and the books of the ERP may move on.
    house.reconnect()
    house.bill(3)
    house.erp.cluster.stop()
    house.erp.cluster.start()
    house.reconnect()
    refused = house.arsync("run")
    assert refused.returncode != 0
    assert "--new-epoch" in refused.stderr
    house.start("--new-epoch")
    compared = house.arsync("reconcile", SYSTEM)
    assert compared.returncode == 0, compared.stdout
    assert ": 0 differences" in compared.stdout
    books = {row["id"]: row for row in house.accountant.invoices()}
    assert {row["key"] for row in house.rows()} == {str(number) for number in books}
    assert house.arsync("status").returncode == 0
    # What was paid before the backup is still paid once, and the daemon writes on.
    assert books[kept[0]]["amount_to_pay"] == 0
    house.pay("again", kept[1])
    assert house.engine.stop() == 0


def test_a_log_that_has_grown_past_what_was_read(house: Restorable) -> None:
    """arsync stands still while the server is restored and works on: only the times of its transactions tell."""
    house.start()
    house.bill(1)
    house.until(lambda: len(house.rows()) == len(house.accountant.invoices()))
    house.back_up()
    house.bill(1)
    house.until(lambda: len(house.rows()) == len(house.accountant.invoices()))
    assert house.engine.stop() == 0
    house.restore()
    house.reconnect()
    house.bill(2)
    with psycopg.connect(house.erp.cluster.dsn(DATABASE), autocommit=True) as connection:
        for _ in range(40):
            connection.execute("SELECT pg_logical_emit_message(false, 'filler', repeat('x', 200000))")
    refused = house.arsync("run")
    assert refused.returncode != 0
    assert "restored from a backup" in refused.stderr
    assert "--new-epoch" in refused.stderr
    house.start("--new-epoch")
    compared = house.arsync("reconcile", SYSTEM)
    assert compared.returncode == 0, compared.stdout
    assert house.engine.stop() == 0
