"""What a pipeline keeps at hand between its batches is never older than the store, and changes nothing."""

import datetime as dt
from collections.abc import Iterator, Sequence
from decimal import Decimal
from functools import partial
from itertools import islice
from typing import Any

import psycopg
import pytest
from psycopg import sql

from benchmarks.workload.stream import Message, Workload
from connectors.debezium.envelope import decode
from connectors.tryton.mapping import TrytonMapping
from engine.app.wiring import enter_system
from engine.flow.intake import submit
from engine.flow.neighbourhood import Neighbourhood
from engine.flow.pipeline import Pipeline
from engine.flow.recall import Recall, Recent
from engine.model.change import Op, Record, RowChange, SnapshotMark, TransactionBegin, TransactionEnd, Unreadable
from engine.model.intents import RaiseDispute
from engine.ports.source import SourceBatch
from engine.rules.policy import Policy
from engine.store import mirror, queries, records, sums
from engine.store.bulk import text_array
from engine.store.unit import Connection
from tests.flow.test_letters import House, party, streamed

NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)


def pipeline(connection: Connection, system: str) -> Pipeline:
    enter_system(connection, system, "tryton")
    return Pipeline(connection, system, TrytonMapping(), Policy(), lambda: NOW, epoch="test")


def take(pipe: Pipeline, messages: Sequence[Message], size: int) -> None:
    for start in range(0, len(messages), size):
        read = [record for m in messages[start : start + size] if (record := decode(*m)) is not None]
        pipe.take(SourceBatch(read, {"part": start}))


def life(transactions: Iterator[list[Message]], count: int) -> list[Message]:
    return [message for messages in islice(transactions, count) for message in messages]


def outcome(connection: Connection, system: str) -> dict[str, Any]:
    with connection.cursor() as cursor:
        invoices = {row["key"]: row for row in queries.list_invoices(cursor, system)}
        customers = {row["key"]: row for row in queries.list_customers(cursor, system)}
        steps = {
            key: [
                (t["trigger"], t["destination"], t["tx"])
                for t in queries.transitions(cursor, system, f"invoice/{key}")
            ]
            for key in invoices
        }
    for row in (*invoices.values(), *customers.values()):
        row.pop("system")
    return {"invoices": invoices, "customers": customers, "steps": steps}


def test_a_workload_ends_where_it_says(connection: Connection) -> None:
    workload = Workload(1, customers=5, active=25)
    messages = [*workload.snapshot(), *life(workload.transactions(), 220)]
    for size in (40, 100_000):
        pipe = pipeline(connection, f"lives-{size}")
        take(pipe, messages, size)
        pipe.catch_up()
    told = outcome(connection, "lives-40")
    assert told == outcome(connection, "lives-100000")
    states: dict[str, int] = {}
    for row in told["invoices"].values():
        states[row["state"]] = states.get(row["state"], 0) + 1
    wanted = workload.states()
    # Who was dropped as a draft is no document any more, and neither is a draft that nothing followed.
    for held in (states, wanted):
        held.pop("new", None)
    assert states == wanted
    assert set(states) >= {"open", "posted"}
    assert sum(Decimal(row["open_amount"]) for row in told["invoices"].values()) == Decimal(workload.open_total())


def test_what_was_dropped_for_want_of_room_is_read_again(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    workload = Workload(2, customers=5, active=25)
    messages = [*workload.snapshot(), *life(workload.transactions(), 220)]
    for name in ("roomy", "narrow"):
        if name == "narrow":
            monkeypatch.setattr("engine.flow.applying.Recall", partial(Recall, most=2))
            monkeypatch.setattr("engine.flow.applying.Neighbourhood", partial(Neighbourhood, most=10))
        pipe = pipeline(connection, name)
        take(pipe, messages, 40)
        pipe.catch_up()
    assert outcome(connection, "roomy") == outcome(connection, "narrow")


def test_recent_values_stay_and_others_are_dropped_in_time() -> None:
    held: Recent[int | None] = Recent(3)
    for number in range(40):
        held.age()
        assert "always" in held or number == 0
        held.update({"always": number, f"once-{number}": number, "gone": None})
        assert (held["always"], held.get("gone"), held.get("never")) == (number, None, None)
        assert "gone" in held
    kept = [number for number in range(40) if f"once-{number}" in held]
    assert len(kept) < 9
    assert kept[-1] == 39
    with pytest.raises(KeyError, match="never"):
        held["never"]


def test_what_others_decided_meanwhile_is_kept(connection: Connection) -> None:
    system = "meanwhile"
    workload = Workload(3, customers=5, active=12)
    transactions = workload.transactions()
    pipe = pipeline(connection, system)
    take(pipe, [*workload.snapshot(), *life(transactions, 60)], 50)
    pipe.catch_up()
    listed = outcome(connection, system)["invoices"]
    disputed = [key for key, row in listed.items() if row["state"] == "open" and Decimal(row["open_amount"]) > 0]
    intents = [
        RaiseDispute(
            id=f"claim-{key}", system=system, customer=listed[key]["customer"], currency=listed[key]["currency"],
            invoice=key, amount=Decimal("0.01"), basis=listed[key]["content_version"], reason_code="damaged",
        )
        for key in disputed
    ]  # fmt: skip
    taken = submit(connection, system, intents, Policy(), lambda: NOW, {"mapping": 1})
    assert [one.state for one in taken] == ["done"] * len(disputed)
    take(pipe, life(transactions, 120), 50)
    with connection.cursor() as cursor:
        held = records.load_invoices(cursor, system, disputed, lock=False)
    moved = [key for key in disputed if str(held[key].doc.open_amount) != listed[key]["open_amount"]]
    assert len(disputed) > 2
    assert moved
    assert all([dispute.id for dispute in held[key].disputes] == [f"claim-{key}"] for key in disputed)


@pytest.mark.parametrize("values", [[], ["a"], ["", "b c", "9"], ['say "so"', "back\\slash", "a,b", "{x}", "NULL"]])
def test_arrays_are_spelled_as_the_server_reads_them(connection: Connection, values: list[str]) -> None:
    row = connection.execute("SELECT %s::text[]", (text_array(values),)).fetchone()
    assert row is not None
    assert row[0] == values


LOOKED_UP = {
    "rows by key": (mirror.ENTRIES, (["line"] * 300, [str(n) for n in range(300)])),
    "rows by a related value": (
        mirror.RELATED, (["line"] * 300, ["move"] * 300, [str(n) for n in range(300)])
    ),
    "sums": (sums.SUMS, (["customer"] * 300, [str(n) for n in range(300)])),
}  # fmt: skip


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
@pytest.mark.parametrize("what", list(LOOKED_UP))
def test_a_batch_reads_what_it_asks_for_in_a_table_without_statistics(store_dsn: str, what: str, mode: str) -> None:
    statement, keys = LOOKED_UP[what]
    parts = statement.split("%s")
    numbered = "".join(f"{part}${place}" for place, part in enumerate(parts[:-1], 1)) + parts[-1]
    given = [*keys, *(["young"] * (len(parts) - 1 - len(keys)))]
    with psycopg.connect(store_dsn) as connection, connection.cursor() as cursor:
        # Nothing is committed, so nobody counts these rows.
        cursor.execute(
            """INSERT INTO system (name, connector) VALUES ('young', 'tryton');
               INSERT INTO mirror SELECT 'young', 'line', n::text, '{}', 1, n, false FROM generate_series(0, 20000) n;
               INSERT INTO mirror_ref SELECT 'young', 'line', 'move', (n / 3)::text, n::text
                 FROM generate_series(0, 20000) AS n;
               INSERT INTO document_sum SELECT 'young', 'customer', n::text, 'receivable', n
                 FROM generate_series(0, 20000) AS n"""
        )
        cursor.execute(f"SET LOCAL plan_cache_mode = {mode}")
        cursor.execute(f"PREPARE asked AS {numbered}")
        words = sql.SQL(", ").join(map(sql.Literal, given))
        row = cursor.execute(
            sql.SQL("EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) EXECUTE asked ({})").format(words)
        ).fetchone()
        connection.rollback()
    assert row is not None
    (plan,) = row[0]
    found, most = plan["Plan"]["Actual Rows"], 0
    nodes = [plan["Plan"]]
    while nodes:
        node = nodes.pop()
        nodes += node.get("Plans", [])
        removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Join Filter", 0)
        most = max(most, (node["Actual Rows"] + removed) * node["Actual Loops"])
    assert found >= 300
    assert most <= found + 300, plan


BOOKS: list[tuple[str, dict[str, Any]]] = [
    ("currency_currency", {"code": "EUR", "rounding": "0.01", "digits": 2}),
    ("company_company", {"currency": 1}),
    ("account_account_type", {"receivable": True}),
    ("account_account", {"type": 1, "company": 1}),
]


def row(table: str, key: int, values: dict[str, Any], lsn: int, op: Op = Op.CREATE, **marks: Any) -> RowChange:
    held = {"id": key, "create_date": 1, "write_date": None, **values}
    return RowChange(table, str(key), op, held, lsn, marks.pop("tx", None), 1_000_000, **marks)


def line(key: int, account: int, lsn: int, tx: str, op: Op = Op.CREATE, **more: Any) -> RowChange:
    held = {"party": 1, "account": account, "move": 1, "debit": "100.00", "credit": "0", "reconciliation": None}
    return row("account_move_line", key, held | more, lsn, op, tx=tx, bordered=True)


def with_books(connection: Connection, system: str) -> House:
    house = House(connection, system)
    books = [row(table, 1, values, 100, Op.READ, snapshot=SnapshotMark.ROW) for table, values in BOOKS]
    house.take(*books, party(1, "One", 100, snapshot=SnapshotMark.LAST))
    return house


def receivable(house: House) -> list[str]:
    found = house.connection.execute(
        "SELECT record -> 'doc' -> 'accounts' FROM customer WHERE system = %s AND key = '1'", (house.system,)
    ).fetchone()
    assert found is not None
    return [account["receivable"] for account in found[0]]


@pytest.mark.parametrize("together", [False, True])
def test_a_line_counts_whose_account_is_as_new_as_itself(connection: Connection, together: bool) -> None:
    house = with_books(connection, f"new-account-{together}")
    account = streamed("10", 205, row("account_account", 2, {"type": 1, "company": 1}, 200, tx="10", bordered=True))
    booked = streamed("11", 215, line(7, 2, 210, "11"))
    for batch in [[*account, *booked]] if together else [account, booked]:
        house.take(*batch)
    assert receivable(house) == ["100.00"]
    house.take(*streamed("12", 225, line(7, 2, 220, "12", Op.UPDATE, reconciliation=5)))
    assert receivable(house) == ["0.00"]


def test_a_line_counts_whose_account_could_be_read_later_only(connection: Connection) -> None:
    house = with_books(connection, "late-account")
    account = row("account_account", 2, {"type": 1, "company": 1}, 200, tx="10", bordered=True)
    house.chores._read_again = lambda _: account
    house.take(*streamed("10", 205, Unreadable("t", "no JSON", "{", None)))
    house.take(*streamed("11", 215, line(7, 2, 210, "11")))
    assert house.retry(house.letters()[0])[0] == "done"
    assert receivable(house) == ["100.00"]


def test_a_sign_of_life_in_the_midst_of_a_transaction_does_not_say_that_all_is_told(connection: Connection) -> None:
    house = House(connection, "told-midway")
    house.snapshot("One", "Two")
    before = house.pipeline.position.told_until
    for last in (False, True):
        records: list[Record] = [
            party(1, "Uno", 200, Op.UPDATE, "9", bordered=True),
            TransactionEnd("9", 205, 2, 2_000_000),
        ]
        house.take(TransactionBegin("9"), *records[: 1 + last])
        house.take()
        house.pipeline.settle()
        assert house.pipeline.position.told_until == before
    house.take(party(2, "Zwei", 201, Op.UPDATE, "9", bordered=True))
    house.take()
    house.pipeline.settle()
    assert house.pipeline.position.told_until == NOW


def test_a_look_up_that_cannot_be_read_does_not_stop_the_sums_of_the_others(connection: Connection) -> None:
    house = with_books(connection, "bad-look-up")
    house.take(*streamed("10", 205, line(7, 1, 200, "10")))
    bad = [
        row("account_account_type", 2, {}, 210, tx="11", bordered=True),
        row("account_account", 2, {"type": 2, "company": 1}, 211, tx="11", bordered=True),
        line(8, 2, 212, "11"),
    ]
    house.take(*streamed("11", 215, *bad))
    house.take(*streamed("12", 225, row("account_account_type", 2, {"x": 1}, 220, Op.UPDATE, tx="12", bordered=True)))
    mended = row("account_account_type", 2, {"receivable": True}, 230, Op.UPDATE, tx="13", bordered=True)
    house.take(*streamed("13", 235, mended))
    assert receivable(house) == ["200.00"]
    house.take(*streamed("14", 245, row("account_account_type", 2, {}, 240, Op.UPDATE, tx="14", bordered=True)))
    assert receivable(house) == ["100.00"]
