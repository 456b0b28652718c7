"""`arsync intents`: what the AR side asks for, and what became of it."""

import json
from collections.abc import Iterable
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

    The same line again changes nothing. Lines that cannot be taken are named and make the exit code 1; the others
    are taken all the same.
    """
    from engine.app.wiring import open_store

    config, folder = settings
    taken: list[dict[str, Any]] = []
    lines = _lines(file)
    with open_store(config, folder) as store, store.connect() as connection:
        ordered, troubles = _parsed(lines, config)
        for system, numbered in ordered.items():
            done, wrong = _submit(connection, config, system, numbered)
            taken += done
            troubles += wrong
    if json_:
        click.echo(json.dumps(taken, indent=2))
    else:
        for one in taken:
            known = " (known before)" if one["known"] else ""
            reason = f": {one['reason']}" if one["reason"] else ""
            click.echo(f"{one['id']} {one['state']}{reason}{known}")
    for trouble in troubles:
        click.echo(f"arsync: {trouble}", err=True)
    if troubles:
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


def _lines(file: IO[bytes]) -> list[tuple[int, bytes]]:
    return [(number, line) for number, line in enumerate(file, 1) if line.strip()]


def _parsed(lines: Iterable[tuple[int, bytes]], config: Config) -> tuple[dict[str, list[tuple[int, Any]]], list[str]]:
    """Intents by system with their line numbers, and what is wrong with the others."""
    from engine.app.verbs.run import choose_system
    from engine.model.intents import IntentError, parse_intent

    by_system: dict[str, list[tuple[int, Any]]] = {}
    troubles: list[str] = []
    for number, line in lines:
        try:
            intent = parse_intent(line)
            choose_system(config, intent.system)
        except IntentError as error:
            troubles.append(f"line {number}: {error}")
        except click.UsageError:
            known = ", ".join(sorted(config.systems)) or "none"
            troubles.append(
                f"line {number}: intent {intent.id} names system {intent.system}; configured are: {known}"
            )
        else:
            by_system.setdefault(intent.system, []).append((number, intent))
    return by_system, troubles


def _submit(
    connection: Any, config: Config, system: str, numbered: list[tuple[int, Any]]
) -> tuple[list[dict[str, Any]], list[str]]:
    import msgspec

    from engine.app import registry
    from engine.app.config import policy_of
    from engine.app.verbs.run import choose_system
    from engine.app.wiring import enter_system, now
    from engine.flow.intake import submit as take

    _, chosen = choose_system(config, system)
    enter_system(connection, system, chosen.connector)
    versions = {"mapping": registry.connector(chosen.connector).mapping.version}
    results = take(connection, system, [intent for _, intent in numbered], policy_of(chosen), now, versions)
    troubles = [
        f"line {number}: {result.trouble}"
        for (number, _), result in zip(numbered, results, strict=True)
        if result.trouble is not None
    ]
    return [msgspec.to_builtins(result) for result in results], troubles
