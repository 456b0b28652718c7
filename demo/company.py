"""The company that the demo's Tryton keeps its books for, set up by JSON-RPC alone.

Called once per Tryton version by `demo.erp`, which keeps the result. It promises the same company for the same
`CompanyPlan`: nothing here is random and nothing asks what day it is. What another Tryton would have different
(currency, chart, numbers, names) stands in the plan, so that tests can bring up a second, unlike company.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from connectors.tryton.rpc import Session

REPORT_TEXT = b"Invoice ${', '.join(r.rec_name for r in records)}\n"
"""Rendering the standard report costs 0.2 s for each invoice that is posted; this one costs nothing."""

BOT = "ar_bot"
BOT_GROUPS = (
    "account.group_account_admin",
    "account_credit_limit.group_credit_limit",
    "account_statement.group_statement",
    "account_payment.group_payment",
    "sale.group_sale",
)
"""Exactly what the engine's user needs, so that whatever it does shows that these are enough."""
PERSON_GROUPS = (
    "account.group_account",
    "account.group_account_admin",
    "account_credit_limit.group_credit_limit",
    "account_statement.group_statement",
    "account_payment.group_payment",
    "account_payment.group_payment_approval",
    "party.group_party_admin",
    "sale.group_sale",
)


@dataclass(frozen=True, slots=True)
class Money:
    """A currency and what one unit of the company's currency costs in it, from each of the days."""

    code: str
    name: str
    symbol: str
    rates: tuple[tuple[dt.date, Decimal], ...]


@dataclass(frozen=True, slots=True)
class Customer:
    """One customer; `limit` in the company's currency, None is no limit; `currency` is what it is billed in."""

    name: str
    city: str
    limit: Decimal | None
    currency: str = "EUR"


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart of accounts' template by external id, and the codes of the accounts that are used by name."""

    template: str = "account.account_template_root_en"
    cash: str = "1.1.1"
    revenue: str = "4.1.1"
    expense: str = "5.1.1"
    tax: str = "6.3.6"


@dataclass(frozen=True, slots=True)
class CompanyPlan:
    """Everything that tells one company from another. The first currency is the company's own."""

    name: str = "Lindenhof Trading BV"
    currencies: tuple[Money, ...] = (
        Money("EUR", "Euro", "€", ((dt.date(2025, 1, 1), Decimal(1)),)),
        Money(
            "USD",
            "US Dollar",
            "$",
            (
                (dt.date(2025, 1, 1), Decimal("1.08")),
                (dt.date(2026, 7, 1), Decimal("1.10")),
                (dt.date(2026, 11, 1), Decimal("1.12")),
            ),
        ),
    )
    chart: Chart = field(default_factory=Chart)
    years: tuple[int, ...] = (2025, 2026, 2027)
    move_prefix: str = "M"
    invoice_prefix: str = "INV"
    credit_note_prefix: str = "CN"
    tax_name: str = "VAT 21 %"
    tax_rate: Decimal = Decimal("0.21")
    payment_method: str = "Bank"
    statement_journal: str = "Bank statements"
    write_off: str = "Write-off"
    terms: tuple[tuple[str, tuple[int, ...]], ...] = (
        ("Net 30", (30,)),
        ("Half in 20, rest in 40", (20, 40)),
        ("Net 365", (365,)),
    )
    """Name of a term and the days of its equal instalments; the first term is every customer's."""
    customers: tuple[Customer, ...] = (
        Customer("Abbott Logistics", "Rotterdam", Decimal(25000)),
        Customer("Birkenau Foods", "Bremen", Decimal(50000)),
        Customer("Copper Hill Machines", "Denver", Decimal(90000), "USD"),
        Customer("Duinzicht Glass", "Delft", Decimal(12000)),
        Customer("Escaut Energie", "Gent", None),
        Customer("Fjordline Shipping", "Bergen", Decimal(40000)),
        Customer("Granite Retail", "Leeds", Decimal(8000), "USD"),
        Customer("Havenstad Textiles", "Utrecht", Decimal(60000)),
    )


@dataclass(frozen=True, slots=True)
class _Made:
    """Ids of what later steps refer to."""

    company: int
    currencies: Mapping[str, int]
    accounts: Mapping[str, int]


def build(session: Session, plan: CompanyPlan, users: Mapping[str, str]) -> None:
    """Set the company up in a fresh database, as its administrator; `users` are passwords by login.

    Raises `RpcError` at the first refusal; a half set-up database is thrown away by the caller.
    """
    made = _company(session, plan)
    _chart(session, plan, made)
    accounts = {
        name: _one(session, "account.account", [["code", "=", code], ["company", "=", made.company]])
        for name, code in (
            ("cash", plan.chart.cash),
            ("revenue", plan.chart.revenue),
            ("expense", plan.chart.expense),
            ("tax", plan.chart.tax),
        )
    }
    made = _Made(made.company, made.currencies, accounts)
    for year in plan.years:
        _fiscal_year(session, plan, made, year)
    _taxes_and_journals(session, plan, made)
    terms = [_term(session, name, days) for name, days in plan.terms]
    for customer in plan.customers:
        _customer(session, customer, terms[0])
    for login, password in users.items():
        _user(session, made, login, password)
    report = _id(session, "account_invoice.report_invoice")
    values = {"template_extension": "txt", "report_content_custom": REPORT_TEXT}
    session.call("model.ir.action.report.write", [report], values)


def _create(session: Session, model: str, values: Mapping[str, Any]) -> int:
    return int(session.call(f"model.{model}.create", [values])[0])


def _one(session: Session, model: str, domain: list[Any]) -> int:
    found = session.call(f"model.{model}.search", domain, 0, 1, None)
    if not found:
        raise LookupError(f"The new company has no {model} with {domain}; the plan does not fit its chart")
    return int(found[0])


def _id(session: Session, name: str) -> int:
    return int(session.call("model.ir.model.data.get_id", name))


def _company(session: Session, plan: CompanyPlan) -> _Made:
    currencies: dict[str, int] = {}
    for money in plan.currencies:
        values = {
            "name": money.name,
            "code": money.code,
            "symbol": money.symbol,
            "rounding": Decimal("0.01"),
            "digits": 2,
            "rates": [["create", [{"date": day, "rate": rate} for day, rate in money.rates]]],
        }
        currencies[money.code] = _create(session, "currency.currency", values)
    party = _create(session, "party.party", {"name": plan.name})
    own = currencies[plan.currencies[0].code]
    with session.wizard("company.company.config", "ir.module.config_wizard.item", []) as wizard:
        form = {"party": party, "currency": own, "cancel_invoice_out": True}
        wizard.execute("add", {"company": form})
    # The administrator belongs to the company only now: take its context into the session.
    session.login()
    return _Made(_one(session, "company.company", []), currencies, {})


def _chart(session: Session, plan: CompanyPlan, made: _Made) -> None:
    with session.wizard("account.create_chart", "ir.module.config_wizard.item", []) as wizard:
        template = _id(session, plan.chart.template)
        account = {"account": {"company": made.company, "account_template": template}}
        wizard.execute("create_account", account)
        properties: dict[str, Any] = {"company": made.company}
        for side in ("receivable", "payable"):
            domain = [[f"type.{side}", "=", True], ["company", "=", made.company], ["party_required", "=", True]]
            properties[f"account_{side}"] = _one(session, "account.account", domain)
        wizard.execute("create_properties", account | {"properties": properties})


def _fiscal_year(session: Session, plan: CompanyPlan, made: _Made, year: int) -> None:
    def sequence(name: str, kind: str, prefix: str, padding: int) -> int:
        values = {
            "name": f"{name} {year}",
            "sequence_type": _id(session, kind),
            "company": made.company,
            "prefix": f"{prefix}{year}-",
            "padding": padding,
        }
        return _create(session, "ir.sequence.strict", values)

    invoice_type = "account_invoice.sequence_type_account_invoice"
    invoice = sequence("Invoice", invoice_type, plan.invoice_prefix, 5)
    credit = sequence("Credit note", invoice_type, plan.credit_note_prefix, 5)
    numbers = {
        "company": made.company,
        "out_invoice_sequence": invoice,
        "in_invoice_sequence": invoice,
        "out_credit_note_sequence": credit,
        "in_credit_note_sequence": credit,
    }
    values = {
        "name": str(year),
        "company": made.company,
        "start_date": dt.date(year, 1, 1),
        "end_date": dt.date(year, 12, 31),
        "move_sequence": sequence("Move", "account.sequence_type_account_move", plan.move_prefix, 6),
        "invoice_sequences": [["create", [numbers]]],
    }
    made_year = _create(session, "account.fiscalyear", values)
    session.call("model.account.fiscalyear.create_period", [made_year])


def _taxes_and_journals(session: Session, plan: CompanyPlan, made: _Made) -> None:
    accounts = made.accounts
    tax = {
        "name": plan.tax_name,
        "description": plan.tax_name,
        "type": "percentage",
        "rate": plan.tax_rate,
        "company": made.company,
        "invoice_account": accounts["tax"],
        "credit_note_account": accounts["tax"],
    }
    _create(session, "account.tax", tax)
    cash = {"company": made.company, "credit_account": accounts["cash"], "debit_account": accounts["cash"]}
    method = cash | {"name": plan.payment_method}
    method["journal"] = _one(session, "account.journal", [["type", "=", "cash"]])
    _create(session, "account.invoice.payment.method", method)
    exchange = _one(session, "account.journal", [["type", "=", "write-off"]])
    loss = {"company": made.company, "journal": exchange, "name": plan.write_off}
    loss |= {"credit_account": accounts["expense"], "debit_account": accounts["expense"]}
    _create(session, "account.move.reconcile.write_off", loss)
    configuration = {
        "currency_exchange_journal": exchange,
        "currency_exchange_credit_account": accounts["revenue"],
        "currency_exchange_debit_account": accounts["expense"],
    }
    session.call("model.account.configuration.write", [1], configuration)
    for number, (code, currency) in enumerate(made.currencies.items()):
        statements = {
            "name": plan.statement_journal if number == 0 else f"{plan.statement_journal} {code}",
            "journal": _one(session, "account.journal", [["type", "=", "statement"]]),
            "currency": currency,
            "company": made.company,
            # The total that is announced must be the sum of the lines; no balance is carried from one to the next.
            "validation": "amount",
            "account": accounts["cash"],
        }
        _create(session, "account.statement.journal", statements)


def _term(session: Session, name: str, instalments: tuple[int, ...]) -> int:
    lines: list[dict[str, Any]] = []
    for place, days in enumerate(instalments, start=1):
        line: dict[str, Any] = {"sequence": place, "relativedeltas": [["create", [{"days": days}]]]}
        if place == len(instalments):
            line |= {"type": "remainder"}
        else:
            share = (Decimal(1) / len(instalments)).quantize(Decimal("0.0001"))
            line |= {"type": "percent_on_total", "ratio": share, "divisor": Decimal(len(instalments))}
        lines.append(line)
    return _create(session, "account.invoice.payment_term", {"name": name, "lines": [["create", lines]]})


def _customer(session: Session, customer: Customer, term: int) -> None:
    mail = f"accounts@{customer.name.split()[0].lower()}.example"
    values = {
        "name": customer.name,
        "addresses": [["create", [{"street_unstructured": "Main Street 1", "city": customer.city}]]],
        "contact_mechanisms": [["create", [{"type": "email", "value": mail}]]],
        "customer_payment_term": term,
        "credit_limit_amount": customer.limit,
    }
    _create(session, "party.party", values)


def _user(session: Session, made: _Made, login: str, password: str) -> None:
    values = {
        "name": login,
        "login": login,
        "password": password,
        "email": f"{login}@lindenhof.example",
        "groups": [["add", [_id(session, group) for group in (BOT_GROUPS if login == BOT else PERSON_GROUPS)]]],
        "companies": [["add", [made.company]]],
        "company": made.company,
    }
    _create(session, "res.user", values)
