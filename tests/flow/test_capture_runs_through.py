"""A recorded capture of a real ERP ends where that ERP said it ended, by the same steps, however it is delivered."""

import datetime as dt
import json
import random
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from connectors.debezium.envelope import decode
from connectors.tryton.mapping import TrytonMapping
from engine.app.wiring import enter_system
from engine.flow.pipeline import Pipeline
from engine.model.change import Record, RowChange, TransactionBegin, TransactionEnd
from engine.ports.source import SourceBatch
from engine.rules.policy import Policy
from engine.store import queries
from engine.store.journal import verify_chain
from engine.store.unit import Connection

NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)


@pytest.fixture(scope="module")
def records(shared: Path) -> list[Record]:
    found = []
    for line in (shared / "events.jsonl").read_text().splitlines():
        event = json.loads(line)
        key = json.dumps(event["key"]).encode()
        value = None if event["value"] is None else json.dumps(event["value"]).encode()
        record = decode(event["destination"], key, value)
        if record is not None:
            found.append(record)
    return found


def batches(records: list[Record], size: int) -> Iterator[list[Record]]:
    for start in range(0, len(records), size):
        yield records[start : start + size]


def pipeline(connection: Connection, system: str) -> Pipeline:
    enter_system(connection, system, "tryton")
    return Pipeline(connection, system, TrytonMapping(), Policy(), lambda: NOW, epoch="test")


def run(connection: Connection, system: str, parts: Iterable[list[Record]], *, restart: bool = False) -> None:
    pipe = pipeline(connection, system)
    for place, part in enumerate(parts):
        if restart:
            pipe = pipeline(connection, system)
        pipe.take(SourceBatch(part, {"part": place}))
    pipe.settle()


def outcome(connection: Connection, system: str) -> dict[str, Any]:
    with connection.cursor() as cursor:
        invoices = queries.list_invoices(cursor, system)
        steps = {
            i["key"]: [
                (t["trigger"], t["source"], t["destination"], t["tx"])
                for t in queries.transitions(cursor, system, f"invoice/{i['key']}")
            ]
            for i in invoices
        }
        customers = queries.list_customers(cursor, system)
    for row in (*invoices, *customers):
        row.pop("system")
    return {"invoices": invoices, "customers": customers, "steps": steps}


def shuffled(records: list[Record], seed: int) -> list[Record]:
    """The rows of each transaction mixed among each other; each row's own order kept."""
    rng = random.Random(seed)
    result: list[Record] = []
    inside: list[RowChange] | None = None
    for record in records:
        if isinstance(record, TransactionBegin):
            inside = []
            result.append(record)
        elif isinstance(record, TransactionEnd):
            result += mixed(inside or [], rng)
            inside = None
            result.append(record)
        elif inside is not None and isinstance(record, RowChange):
            inside.append(record)
        else:
            result.append(record)
    return result


def mixed(rows: list[RowChange], rng: random.Random) -> list[RowChange]:
    places = [(row.table, row.key) for row in rows]
    rng.shuffle(places)
    queues: dict[tuple[str, str], list[RowChange]] = {}
    for row in rows:
        queues.setdefault((row.table, row.key), []).append(row)
    return [queues[place].pop(0) for place in places]


@pytest.fixture(scope="module")
def reference(store_dsn: str, records: list[Record]) -> dict[str, Any]:
    import psycopg

    with psycopg.connect(store_dsn, autocommit=True) as connection:
        run(connection, "reference", batches(records, 1000))
        return outcome(connection, "reference")


def test_invoices_are_what_the_erp_says(reference: dict[str, Any], shared: Path) -> None:
    expected = json.loads((shared / "expected_state.json").read_text())
    told = {
        i["key"]: (i["number"], i["erp_state"], Decimal(i["total_amount"]), Decimal(i["open_amount"]))
        for i in reference["invoices"]
    }
    assert told == {
        str(e["id"]): (e["number"], e["state"], Decimal(e["total_amount"]), Decimal(e["amount_to_pay"]))
        for e in expected
    }
    assert len(told) == 29


def test_customers_are_what_the_erp_says(reference: dict[str, Any], shared: Path) -> None:
    expected = json.loads((shared / "expected_parties.json").read_text())

    def limit(value: str | None) -> Decimal | None:
        return None if value is None else Decimal(value)

    told = {
        c["key"]: (c["name"], c["active"], Decimal(c["receivable"]), limit(c["credit_limit"]))
        for c in reference["customers"]
    }
    assert told == {
        str(e["id"]): (e["name"], e["active"], Decimal(e["receivable"]), limit(e["credit_limit_amount"]))
        for e in expected
    }
    assert len(told) == 10


@pytest.mark.parametrize("size", [1, 7])
def test_batch_size_changes_nothing(
    connection: Connection, records: list[Record], reference: dict[str, Any], size: int
) -> None:
    run(connection, f"batches-{size}", batches(records, size))
    assert outcome(connection, f"batches-{size}") == reference


@pytest.mark.parametrize("seed", [1, 2])
def test_order_inside_a_transaction_changes_nothing(
    connection: Connection, records: list[Record], reference: dict[str, Any], seed: int
) -> None:
    run(connection, f"shuffled-{seed}", batches(shuffled(records, seed), 1000))
    assert outcome(connection, f"shuffled-{seed}") == reference


def test_every_record_twice_changes_nothing(
    connection: Connection, records: list[Record], reference: dict[str, Any]
) -> None:
    run(connection, "twice", batches([record for record in records for _ in range(2)], 1000))
    assert outcome(connection, "twice") == reference


def test_the_whole_stream_again_changes_nothing(
    connection: Connection, records: list[Record], reference: dict[str, Any]
) -> None:
    run(connection, "again", batches(records + records, 1000))
    assert outcome(connection, "again") == reference


@pytest.mark.parametrize("seed", [20261123])
def test_cut_and_resumed_at_a_hundred_points(
    connection: Connection, records: list[Record], reference: dict[str, Any], seed: int
) -> None:
    cuts = sorted(random.Random(seed).sample(range(1, len(records)), 100))
    parts = [records[a:b] for a, b in zip([0, *cuts], [*cuts, len(records)], strict=True)]
    run(connection, f"cut-{seed}", parts, restart=True)
    assert outcome(connection, f"cut-{seed}") == reference


def test_the_journal_is_one_chain(connection: Connection, reference: dict[str, Any]) -> None:
    columns = "stream, seq, system, batch, place, at, kind, body, previous, hash"
    rows = connection.execute(
        f"SELECT {columns} FROM journal WHERE stream = 'reference/changes' ORDER BY seq"
    ).fetchall()
    assert len(rows) > len(reference["invoices"])
    assert verify_chain(rows) is None
    changed = [row if row[1] != 5 else (*row[:7], row[7].replace("tx", "ty", 1), *row[8:]) for row in rows]
    assert "entry 5 was changed" in (verify_chain(changed) or "")
    assert "entry 5 is missing" in (verify_chain(rows[:4] + rows[5:]) or "")


def test_the_daemon_cannot_rewrite_the_journal(connection: Connection, reference: dict[str, Any]) -> None:
    import psycopg

    for statement in ("UPDATE journal SET body = ''", "DELETE FROM journal", "TRUNCATE journal"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement)
