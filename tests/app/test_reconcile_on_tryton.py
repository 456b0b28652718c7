"""Reconciling a real Tryton with Debezium: quiet while an accountant writes; what drifts is found and mended."""

import contextlib
import datetime as dt
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from connectors.debezium.surveying import PostgresSurveyor
from connectors.tryton.mapping import TrytonMapping
from demo.accountant import Accountant, Item
from demo.engine import SYSTEM, Engine, Target
from demo.erp import DemoErp
from engine.flow.reader import source_setup
from engine.ports.rows import KEY
from engine.store.embedded import Cluster

pytestmark = pytest.mark.live

DAY = dt.date(2026, 11, 20)


class House:
    """A Tryton, its accountant, an arsync that reads it, and a way into arsync's store."""

    def __init__(self, erp: DemoErp, accountant: Accountant, engine: Engine) -> None:
        self.erp, self.accountant, self.engine = erp, accountant, engine

    def reconcile(self, *words: str) -> tuple[int, dict[str, Any]]:
        done = subprocess.run(
            [*self.engine._program(), "reconcile", SYSTEM, "--json", *words], cwd=self.engine._folder,
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode in (0, 1, 3), done.stderr
        return done.returncode, json.loads(done.stdout)

    @contextlib.contextmanager
    def store(self) -> Iterator["psycopg.Connection[Any]"]:
        with psycopg.connect(Cluster(self.engine._store).dsn("arsync"), autocommit=True) as opened:
            yield opened

    def drifts(self) -> list[tuple[str, str, str]]:
        """(document, state, fields) of every drift on record."""
        with self.store() as store:
            rows = store.execute(
                "SELECT document, state, record ->> 'fields' FROM conflict WHERE kind = 'drift' ORDER BY detected_at"
            ).fetchall()
        return [(str(document), str(state), str(fields)) for document, state, fields in rows]

    def invoice(self, number: int) -> dict[str, Any]:
        return next(row for row in self.engine.ask("invoices", "list") if row["key"] == str(number))

    def bill(self, amount: str = "100.00") -> int:
        party = int(self.accountant.customers()[0]["id"])
        return self.accountant.create_invoice(party, [Item("Pallets", Decimal(amount))], invoice_date=DAY)

    def mirrored(self) -> dict[tuple[str, str], tuple[dict[str, Any], bool]]:
        with self.store() as store:
            rows = store.execute("SELECT tbl, key, row::text, deleted FROM mirror").fetchall()
        return {(table, key): (json.loads(row), deleted) for table, key, row, deleted in rows}

    def surveyor(self) -> PostgresSurveyor:
        from psycopg.conninfo import conninfo_to_dict

        login = conninfo_to_dict(self.erp.postgres_dsn)
        place = {"host": login["host"], "port": int(str(login["port"])), "database": login["dbname"]}
        options: dict[str, object] = {**place, "user": login["user"], "password": login["password"]}
        folder = self.engine._folder / "survey"
        return PostgresSurveyor(source_setup(SYSTEM, options, TrytonMapping(), None, folder, 1))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    cache = Path(os.environ.get("ARSYNC_CACHE", "~/.cache/arsync")).expanduser()
    folder = tmp_path_factory.mktemp("reconcile")
    with (
        DemoErp(folder / "erp", cache, print) as erp,
        Engine(folder / "arsync", erp.postgres_dsn, Target(erp.url, erp.database, erp.user, erp.password)) as engine,
        erp.accountant() as accountant,
    ):
        made = House(erp, accountant, engine)
        for _ in range(3):
            made.bill()
        engine.start()
        engine.await_ready()
        yield made


def test_the_match_is_proven_and_every_row_reads_as_debezium_told_it(house: House) -> None:
    paid = house.bill()
    house.accountant.pay(paid, Decimal("40.00"), "Bank 1", DAY)
    code, told = house.reconcile()
    assert (code, told["differences"], told["unsettled"]) == (0, [], [])
    assert told["invoices"] >= 4
    assert told["verified_through"] > 0
    mirror = house.mirrored()
    with house.surveyor().snapshot() as snapshot:
        rows = {(table, key): row for table, key, row in snapshot.fetch([(t, KEY, k) for t, k in mirror])}
    assert {name for name, (_, deleted) in mirror.items() if not deleted} == set(rows)
    for name, row in rows.items():
        assert row == mirror[name][0], name


def test_no_false_alarm_while_an_accountant_keeps_writing(house: House) -> None:
    stop = threading.Event()
    written: list[int] = []

    def work() -> None:
        with house.erp.accountant() as accountant:
            party = int(accountant.customers()[0]["id"])
            while not stop.is_set():
                number = accountant.create_invoice(party, [Item("Pallets", Decimal("100.00"))], invoice_date=DAY)
                accountant.pay(number, Decimal("21.00"), f"Part {number}", DAY)
                accountant.pay(number, Decimal("100.00"), f"Rest {number}", DAY)
                written.append(number)

    writer = threading.Thread(target=work)
    writer.start()
    try:
        until = time.monotonic() + 60
        while len(written) < 2 and time.monotonic() < until:
            time.sleep(0.2)
        before = len(written)
        for _ in range(3):
            _, told = house.reconcile()
            assert told["differences"] == []
            assert set(told["unsettled"]) <= {f"customer/{house.accountant.customers()[0]['id']}"}, (
                "only the customer whose balance never rests may be left"
            )
        assert len(written) > before, "it has been written meanwhile"
    finally:
        stop.set()
        writer.join()
    assert house.drifts() == []
    assert house.reconcile()[0] == 0


def test_a_damaged_mirror_is_found_told_by_amount_and_mended(house: House) -> None:
    number = house.bill("300.00")
    house.reconcile()
    good = house.mirrored()
    with house.store() as store:
        # The row and what was made of it: as if a change had been read wrongly.
        store.execute(
            """UPDATE mirror SET row = jsonb_set(row, '{debit}', '"263.00"')
               WHERE tbl = 'account_move_line' AND row ->> 'debit' = '363.00'"""
        )
        store.execute(
            """UPDATE invoice SET record = jsonb_set(record, '{doc,open_amount}', '"263.00"'), open_amount = 263
               WHERE key = %s""",
            (str(number),),
        )
        store.execute("DELETE FROM mirror_ref WHERE tbl = 'account_move_line'")
    code, told = house.reconcile()
    assert code == 1
    (found,) = told["differences"]
    assert (found["document"], found["field"], found["erp"], found["arsync"], found["amount"]) == (
        f"invoice/{number}", "open_amount", "363", "263", "100.00",
    )  # fmt: skip
    assert told["by_field"] == [
        {"field": "open_amount", "documents": 1, "amount": "100.00", "currency": "EUR"},
    ]  # fmt: skip
    assert house.drifts() == [(f"invoice/{number}", "held", '["open_amount"]')]
    assert house.reconcile()[0] == 1
    assert len(house.drifts()) == 1, "the same difference is one conflict"
    code, told = house.reconcile("--repair")
    assert (code, told["differences"], told["repaired"]) == (0, [], 1)
    assert house.drifts() == [(f"invoice/{number}", "dismissed", '["open_amount"]')]
    assert house.invoice(number)["open_amount"] == "363.00"
    assert house.reconcile()[0] == 0, "what the customer owes was not made wrong by it"
    rows = house.mirrored()
    assert all(rows[name] == row for name, row in good.items() if name[0] == "account_move_line"
               and row[0]["move"] == good["account_invoice", str(number)][0]["move"])  # fmt: skip


def receivable(house: House, party: str) -> Decimal:
    (row,) = [row for row in house.engine.ask("customers", "list") if row["key"] == party]
    (account,) = row["accounts"]
    return Decimal(account["receivable"])


def damage(house: House, party: str) -> None:
    """As if a change of what a customer owes had been counted twice."""
    with house.store() as store:
        store.execute("UPDATE document_sum SET amount = amount + 50 WHERE kind = 'customer' AND key = %s", (party,))
        store.execute(
            """UPDATE customer SET record = jsonb_set(record, '{doc,accounts,0,receivable}',
                 to_jsonb(((record #>> '{doc,accounts,0,receivable}')::numeric + 50)::text)) WHERE key = %s""",
            (party,),
        )


def test_what_a_customer_owes_is_held_against_the_erp_and_mended(house: House) -> None:
    house.bill()
    assert house.reconcile()[0] == 0
    party = str(house.accountant.customers()[0]["id"])
    good = receivable(house, party)
    assert good > 0
    damage(house, party)
    assert receivable(house, party) == good + 50
    code, told = house.reconcile()
    assert code == 1
    (found,) = told["differences"]
    assert (found["document"], Decimal(found["erp"]), Decimal(found["arsync"]), Decimal(found["amount"])) == (
        f"customer/{party}", good, good + 50, Decimal(50),
    )  # fmt: skip
    code, told = house.reconcile("--repair")
    assert (code, told["differences"], told["repaired"]) == (0, [], 1)
    assert receivable(house, party) == good
    # What is told from now on is added to the right sum.
    house.bill("100.00")
    assert house.reconcile()[0] == 0
    assert receivable(house, party) == good + 121


def test_the_daemon_reconciles_and_mends_by_its_clock(house: House) -> None:
    house.engine.stop()
    with house.engine._config.open("a", encoding="utf-8") as config:
        config.write(f'\n[systems.{SYSTEM}.reconcile]\nevery = "3s"\nrepair = true\n')
    (house.engine._folder / "ready.json").unlink()
    house.engine.start()
    house.engine.await_ready()
    party = str(house.accountant.customers()[0]["id"])
    good = receivable(house, party)
    before = len(house.drifts())
    damage(house, party)
    until = time.monotonic() + 60
    # The rows are mended first; only a second look at the ERP then closes the conflict.
    while time.monotonic() < until and [state for _, state, _ in house.drifts()[before:]] != ["dismissed"]:
        time.sleep(0.5)
    assert receivable(house, party) == good
    assert [(document, state) for document, state, _ in house.drifts()[before:]] == [
        (f"customer/{party}", "dismissed")
    ]
    with house.store() as store:
        (count,) = store.execute("SELECT count(*) FROM reconciliation WHERE differences = 0").fetchone() or (0,)
    assert count > 0


def test_without_the_daemon_nothing_can_be_said(house: House) -> None:
    house.engine.stop()
    done = subprocess.run(
        [*house.engine._program(), "reconcile", SYSTEM, "--patience", "2"], cwd=house.engine._folder,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 3
    assert "arsync status" in done.stderr
    assert "Traceback" not in done.stderr
