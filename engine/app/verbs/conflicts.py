"""`arsync conflicts`: where both sides disagreed, and what was chosen."""

from pathlib import Path
from typing import Any

import click

from engine.app.config import Config
from engine.app.printing import as_json, of_system, show_fields, show_table


@click.group()
def conflicts() -> None:
    """Stored disagreements between the AR side and the ERP."""


@conflicts.command("list")
@of_system
@click.option("--state", help="Only conflicts in this state (held ones wait for a person).")
@as_json
@click.pass_obj
def list_conflicts(settings: tuple[Config, Path], system: str | None, state: str | None, json_: bool) -> None:  # noqa: FBT001
    """Every conflict with its one-sentence explanation, oldest first."""
    rows = [row for row in _query(settings, system, None) if state in (None, row["state"])]
    show_table(rows, json_=json_, columns=("id", "kind", "state", "choice", "intent", "sentence"))


@conflicts.command("show")
@click.argument("id_", metavar="ID")
@of_system
@as_json
@click.pass_obj
def show_conflict(settings: tuple[Config, Path], id_: str, system: str | None, json_: bool) -> None:  # noqa: FBT001
    """One conflict: both sides, the rule that fired, the choice and who made it."""
    rows = _query(settings, system, id_)
    if not rows:
        raise click.ClickException(f"there is no conflict {id_}; `arsync conflicts list` shows those that are known")
    show_fields(rows[0], json_=json_)


def _query(settings: tuple[Config, Path], system: str | None, id_: str | None) -> list[dict[str, Any]]:
    from engine.app.wiring import open_store
    from engine.store import intent_queries

    config, folder = settings
    with open_store(config, folder) as store, store.connect() as connection, connection.cursor() as cursor:
        return intent_queries.list_conflicts(cursor, system, id_)
