"""An ERP that was restored has lower positions: what its new snapshot tells replaces what was mirrored."""

import datetime as dt
from typing import Any

import pytest

from connectors.tryton.mapping import TrytonMapping
from engine.app.wiring import enter_system
from engine.flow.pipeline import Pipeline
from engine.flow.units import Grouper
from engine.model.change import Op, Record, RowChange, SnapshotMark, TransactionBegin, TransactionEnd
from engine.ports.errors import SourceRefused
from engine.ports.source import SourceBatch
from engine.rules.policy import Policy
from engine.store import queries
from engine.store.unit import Connection

NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)


def party(key: int, name: str, lsn: int, op: Op = Op.READ, tx: str | None = None, **marks: Any) -> RowChange:
    row = {"id": key, "name": name, "code": str(key), "active": True, "create_date": 1, "write_date": None,
           "replaced_by": None}  # fmt: skip
    return RowChange("party_party", str(key), op, row, lsn, tx, 1_000_000, **marks)


def snapshot(lsn: int, **names: str) -> list[Record]:
    rows = [party(int(key[1:]), name, lsn, snapshot=SnapshotMark.ROW) for key, name in names.items()]
    return [*rows[:-1], party(int(rows[-1].key), rows[-1].row["name"], lsn, snapshot=SnapshotMark.LAST)]


def streamed(tx: str, lsn: int, key: int, name: str, *, second: int = 2) -> list[Record]:
    row = party(key, name, lsn, Op.UPDATE, tx, bordered=True)
    return [TransactionBegin(tx), row, TransactionEnd(tx, lsn + 1, 1, second * 1_000_000)]


def read(connection: Connection, system: str, epoch: str, *batches: list[Record]) -> dict[str, str]:
    """The customers' names after these batches, by a pipeline of its own."""
    pipeline = Pipeline(connection, system, TrytonMapping(), Policy(), lambda: NOW, epoch=epoch)
    for place, records in enumerate(batches):
        pipeline.take(SourceBatch(records, {"place": place}))
    pipeline.catch_up()
    with connection.cursor() as cursor:
        return {row["key"]: row["name"] for row in queries.list_customers(cursor, system)}


def test_a_restored_erp_s_word_replaces_what_was_newer(connection: Connection) -> None:
    system = "restored"
    enter_system(connection, system, "tryton")
    before = read(connection, system, "log@1", snapshot(5000, p1="One", p2="Two"), streamed("900", 6000, 1, "Uno"))
    assert before == {"1": "Uno", "2": "Two"}
    # The same server, set back to before all this, and a customer fewer.
    after = read(connection, system, "log@2", snapshot(300, p1="One"), streamed("20", 400, 1, "Eins"))
    assert after == {"1": "Eins"}
    again = read(connection, system, "log@2", streamed("20", 400, 1, "Eins"), streamed("21", 500, 1, "Ein"))
    assert again == {"1": "Ein"}
    told = connection.execute(
        "SELECT body FROM journal WHERE stream = %s AND kind = 'config' ORDER BY seq", (f"{system}/changes",)
    ).fetchall()
    assert ["before" in body for (body,) in told] == [False, True]
    assert '"before":"log@1"' in told[1][0]


def test_within_an_epoch_what_is_older_changes_nothing(connection: Connection) -> None:
    system = "same-epoch"
    enter_system(connection, system, "tryton")
    read(connection, system, "log@1", snapshot(5000, p1="One"), streamed("900", 6000, 1, "Uno"))
    assert read(connection, system, "log@1", streamed("20", 400, 1, "Eins")) == {"1": "Uno"}


def test_a_log_that_went_back_and_took_another_way_is_refused(connection: Connection) -> None:
    """Its end lies behind what was read, so that only the times of its transactions give it away."""
    system = "went-back"
    enter_system(connection, system, "tryton")
    kept = read(connection, system, "log@1", snapshot(5000, p1="One"), streamed("900", 6000, 1, "Uno", second=60))
    assert kept == {"1": "Uno"}
    with pytest.raises(SourceRefused, match=r"restored from a backup; .* `arsync run --new-epoch`"):
        read(connection, system, "log@1", streamed("870", 5500, 1, "Eins", second=7200))
    assert read(connection, system, "log@1") == {"1": "Uno"}


@pytest.mark.parametrize("seconds", [0, 2, 60])
def test_a_repeat_is_no_other_log(seconds: int) -> None:
    """Also when the times of two transactions stand the other way round than their ends, by less than a second."""
    grouper = Grouper(commit=6001, source_us=60_500_000, snapshot=None, snapshot_complete=True, pending=[])
    assert list(grouper.feed(streamed("870", 5500, 1, "Uno", second=61 - seconds))) == []
    with pytest.raises(SourceRefused):
        list(grouper.feed(streamed("871", 5600, 1, "Uno", second=62)))
