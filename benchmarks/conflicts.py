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

    from engine.model.canonical import canonical_bytes
    from engine.model.records import ConflictKind
    from engine.store import schema
    from engine.store.embedded import Cluster

    with (
        tempfile.TemporaryDirectory(prefix="arsync-bench-") as folder,
        Cluster(Path(folder) / "postgres", settings={"fsync": "off"}) as cluster,
    ):
        cluster.ensure_database("arsync")
        dsn = cluster.dsn("arsync")
        schema.migrate(dsn, None)
        kinds = [str(kind) for kind in ConflictKind]
        with psycopg.connect(dsn) as connection:
            template = canonical_bytes(_conflict()).decode()
            connection.execute(_FILL, {"template": template, "kinds": kinds, "number": number, "now": NOW})
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE conflict")
        yield dsn


_FILL = """
INSERT INTO conflict (system, id, kind, state, intent, command, document, customer, company, amount, currency,
                      detected_at, record)
SELECT 'tryton', id, kind, 'held', 'pay-' || n, key, 'invoice/' || n, (n %% 500)::text, '1', amount, 'EUR', at,
       %(template)s::jsonb || jsonb_build_object('id', id, 'kind', kind, 'intent', 'pay-' || n, 'command', key,
         'document', 'invoice/' || n, 'customer', (n %% 500)::text, 'amount', amount::text, 'detected_at', at)
FROM (SELECT n, upper(substr(md5(n::text), 1, 16)) AS id, upper(substr(md5('key' || n), 1, 16)) AS key,
             (%(kinds)s::text[])[1 + n %% array_length(%(kinds)s::text[], 1)] AS kind,
             ((n %% 100000)::numeric / 100)::numeric(12, 2) AS amount, %(now)s - n * interval '37 seconds' AS at
      FROM generate_series(1, %(number)s) AS n) AS made
"""


def _conflict() -> "ConflictRecord":
    """One of the size that conflicts have; the statement above gives each its own id, kind, subject and amount."""
    from engine.model.records import ConflictKind, ConflictRecord

    facts = {
        "number": "INV2026-00017", "customer": "7", "total_amount": "250.00", "open_amount": "250.00",
        "currency": "EUR", "phase": "open", "state": "posted", "due": "2026-12-01", "blocked": "no",
    }  # fmt: skip
    return ConflictRecord(
        id="A" * 16, kind=ConflictKind.ERP_REJECTED, state="held", rule="outcome.rejected",
        sentence="The ERP refused 250.00 EUR for invoice INV2026-00017: the period of 2026-11-23 is closed.",
        default_choice="hold", detected_at=NOW, company="1", currency="EUR", fields=("open_amount",),
        base={**facts, "content_version": "A" * 16}, erp={**facts, "content_version": "B" * 16},
        ar={"intent": "pay-17", "amount": "250.00", "currency": "EUR"}, documents=("invoice/17",),
        commands=("C" * 16,),
    )  # fmt: skip
