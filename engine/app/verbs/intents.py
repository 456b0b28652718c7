"""`arsync intents`: what the AR side asks for, and what became of it."""

import json
from pathlib import Path
from typing import IO, Any

import click

from engine.app.config import Config
from engine.app.printing import as_json, of_system, show_fields, show_table


@click.group()
def intents() -> None:
    """Decisions of the AR side."""


@intents.command("schema")
def schema() -> None:
    """Print the JSON Schema of an intent."""
    from engine.model.intents import intent_schema

    click.echo(json.dumps(intent_schema(), indent=2))


@intents.command("submit")
@click.argument("file", type=click.File("rb"))
@as_json
@click.pass_obj
def submit(settings: tuple[Config, Path], file: IO[bytes], json_: bool) -> None:  # noqa: FBT001
    """Take intents from FILE (- is standard input), one JSON object a line.

    The same line again changes nothing. Lines that cannot be taken are named, are kept as dead letters (`arsync
    deadletters`), and make the exit code 1; the others are taken all the same.
    """
    import msgspec

    from engine.app.actor import me
    from engine.app.wiring import now, open_doors, open_store
    from engine.flow.intake import NotTaken, keep_refused, submit_all

    config, folder = settings
    lines = [(number, line) for number, line in enumerate(file, 1) if line.strip()]
    taken: list[dict[str, Any]] = []
    refused: list[tuple[int, bytes, str]] = []
    with open_store(config, folder) as store, store.connect() as connection:
        doors = open_doors(connection, config)
        results = submit_all(connection, doors, [line for _, line in lines], now, f"user {me()}")
        for (number, line), result in zip(lines, results, strict=True):
            why = result.reason if isinstance(result, NotTaken) else result.trouble
            refused += [(number, line, why)] if why is not None else []
            taken += [] if isinstance(result, NotTaken) else [msgspec.to_builtins(result)]
        kept = keep_refused(connection, doors, [(line, why) for _, line, why in refused], now)
    if json_:
        click.echo(json.dumps(taken, indent=2))
    else:
        for one in taken:
            known = " (known before)" if one["known"] else ""
            reason = f": {one['reason']}" if one["reason"] else ""
            click.echo(f"{one['id']} {one['state']}{reason}{known}")
    for (number, _, trouble), letter in zip(refused, kept, strict=True):
        ending = f"; kept as dead letter {letter}" if letter is not None else ""
        click.echo(f"arsync: line {number}: {trouble}{ending}", err=True)
    if refused:
        raise SystemExit(1)


@intents.command("list")
@of_system
@click.option("--state", help="Only intents in this state.")
@as_json
@click.pass_obj
def list_intents(settings: tuple[Config, Path], system: str | None, state: str | None, json_: bool) -> None:  # noqa: FBT001
    """Every intent, with its commands and conflicts."""
    rows = [row for row in _query(settings, system, None) if state in (None, row["state"])]
    for row in rows if not json_ else ():
        row["commands"] = ", ".join(f"{c['key']} {c['state']}" for c in row["commands"])
    columns = ("id", "kind", "state", "customer", "amount", "currency", "reason", "commands")
    show_table(rows, json_=json_, columns=columns)


@intents.command("show")
@click.argument("id_", metavar="ID")
@of_system
@as_json
@click.pass_obj
def show_intent(settings: tuple[Config, Path], id_: str, system: str | None, json_: bool) -> None:  # noqa: FBT001
    """One intent with all that was decided about it."""
    rows = _query(settings, system, id_)
    if not rows:
        raise click.ClickException(f"there is no intent {id_}; `arsync intents list` shows those that are known")
    show_fields(rows[0], json_=json_)


def _query(settings: tuple[Config, Path], system: str | None, id_: str | None) -> list[dict[str, Any]]:
    from engine.app.wiring import open_store
    from engine.store import intent_queries

    config, folder = settings
    with open_store(config, folder) as store, store.connect() as connection, connection.cursor() as cursor:
        return intent_queries.list_intents(cursor, system, id_)
