"""What `check` finds on a real Tryton whose user lacks a group, or that lacks a module that a write needs."""

import secrets
from collections.abc import Iterator
from decimal import Decimal

import psycopg
import pytest

from connectors.tryton import rpc
from demo.company import BOT_GROUPS
from engine.model.commands import OutcomeKind, ReleaseOrder, SetCreditLimit
from engine.ports.finding import Grade
from tests.tryton.bench import Bench

pytestmark = pytest.mark.live

MISSING = ("account_payment", "account_credit_limit", "sale", "sale_credit_limit", "account_invoice_stock")
ADMINISTRATION, LIMIT, STATEMENT, PAYMENT, SALES = BOT_GROUPS


@pytest.fixture(scope="module")
def admin(bench: Bench) -> Iterator[rpc.Session]:
    with bench.erp.administrator() as session:
        yield session


class Clerk:
    """A user of Tryton in these groups."""

    def __init__(self, bench: Bench, admin: rpc.Session, *groups: str) -> None:
        self.login, password = f"clerk-{secrets.token_hex(4)}", secrets.token_urlsafe(24)
        (company,) = admin.call("model.company.company.search", [], 0, 1, None)
        numbers = [admin.call("model.ir.model.data.get_id", *group.split(".")) for group in groups]
        values = {"name": self.login, "login": self.login, "password": password, "email": f"{self.login}@x.example",
                  "groups": [["add", numbers]], "companies": [["add", [company]]], "company": company}  # fmt: skip
        admin.call("model.res.user.create", [values])
        self.target = bench.opened(user=self.login, password=password)


def without(group: str) -> tuple[str, ...]:
    return tuple(one for one in BOT_GROUPS if one != group)


@pytest.mark.parametrize(
    ("group", "name", "grade", "what"),
    [
        (ADMINISTRATION, "Accounting", Grade.ERROR, "receipts for one invoice"),
        (STATEMENT, "Statement", Grade.ERROR, "receipts for several invoices, deductions and money on account"),
        (PAYMENT, "Payment", Grade.WARNING, "disputes that hold an invoice back"),
        (LIMIT, "Account Credit Limit", Grade.WARNING, "credit limits"),
        (SALES, "Sales", Grade.WARNING, "release of orders"),
    ],
)
def test_a_user_without_a_group(
    bench: Bench, admin: rpc.Session, group: str, name: str, grade: Grade, what: str
) -> None:
    clerk = Clerk(bench, admin, *without(group))
    found = {one.subject: one for one in clerk.target.check() if not one.ok}
    clerk.target.close()
    assert found[what].grade is grade
    assert f"group {name}" in found[what].fix


def test_accounting_alone_does_not_take_back_what_was_applied(bench: Bench, admin: rpc.Session) -> None:
    clerk = Clerk(bench, admin, "account.group_account", *without(ADMINISTRATION))
    found = {one.subject: one for one in clerk.target.check() if not one.ok}
    clerk.target.close()
    assert sorted(found) == [
        "receipts applied and taken back",
        "receipts for several invoices, deductions and money on account",
    ]
    assert all("Accounting Administration" in one.fix for one in found.values())


@pytest.fixture
def lean(bench: Bench) -> Iterator[None]:
    """The same Tryton, started as if these modules had never been activated."""
    for state in ("not activated", "activated"):
        bench.erp.kill_server()
        with psycopg.connect(bench.erp.cluster.dsn(bench.erp.database)) as database:
            database.execute("UPDATE ir_module SET state = %s WHERE name = ANY(%s)", [state, list(MISSING)])
        bench.erp.start_server()
        if state == "not activated":
            yield


@pytest.mark.usefixtures("lean")
def test_a_module_that_is_not_active_is_named_and_its_writes_are_refused(bench: Bench) -> None:
    target = bench.opened()
    found = {one.subject: one for one in target.check()}
    wanting = {subject: one for subject, one in found.items() if one.grade is Grade.WARNING}
    assert sorted(wanting) == ["credit limits", "disputes that hold an invoice back", "release of orders"]
    assert wanting["credit limits"].fix == "activate the module account_credit_limit in Tryton"
    assert found["release of orders over the credit limit"].ok
    limit = SetCreditLimit(company="1", customer="1", currency="EUR", limit=Decimal(5), replaces=None,
                           amount=Decimal(0))  # fmt: skip
    order = ReleaseOrder(company="1", customer="1", currency="EUR", amount=Decimal(0), order="1")
    for write, module in ((limit, "account_credit_limit"), (order, "sale")):
        outcome = target.send(bench.key(), write, {"party.party,1": "1"})
        assert (outcome.kind, outcome.reason) == (OutcomeKind.REJECTED, "precondition_failed"), outcome
        assert f"module {module} is not active" in outcome.detail
    target.close()
