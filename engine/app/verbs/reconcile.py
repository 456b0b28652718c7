"""`arsync reconcile`: every document against the ERP's own API."""

import json
from functools import partial
from pathlib import Path

import click

from engine.app.config import Config
from engine.app.printing import as_json, show_table


@click.command()
@click.argument("system")
@click.option(
    "--patience", default=30.0, show_default=True, help="Seconds that a difference may take to go away by itself."
)
@as_json
@click.pass_obj
def reconcile(settings: tuple[Config, Path], system: str, patience: float, json_: bool) -> None:  # noqa: FBT001
    """Compare every invoice and customer of SYSTEM with what the ERP's API says of it now.

    Reads only. Run it beside the daemon: what has just changed is read again until the change stream has brought it.
    The exit code is 1 when there are differences.
    """
    import msgspec

    from engine.app import registry
    from engine.app.wiring import open_store
    from engine.flow import reconciling
    from engine.store import records

    config, folder = settings
    chosen = config.systems.get(system)
    if chosen is None or not chosen.target:
        known = ", ".join(name for name, one in config.systems.items() if one.target) or "none"
        raise click.ClickException(f"there is no system {system} with a target; those that have one: {known}")
    target = registry.connector(chosen.connector).open_target(chosen.target)
    try:
        with open_store(config, folder) as store, store.connect() as connection:
            kept = partial(records.kept_documents, connection, system)
            compared = reconciling.reconcile(target, kept, patience=patience, told=partial(click.echo, err=True))
    finally:
        target.close()
    rows = [msgspec.to_builtins(one) for one in compared.differences]
    counts = f"{compared.invoices} invoices, {compared.customers} customers"
    if json_:
        report = {"invoices": compared.invoices, "customers": compared.customers, "differences": rows}
        click.echo(json.dumps(report, indent=2))
    elif rows:
        show_table(rows, json_=False, columns=("kind", "key", "number", "field", "erp", "arsync"))
        click.echo(f"{counts}: {len(rows)} differences")
    else:
        click.echo(f"{counts}: 0 differences")
    if rows:
        raise SystemExit(1)
