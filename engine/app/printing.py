"""How the command line prints: tables for people, JSON for programs."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

as_json = click.option("--json", "json_", is_flag=True, help="Print JSON.")
of_system = click.option("--system", help="Only this system.")


def show_table(rows: Sequence[Mapping[str, Any]], *, json_: bool, columns: tuple[str, ...]) -> None:
    """A table of these columns, or all fields as JSON."""
    if json_:
        click.echo(json.dumps(rows, indent=2))
        return
    cells = [columns, *(tuple(_cell(row[c]) for c in columns) for row in rows)]
    widths = [max(len(line[place]) for line in cells) for place in range(len(columns))]
    for line in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def show_fields(row: Mapping[str, Any], *, json_: bool) -> None:
    """One thing, field by field."""
    if json_:
        click.echo(json.dumps(row, indent=2))
        return
    for field, value in row.items():
        if isinstance(value, (dict, list)):
            click.echo(f"{field:20} {json.dumps(value)}")
        else:
            click.echo(f"{field:20} {_cell(value)}")


def _cell(value: object) -> str:
    return "" if value is None else str(value)
