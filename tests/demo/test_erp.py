"""A real Tryton: what its accountant does, and what Tryton's own books say afterwards."""

import datetime as dt
import os
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import psycopg
import pytest

from connectors.tryton import rpc
from demo.accountant import Accountant, Bill, Item
from demo.books import Way
from demo.company import CompanyPlan, Customer, Money
from demo.erp import DemoErp

pytestmark = pytest.mark.live

DAY = dt.date(2026, 11, 20)
EUR_CUSTOMER = "Birkenau Foods"
USD_CUSTOMER = "Copper Hill Machines"


@pytest.fixture(scope="module")
def erp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoErp]:
    cache = Path(os.environ.get("ARSYNC_CACHE", "~/.cache/arsync")).expanduser()
    running = DemoErp(tmp_path_factory.mktemp("erp"), cache, print)
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def accountant(erp: DemoErp) -> Iterator[Accountant]:
    with rpc.Session(erp.url, erp.database, erp.accountant_user, erp.accountant_password) as session:
        yield Accountant(session)


@pytest.fixture
def bot(erp: DemoErp) -> Iterator[rpc.Session]:
    with rpc.Session(erp.url, erp.database, erp.user, erp.password) as session:
        yield session


def customer(accountant: Accountant, name: str) -> int:
    return next(int(row["id"]) for row in accountant.customers() if row["name"] == name)


def invoice(accountant: Accountant, number: int) -> tuple[str, Decimal]:
    row = next(row for row in accountant.invoices() if row["id"] == number)
    return row["state"], row["amount_to_pay"]


def new(accountant: Accountant, price: str = "100.00", name: str = EUR_CUSTOMER, currency: str = "EUR") -> int:
    party = customer(accountant, name)
    return accountant.create_invoice(party, [Item("Pallets", Decimal(price))], invoice_date=DAY, currency=currency)


def test_pays_in_parts_and_bounces(accountant: Accountant) -> None:
    bank, owed = accountant.bank_total(), accountant.receivable_total()
    number = new(accountant)
    assert invoice(accountant, number) == ("posted", Decimal("121.00"))
    assert accountant.receivable_total() - owed == Decimal("121.00")

    accountant.pay(number, Decimal("21.00"), "PART-1", DAY)
    assert invoice(accountant, number) == ("posted", Decimal("100.00"))
    accountant.pay(number, Decimal("100.00"), "REST-1", DAY)
    assert invoice(accountant, number) == ("paid", Decimal(0))
    assert accountant.bank_total() - bank == Decimal("121.00")

    receipts = accountant.payments({"PART-1", "REST-1", "NEVER"})
    assert {(r.key, r.way, r.invoice, r.amount) for r in receipts} == {
        ("PART-1", Way.MOVE, number, Decimal("21.00")),
        ("REST-1", Way.MOVE, number, Decimal("100.00")),
    }

    accountant.bounce(number, "BOUNCE-1")
    assert invoice(accountant, number) == ("posted", Decimal("100.00"))
    assert accountant.bank_total() - bank == Decimal("21.00")
    accountant.pay(number, Decimal("100.00"), "AGAIN-1", DAY)
    assert invoice(accountant, number) == ("paid", Decimal(0))
    assert accountant.receivable_total() == owed


def test_writes_many_invoices_at_once_in_their_order(accountant: Accountant) -> None:
    party = customer(accountant, EUR_CUSTOMER)
    bills = [Bill(party, (Item("Box", Decimal(price), taxed=False),), DAY) for price in (10, 20, 30)]
    made = accountant.create_invoices(bills)
    rows = {row["id"]: row for row in accountant.invoices()}
    assert [rows[number]["amount_to_pay"] for number in made] == [10, 20, 30]
    assert [rows[number]["state"] for number in made] == ["posted"] * 3
    numbers = [rows[number]["number"] for number in made]
    assert numbers == sorted(numbers)


def test_refuses_to_pay_more_than_is_open(accountant: Accountant) -> None:
    number = new(accountant)
    with pytest.raises(ValueError, match=r"121\.00 open"):
        accountant.pay(number, Decimal("121.01"), "OVER", DAY)
    assert accountant.payments({"OVER"}) == []


def test_foreign_invoices_keep_their_currency(accountant: Accountant) -> None:
    number = new(accountant, name=USD_CUSTOMER, currency="USD")
    accountant.pay(number, Decimal("60.50"), "USD-1", DAY)
    row = next(row for row in accountant.invoices() if row["id"] == number)
    assert (row["currency"], row["total_amount"], row["amount_to_pay"]) == (
        "USD",
        Decimal("121.00"),
        Decimal("60.50"),
    )
    (receipt,) = accountant.payments({"USD-1"})
    assert receipt.amount == Decimal("60.50")


def test_due_date_print_cancel_and_limit(accountant: Accountant, bot: rpc.Session) -> None:
    party = customer(accountant, EUR_CUSTOMER)
    number = accountant.create_invoice(
        party, [Item("A", Decimal("10.00"), taxed=False)], invoice_date=DAY, term="Half in 20, rest in 40"
    )
    names = ["lines_to_pay", "_timestamp", "number", "amount_to_pay"]
    before = bot.call("model.account.invoice.read", [number], names)[0]
    accountant.move_due_date(number, dt.date(2027, 1, 15))
    lines = bot.call("model.account.move.line.read", before["lines_to_pay"], ["maturity_date", "debit"])
    assert [line["debit"] for line in lines] == [Decimal("5.00")] * 2
    assert {line["maturity_date"] for line in lines} == {dt.date(2027, 1, 15)}

    accountant.print_invoice(number)
    after = bot.call("model.account.invoice.read", [number], names)[0]
    assert after.pop("_timestamp") != before.pop("_timestamp")
    assert after == before

    accountant.cancel(number)
    assert invoice(accountant, number) == ("cancelled", Decimal(0))

    accountant.set_credit_limit(party, Decimal(77))
    assert next(row for row in accountant.customers() if row["id"] == party)["credit_limit_amount"] == 77
    accountant.set_credit_limit(party, None)
    assert next(row for row in accountant.customers() if row["id"] == party)["credit_limit_amount"] is None


def test_a_statement_of_the_engine_is_guarded_and_found_by_its_key(accountant: Accountant, bot: rpc.Session) -> None:
    party, key = customer(accountant, EUR_CUSTOMER), "ABCDEFGHIJ234567"
    paid, part = new(accountant), new(accountant, "200.00")
    tokens = {
        f"account.invoice,{number}": bot.call("model.account.invoice.read", [number], ["_timestamp"])[0]["_timestamp"]
        for number in (paid, part)
    }
    journal = bot.call("model.account.statement.journal.search", [["currency.code", "=", "EUR"]], 0, 1, None)[0]
    account = bot.call("model.account.invoice.read", [paid], ["account"])[0]["account"]
    lines = [
        {
            "sequence": place,
            "number": key,
            "date": DAY,
            "amount": Decimal(amount),
            "party": party,
            "account": account,
            "related_to": f"account.invoice,{number}",
        }
        for place, (number, amount) in enumerate([(paid, "121.00"), (part, "42.00")], start=1)
    ]
    values = {"name": key, "journal": journal, "date": DAY, "total_amount": Decimal("163.00")}
    values["lines"] = [["create", lines]]
    statement = bot.call("model.account.statement.create", [values])[0]
    accountant.print_invoice(part)
    stale = {"_timestamp": {name: token for name, token in tokens.items() if name.endswith(f",{part}")}}
    with pytest.raises(rpc.Concurrency):
        bot.call("model.account.statement.validate_statement", [statement], context=stale)
    assert invoice(accountant, paid) == ("posted", Decimal("121.00"))

    bot.call("model.account.statement.validate_statement", [statement])
    assert accountant.payments({key}) == [], "a validated statement is not yet in the ledger"
    bot.call("model.account.statement.post", [statement])
    assert invoice(accountant, paid) == ("paid", Decimal(0))
    assert invoice(accountant, part) == ("posted", Decimal("200.00"))
    assert [(r.way, r.invoice, r.amount) for r in accountant.payments({key})] == [
        (Way.STATEMENT, paid, Decimal("121.00")),
        (Way.STATEMENT, part, Decimal("42.00")),
    ]


def test_the_server_refuses_strangers_and_words_its_refusals(erp: DemoErp, accountant: Accountant) -> None:
    stranger = rpc.Session(erp.url, erp.database, erp.user, "not-the-password")
    with stranger, pytest.raises(rpc.LoginRefused):
        stranger.call("model.party.party.search", [], 0, 1, None)
    number = new(accountant)
    with rpc.Session(erp.url, erp.database, erp.user, erp.password) as bot:
        with pytest.raises(rpc.UserError, match="Currency"):
            bot.call("model.account.invoice.write", [number], {"currency": None})
        with pytest.raises(rpc.AccessRefused):
            bot.call("model.account.invoice.no_such_method", [number])
        with pytest.raises(rpc.InternalError):
            bot.call("model.account.invoice.read", [number], ["no_such_field"])
        assert bot.user_id > 0


def test_capture_may_replicate_and_publish_without_being_superuser(erp: DemoErp) -> None:
    with psycopg.connect(erp.postgres_dsn, autocommit=True) as connection:
        row = connection.execute(
            "SELECT rolsuper, rolreplication FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        assert row == (False, True)
        full = connection.execute(
            "SELECT count(*) FROM pg_class WHERE relreplident = 'f' AND relname IN "
            "('account_invoice', 'account_move_line', 'account_statement_line', 'party_party')"
        ).fetchone()
        assert full == (4,)
        connection.execute("CREATE PUBLICATION probe FOR TABLE account_invoice, party_party")
        connection.execute("DROP PUBLICATION probe")
    with psycopg.connect(f"{erp.postgres_dsn}?replication=database", autocommit=True) as stream:
        stream.execute("CREATE_REPLICATION_SLOT probe TEMPORARY LOGICAL pgoutput")


def test_a_killed_server_comes_back_at_the_same_address(erp: DemoErp, accountant: Accountant) -> None:
    number = new(accountant)
    address, before = erp.url, erp.server_pid
    erp.kill_server()
    assert erp.server_pid is None
    with pytest.raises((rpc.Unreachable, rpc.NoAnswer)):
        accountant.set_credit_limit(customer(accountant, EUR_CUSTOMER), Decimal(1))
    erp.start_server()
    assert erp.url == address
    assert erp.server_pid != before
    accountant.run_queue()
    assert invoice(accountant, number) == ("posted", Decimal("121.00"))


def test_stop_leaves_no_process_and_the_books_stay(tmp_path: Path) -> None:
    cache = Path(os.environ.get("ARSYNC_CACHE", "~/.cache/arsync")).expanduser()
    said: list[str] = []
    with DemoErp(tmp_path, cache, said.append) as first, first.accountant() as working:
        number = new(working)
        mine = [process.pid for process in psutil.Process().children(recursive=True)]
        secrets = (first.password, first.accountant_password)
        lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    assert mine
    assert not [pid for pid in mine if psutil.pid_exists(pid) and _belongs(pid, tmp_path)]
    assert not [line for line in lines if any(secret in line for secret in secrets)]
    with DemoErp(tmp_path, cache, said.append) as second, second.accountant() as working:
        assert invoice(working, number) == ("posted", Decimal("121.00"))


def _belongs(pid: int, folder: Path) -> bool:
    try:
        return str(folder) in " ".join(psutil.Process(pid).cmdline())
    except psutil.NoSuchProcess:
        return False


def test_another_plan_gives_another_company(tmp_path: Path) -> None:
    cache = Path(os.environ.get("ARSYNC_CACHE", "~/.cache/arsync")).expanduser()
    pounds = Money("GBP", "Pound sterling", "£", ((dt.date(2025, 1, 1), Decimal(1)),))
    plan = CompanyPlan(
        name="Other Ltd",
        currencies=(pounds,),
        invoice_prefix="SI",
        terms=(("Thirty", (30,)),),
        customers=(Customer("Only One", "York", Decimal(10), "GBP"),),
    )
    said: list[str] = []
    with DemoErp(tmp_path, cache, said.append, plan=plan) as other, other.accountant() as working:
        party = customer(working, "Only One")
        items = [Item("Tea", Decimal("9.99"), taxed=False)]
        number = working.create_invoice(party, items, invoice_date=DAY, currency="GBP", term="Thirty")
        (row,) = working.invoices()
        assert (row["id"], row["number"], row["currency"]) == (number, "SI2026-00001", "GBP")
        assert [one["name"] for one in working.customers()] == ["Only One"]
        assert working.receivable_total() == Decimal("9.99")
