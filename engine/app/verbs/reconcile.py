"""`arsync reconcile`: every document against the ERP's own API, and the proof that both are the same.

Exit codes: 0 the same (or put right by --repair); 1 something differs; 2 called wrongly; 3 nothing can be said, or
not of every document: the ERP or the mirror cannot be asked now, or documents kept changing.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

import click

from engine.app.config import Config
from engine.app.printing import as_json, show_table


@click.command()
@click.argument("system")
@click.option("--repair", is_flag=True, help="Let the daemon read the rows of what differs again, then look again.")
@click.option("--patience", default=30.0, show_default=True, help="Seconds to wait for the mirror, each time.")
@as_json
@click.pass_obj
def reconcile(settings: tuple[Config, Path], system: str, repair: bool, patience: float, json_: bool) -> None:  # noqa: FBT001
    """Compare every invoice and customer of SYSTEM with what the ERP's API says of it.

    Run it beside the daemon. Each page is read between two positions of the ERP's log and judged once the mirror has
    passed the second; a document that changed in between is read again, so that what is only under way is no
    difference. Differences become conflicts of the kind drift, which close by themselves when a later reconcile finds
    the match. Nothing that the API says is taken into the mirror.
    """
    from engine.app.actor import me
    from engine.app.reconciling import reconcile_system
    from engine.app.wiring import open_store
    from engine.flow.reconciling import MirrorBehindError
    from engine.ports.errors import ConfigError, ConnectorError

    config, folder = settings
    with open_store(config, folder) as store, store.connect() as connection:
        try:
            report = reconcile_system(
                connection, config, folder, system, repair=repair, by=me(), patience=patience,
                told=partial(click.echo, err=True),
            )  # fmt: skip
        except ConfigError:
            raise
        except (ConnectorError, MirrorBehindError) as error:
            click.echo(f"arsync: {error}", err=True)
            raise SystemExit(3) from None
    _print(report, json_=json_)
    if not report.proven:
        raise SystemExit(1 if report.left else 3)


def _print(report: Any, *, json_: bool) -> None:
    import msgspec

    left = [msgspec.to_builtins(one) for one in report.left]
    if json_:
        told = {
            "invoices": report.invoices, "customers": report.customers, "verified_through": report.position,
            "proven": report.proven, "differences": left, "by_field": report.by_field(),
            "repaired": len({one.document for one in report.found} - {one.document for one in report.left}),
            "unsettled": list(report.unsettled), "seconds": round(report.seconds, 3),
        }  # fmt: skip
        click.echo(json.dumps(told, indent=2))
        return
    if left:
        show_table(left, json_=False, columns=("document", "number", "field", "erp", "arsync", "amount", "currency"))
        click.echo("")
        show_table(report.by_field(), json_=False, columns=("field", "documents", "amount", "currency"))
    for name in report.unsettled:
        click.echo(f"{name} kept changing; nothing can be said of it")
    repaired = len({one.document for one in report.found}) - len({one.document for one in report.left})
    mended = f", {repaired} documents repaired" if repaired else ""
    if report.proven:
        through = "" if report.position is None else f", verified through {report.position}"
    else:
        through = "" if report.position is None else f"; the others are the same through {report.position}"
    click.echo(f"{report.invoices} invoices, {report.customers} customers: {len(left)} differences{mended}{through}")
