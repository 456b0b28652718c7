"""`python -m benchmarks conflicts`: the analyst's queue with 100,000 open conflicts against a bare SELECT.

In one run, on a PostgreSQL of its own: each figure is the best of several turns, the bare statement and arsync's own
taking turns, so that both meet the same machine. The shell's figure is the whole command, started anew each time.
"""

import datetime as dt
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from psycopg import Cursor

    from engine.model.records import ConflictRecord

NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
PAGE = 50
_BARE_SHELL = """
import os, psycopg
with psycopg.connect(os.environ["ARSYNC_DSN"]) as connection:
    for row in connection.execute("SELECT record::text FROM conflict ORDER BY detected_at, id LIMIT 50"):
        print(row[0][:80])
"""


@click.command()
@click.option("--conflicts", "number", default=100_000, show_default=True, type=click.IntRange(1))
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1), help="Turns that each side has.")
@click.option("--json", "json_", is_flag=True, help="One JSON object as the last line.")
def conflicts(number: int, rounds: int, json_: bool) -> None:  # noqa: FBT001 - a command line flag
    """List and count 100,000 open conflicts, against a bare SELECT of the same rows.

    Exits with 1 when what was listed is not what is there.
    """
    with _store(number) as dsn:
        line = measure(dsn, number, rounds)
    if json_:
        click.echo(json.dumps(line))
    else:
        for name, value in line.items():
            click.echo(f"{name:24} {value}")
    if not line["verified"]:
        raise SystemExit(1)


def measure(dsn: str, number: int, rounds: int) -> dict[str, Any]:
    """All figures, in seconds and as ratios to the bare statement."""
    import psycopg

    from engine.store import conflict_queries as queries
    from engine.store.conflict_queries import Wanted

    everything = Wanted()
    with psycopg.connect(dsn, autocommit=True) as connection, connection.cursor() as cursor:
        text = "SELECT record::text FROM conflict WHERE state IN ('detected', 'held', 'chosen')"
        order = "ORDER BY detected_at, id"
        pairs: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
            "page": (
                lambda: _rows(cursor, f"{text} {order} LIMIT {PAGE}"),
                lambda: queries.lines(cursor, everything, limit=PAGE + 1),
            ),
            "all_json": (
                lambda: _rows(cursor, f"{text} {order}"),
                lambda: "[" + ",\n".join(queries.documents(cursor, everything, limit=None)) + "]",
            ),
            "stats": (
                lambda: _rows(cursor, "SELECT kind, state, currency, amount, detected_at, ended_at FROM conflict"),
                lambda: queries.stats(cursor, everything, NOW),
            ),
        }
        line: dict[str, Any] = {"conflicts": number}
        for name, (bare, ours) in pairs.items():
            base, took = _best(rounds, bare, ours)
            line |= {f"bare_{name}": round(base, 4), name: round(took, 4), f"ratio_{name}": round(took / base, 2)}
        listed = json.loads(pairs["all_json"][1]())
        counted = pairs["stats"][1]()
    base, took = _best(rounds, lambda: _shell(dsn, ["-c", _BARE_SHELL]), lambda: _shell(dsn, _LIST))
    line |= {"bare_shell": round(base, 3), "shell": round(took, 3), "ratio_shell": round(took / base, 2)}
    line["within_twice"] = all(line[f"ratio_{name}"] <= 2 for name in pairs)
    line["verified"] = len(listed) == number == counted["open"] and len({row["id"] for row in listed}) == number
    return line


_LIST = ["-c", "from engine.app.cli import main; main()", "conflicts", "list", "--limit", str(PAGE)]


def _shell(dsn: str, words: list[str]) -> None:
    environment = {**os.environ, "ARSYNC_DSN": dsn}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "arsync.toml"
        file.write_text('[store]\ndsn_env = "ARSYNC_DSN"\n')
        environment["ARSYNC_CONFIG"] = str(file)
        subprocess.run([sys.executable, *words], env=environment, check=True, stdout=subprocess.DEVNULL)


def _best(rounds: int, *actions: Callable[[], Any]) -> list[float]:
    """The shortest time of each, taking turns."""
    times: list[list[float]] = [[] for _ in actions]
    for _ in range(rounds):
        for place, action in enumerate(actions):
            began = time.perf_counter()
            action()
            times[place].append(time.perf_counter() - began)
    return [min(taken) for taken in times]


def _rows(cursor: "Cursor[Any]", statement: str) -> list[Any]:
    cursor.execute(statement.encode())
    return cursor.fetchall()


@contextmanager
def _store(number: int) -> Iterator[str]:
    """A store of its own, with so many open conflicts."""
    import psycopg

    from engine.store import records, schema
    from engine.store.embedded import Cluster

    with (
        tempfile.TemporaryDirectory(prefix="arsync-bench-") as folder,
        Cluster(Path(folder) / "postgres", settings={"fsync": "off"}) as cluster,
    ):
        cluster.ensure_database("arsync")
        dsn = cluster.dsn("arsync")
        schema.migrate(dsn, None)
        with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
            for start in range(0, number, 10_000):
                part = range(start, min(start + 10_000, number))
                records.save_conflicts(cursor, "tryton", [_conflict(place) for place in part])
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE conflict")
        yield dsn


def _conflict(place: int) -> "ConflictRecord":
    from engine.model.canonical import short_digest
    from engine.model.records import ConflictKind, ConflictRecord

    kinds = list(ConflictKind)
    amount = Decimal(place % 100_000) / 100
    facts = {
        "number": f"INV{place}", "customer": str(place % 500), "total_amount": "250.00", "open_amount": str(amount),
        "currency": "EUR", "phase": "open", "state": "posted", "due": "2026-12-01", "blocked": "no",
    }  # fmt: skip
    return ConflictRecord(
        id=short_digest(("benchmark", place)), kind=kinds[place % len(kinds)], state="held", rule="outcome.rejected",
        sentence=f"The ERP refused {amount} EUR for invoice INV{place}: the period is closed.", default_choice="hold",
        detected_at=NOW - dt.timedelta(seconds=37 * place), intent=f"pay-{place}", command=short_digest(place),
        document=f"invoice/{place}", customer=str(place % 500), company="1", amount=amount, currency="EUR",
        base={**facts, "content_version": "A" * 16}, erp={**facts, "content_version": "B" * 16},
        ar={"intent": f"pay-{place}", "amount": str(amount), "currency": "EUR"}, fields=("open_amount",),
        documents=(f"invoice/{place}",), commands=(short_digest(place),),
    )  # fmt: skip
