"""Hundreds of random operations in a real Tryton, read live: at the end arsync says what Tryton says."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.agreement import compare_customers, compare_invoices
from demo.company import CompanyPlan
from demo.engine import Engine
from demo.erp import DemoErp
from tests.demo.unruly import Unruly

pytestmark = [pytest.mark.live, pytest.mark.long]


@pytest.fixture
def erp(tmp_path: Path) -> Iterator[DemoErp]:
    cache = Path(os.environ.get("ARSYNC_CACHE", "~/.cache/arsync")).expanduser()
    with DemoErp(tmp_path / "erp", cache, print) as running:
        yield running


@pytest.mark.parametrize(
    ("seed", "before", "after"),
    [(1, 15, 40), *(pytest.param(seed, 60, 300, marks=pytest.mark.prove) for seed in range(2, 12))],
)
def test_both_sides_agree_after_random_operations(
    erp: DemoErp, tmp_path: Path, seed: int, before: int, after: int
) -> None:
    plan = CompanyPlan()
    terms, currencies = [name for name, _ in plan.terms], [money.code for money in plan.currencies]
    with erp.accountant() as books, Engine(tmp_path / "arsync", erp.postgres_dsn, None) as engine:
        unruly = Unruly(books._session, seed, terms, currencies)
        unruly.bill()
        unruly.act(before)
        engine.start()
        engine.await_ready()
        unruly.act(after)
        unruly.run_queue()
        print(f"seed {seed}: done {dict(unruly.done)}, refused {dict(unruly.refused)} {unruly.reasons}")
        assert sum(unruly.done.values()) > (before + after) / 3
        until = time.monotonic() + 20
        while True:
            invoices = compare_invoices(unruly.invoices(), unruly.instalments(), engine.ask("invoices", "list"))
            customers = compare_customers(unruly.customers(), engine.ask("customers", "list"), unruly.own_party)
            apart = [difference for pair in (*invoices, *customers) for difference in pair.differences]
            if not apart or time.monotonic() > until:
                break
            time.sleep(0.5)
        assert not apart, f"seed {seed}: {apart}"
        assert engine.stop() == 0
