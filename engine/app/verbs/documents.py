"""`arsync invoices` and `arsync customers`: what the ERP last told, and how each invoice came to its state."""

import json
from pathlib import Path
from typing import Any

import click

from engine.app.config import Config
from engine.app.printing import as_json, of_system, show_table


@click.group()
def invoices() -> None:
    """Invoices and credit memos."""


@click.group()
def customers() -> None:
    """Customers with what they owe and their credit limits."""


@invoices.command("list")
@of_system
@as_json
@click.pass_obj
def list_invoices(settings: tuple[Config, Path], system: str | None, json_: bool) -> None:  # noqa: FBT001
    """Every invoice, with the ERP's state and open amount and its life-cycle state."""
    rows = _query(settings, "invoices", system)
    show_table(rows, json_=json_, columns=("key", "number", "customer", "erp_state", "total_amount", "open_amount",
                                      "currency", "state"))  # fmt: skip


@invoices.command("show")
@click.argument("name")
@of_system
@as_json
@click.pass_obj
def show_invoice(settings: tuple[Config, Path], name: str, system: str | None, json_: bool) -> None:  # noqa: FBT001
    """One invoice, by key or number, with every step of its life."""
    rows = _query(settings, "invoice", system, name)
    if not rows:
        raise click.ClickException(f"there is no invoice {name}; `arsync invoices list` shows those that are known")
    if json_:
        click.echo(json.dumps(rows[0], indent=2))
        return
    steps = rows[0].pop("transitions")
    for field, value in rows[0].items():
        click.echo(f"{field:16} {value}")
    for step in steps:
        click.echo(f"  {step['seq']:3} {step['source']} -> {step['destination']}  {step['trigger']}  tx {step['tx']}")


@customers.command("list")
@of_system
@as_json
@click.pass_obj
def list_customers(settings: tuple[Config, Path], system: str | None, json_: bool) -> None:  # noqa: FBT001
    """Every customer."""
    rows = _query(settings, "customers", system)
    show_table(rows, json_=json_, columns=("key", "name", "active", "receivable", "credit_limit", "currency"))


def _query(settings: tuple[Config, Path], what: str, system: str | None, name: str = "") -> list[dict[str, Any]]:
    from engine.app.wiring import open_store
    from engine.store import queries

    config, folder = settings
    with open_store(config, folder) as store, store.connect() as connection, connection.cursor() as cursor:
        if what == "invoices":
            return queries.list_invoices(cursor, system)
        if what == "invoice":
            return queries.show_invoice(cursor, system, name)
        return queries.list_customers(cursor, system)
