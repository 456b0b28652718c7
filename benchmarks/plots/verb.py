"""`python -m benchmarks plots`: the plots of docs/benchmarks.md, drawn from the last lines of runs kept there.

`docs/benchmarks/NAME.json` is what `python -m benchmarks NAME --json` ended with. Each gives one or more plots beside
it; a result that is not there gives none.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from benchmarks.plots.drawing import Bar, bars, lines

FOLDER = Path(__file__).parents[2] / "docs" / "benchmarks"
Line = Mapping[str, Any]


@click.command()
@click.option("--folder", type=click.Path(exists=True, file_okay=False, path_type=Path), default=FOLDER,
              help="Where the results are, and where the plots go; docs/benchmarks unless told.")  # fmt: skip
def plots(folder: Path) -> None:
    """Draw the plots of every result that is kept."""
    for path, text in drawn(folder).items():
        path.write_text(text, encoding="utf-8")
        click.echo(path.name)


def drawn(folder: Path) -> dict[Path, str]:
    """Every plot of the results in a folder, by its path.

    Raises:
        click.ClickException: a result is not what its benchmark ends with.
    """
    found: dict[Path, str] = {}
    for name, draw in _PLOTS.items():
        result = folder / f"{name}.json"
        if not result.exists():
            continue
        try:
            for plot, text in draw(json.loads(result.read_text(encoding="utf-8"))).items():
                found[folder / f"{plot}.svg"] = text
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise click.ClickException(
                f"{result} is not the last line of `python -m benchmarks {name} --json` ({error!r}); run it "
                "again and keep that line"
            ) from error
    return found


def _ingest(line: Line) -> dict[str, str]:
    sides = ("arsync", "ceiling", "bytewax_recovery", "quix", "jdbc_sink")
    return {"ingest": _medians("From a topic to committed state", "events a second", line, sides)}


def _source(line: Line) -> dict[str, str]:
    sides = ("connect_config", "connect_defaults", "embedded")
    return {"source": _medians("What Debezium brings", "row changes a second", line, sides)}


def _recovery(line: Line) -> dict[str, str]:
    sides = [name for name, held in line.items() if isinstance(held, dict)]
    return {"recovery": _medians("From kill -9 to caught up", "seconds", line, sides)}


def _medians(title: str, unit: str, line: Line, sides: Any) -> str:
    held = {side: line[side] for side in sides if line.get(side) is not None}
    return bars(
        title,
        unit,
        [
            Bar(name, one["median"], one["min"], one["max"], 0 if name == "arsync" else 1)
            for name, one in held.items()
        ],
    )


def _latency(line: Line) -> dict[str, str]:
    rows = []
    for way, rates in line.items():
        for rate, part in rates.items():
            for what in ("erp_to_transition", "intent_to_erp", "erp_to_command", "topic_to_transition"):
                for mark, station in enumerate(("own", "total")):
                    held = part.get(what, {}).get(station)
                    if held is not None:
                        title = f"{what.replace('_', ' ')}, {way} {int(rate):,}/s, {station}"
                        rows.append(Bar(title, held["p50"], held["p50"], held["p99"], mark))
    return {"latency": bars("Latency: p50, whisker to p99", "milliseconds", rows)}


def _memory(line: Line) -> dict[str, str]:
    seen = {name: [(one["events"] / 1e6, one[name]) for one in line["seen"]] for name in ("worker", "reading")}
    return {"memory": lines("Memory of a worker", "MiB resident", "million events", seen)}


def _scale(line: Line) -> dict[str, str]:
    rows = [
        Bar(f"{int(count):,} documents", held["microseconds"], held["min"], held["max"])
        for count, held in line["documents"].items()
        if held["microseconds"] is not None
    ]
    found = {"scale": bars("What an event costs beside documents at rest", "microseconds", rows)} if rows else {}
    shared = [
        Bar(f"{number} workers", held["events_per_second"])
        for number, held in line["workers"].items()
        if held["events_per_second"]
    ]
    if shared:
        found["workers"] = bars("Workers on as many systems", "events a second in all", shared)
    return found


def _replay(line: Line) -> dict[str, str]:
    sides = ("as_of", "verify", "export", "pyeventsourcing_read", "duckdb_scan")
    own = ("as_of", "verify", "export")
    rows = [Bar(side, line[side], mark=0 if side in own else 1) for side in sides]
    return {"replay": bars(f"A journal of {line['entries']:,} entries", "entries a second", rows)}


_PLOTS: dict[str, Callable[[Line], dict[str, str]]] = {
    "ingest": _ingest,
    "latency": _latency,
    "memory": _memory,
    "recovery": _recovery,
    "replay": _replay,
    "scale": _scale,
    "scale_lean": lambda line: {f"{name}_lean": text for name, text in _scale(line).items()},
    "source": _source,
}
