"""`arsync conflicts export`: all that is selected, as CSV, JSON lines or Parquet."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.app.verbs.conflicts.reaching import Settings, open_connection
from engine.app.verbs.conflicts.selecting import selection, wanted

if TYPE_CHECKING:
    from engine.store.conflict_queries import Wanted
    from engine.store.unit import Connection

_ENDINGS = {".csv": "csv", ".jsonl": "jsonl", ".parquet": "parquet"}


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@selection
@click.option("--format", "form", type=click.Choice(("csv", "jsonl", "parquet")), help="By FILE's ending otherwise.")
@click.pass_obj
def export(settings: Settings, /, file: Path, form: str | None, **options: Any) -> None:
    """Write conflicts to FILE: whole records as JSON lines, or one flat row each as CSV or Parquet.

    Amounts stay decimals in Parquet and text in CSV.
    """
    chosen = form or _ENDINGS.get(file.suffix)
    if chosen is None:
        raise click.UsageError(f"{file} ends in none of {', '.join(_ENDINGS)}; say --format")
    which = wanted(options)
    half = file.with_name(f".{file.name}.half")
    with open_connection(settings) as connection:
        try:
            number = _write(connection, which, half, chosen)
            half.replace(file)
        except OSError as error:
            raise click.ClickException(f"{file} cannot be written: {error.strerror}") from None
        finally:
            half.unlink(missing_ok=True)
    click.echo(f"{number} conflicts written to {file}")


def _write(connection: "Connection", which: "Wanted", file: Path, form: str) -> int:
    from engine.store import conflict_queries

    with connection.cursor() as cursor:
        if form == "jsonl":
            return _json_lines(conflict_queries.documents(cursor, which, limit=None), file)
        rows = conflict_queries.lines(cursor, which, limit=None)
    return _csv(rows, file) if form == "csv" else _parquet(rows, file)


def _json_lines(documents: Iterable[str], file: Path) -> int:
    number = 0
    with file.open("w", encoding="utf-8") as out:
        for number, text in enumerate(documents, 1):  # noqa: B007 - its last value is the count
            out.write(text + "\n")
    return number


def _csv(rows: list[Any], file: Path) -> int:
    import csv

    from engine.store.conflict_queries import Line

    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        names = Line.__struct_fields__
        writer.writerow(names)
        for row in rows:
            writer.writerow([_cell(getattr(row, name)) for name in names])
    return len(rows)


def _cell(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value


def _parquet(rows: list[Any], file: Path) -> int:
    """Through a CSV beside it: DuckDB reads that faster than single values."""
    import duckdb

    half = file.with_name(f"{file.name}.csv")
    try:
        _csv(rows, half)

        with duckdb.connect() as database:
            database.execute(
                """COPY (SELECT * REPLACE (detected_at::TIMESTAMPTZ AS detected_at, amount::DECIMAL(38, 6) AS amount)
                         FROM read_csv($source, header = true, all_varchar = true)) TO $target (FORMAT parquet)""",
                {"source": str(half), "target": str(file)},
            )
    finally:
        half.unlink(missing_ok=True)
    return len(rows)
