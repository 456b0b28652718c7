"""`arsync commands`: what is, was or would be written to an ERP."""

from pathlib import Path

import click

from engine.app.config import Config
from engine.app.printing import as_json, of_system, show_table


@click.group()
def commands() -> None:
    """Writes to ERPs."""


@commands.command("list")
@of_system
@click.option(
    "--would", is_flag=True, help="Only those that wait to be sent: in observe mode, what would be written."
)
@as_json
@click.pass_obj
def list_commands(settings: tuple[Config, Path], system: str | None, would: bool, json_: bool) -> None:  # noqa: FBT001
    """Every command with where it stands, what it writes, and what the ERP answered."""
    import msgspec

    from engine.app.wiring import open_store
    from engine.model.commands import Write
    from engine.store import intent_queries

    config, folder = settings
    with open_store(config, folder) as store, store.connect() as connection, connection.cursor() as cursor:
        rows = intent_queries.list_commands(cursor, system, unsent=would)
    for row in rows if not json_ else ():
        write: Write = msgspec.convert(row["write"], Write, strict=False)
        on = ", ".join(f"{a.number or a.invoice} {a.amount}" for a in write.allocations)
        row["writes"] = f"{row['write']['kind']}: {write.title}{' on ' if on else ''}{on}"
    show_table(rows, json_=json_, columns=("key", "state", "intent", "customer", "writes", "answer", "answer_text"))
