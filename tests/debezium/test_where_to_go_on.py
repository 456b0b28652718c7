"""What is decided before Debezium starts: go on, take a new snapshot, or refuse, because changes would be lost."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from connectors.debezium.embedded import open_embedded
from connectors.debezium.preflight import Server
from connectors.debezium.resuming import at_restart, where_to_go_on
from connectors.debezium.server import Slot
from connectors.debezium.settings import default_name, properties, read_options
from engine.ports.errors import ConfigError, SourceRefused
from engine.ports.source import SourceSetup

EPOCH = "pg:7000:1:arsync_erp"
OFFSET = {"lsn": 500, "lsn_proc": 480, "lsn_commit": 450, "txId": 7}
RESUME = {"epoch": EPOCH, "slot": "arsync_erp", "lsn": 500, "offset": OFFSET}
SLOT = Slot(confirmed=450, restart=400, lost=False, plugin="pgoutput", database="books")
SERVER = Server(epoch=EPOCH, end=900, slot=SLOT, publication_mode="filtered")
PASSWORD = "very-secret"


def setup(folder: Path, resume: dict[str, Any] | None = None, **options: Any) -> SourceSetup:
    held = {"database": "books", "user": "erp", "password": PASSWORD, **options}
    return SourceSetup("erp", held, ["public.invoice"], ["public.invoice.report"], resume, folder, 100)


def decide(asked: SourceSetup, server: Server = SERVER) -> object:
    return where_to_go_on(asked, read_options(asked), server)


@pytest.mark.parametrize("restart", [400, 470, 499, 800])
def test_debezium_begins_where_the_slot_does_whatever_the_offset_says(restart: int) -> None:
    slot = msgspec.structs.replace(SLOT, restart=restart)
    begun = {"lsn": restart, "lsn_proc": restart, "lsn_commit": restart, "messageType": "MESSAGE"}
    under_way = {
        "transaction_id": "7",
        "transaction_data_collection_order_public.invoice": 3,
        "messageType": "INSERT",
    }
    for offset in (OFFSET, OFFSET | under_way, {"lsn": 500, "lsn_commit": None}, {"lsn": 5, "snapshot": "INITIAL"}):
        assert at_restart(offset, slot) == begun
    assert at_restart(None, slot) is None
    assert at_restart(OFFSET, None) == OFFSET


def server(**changes: Any) -> Server:
    return msgspec.structs.replace(SERVER, **changes)


def slot(**changes: Any) -> Server:
    return server(slot=msgspec.structs.replace(SLOT, **changes))


def test_it_goes_on_where_the_engine_committed(tmp_path: Path) -> None:
    assert decide(setup(tmp_path, RESUME)) == OFFSET
    assert decide(setup(tmp_path, RESUME), slot(confirmed=500)) == OFFSET


def test_a_first_start_takes_a_snapshot(tmp_path: Path) -> None:
    assert decide(setup(tmp_path)) is None
    assert decide(setup(tmp_path), server(slot=None)) is None


@pytest.mark.parametrize("offset", [None, {"snapshot": "INITIAL", "last_snapshot_record": False, "lsn": 3}])
def test_a_snapshot_that_was_cut_short_is_taken_anew(tmp_path: Path, offset: object) -> None:
    for found in (SERVER, server(slot=None), slot(confirmed=800)):
        assert decide(setup(tmp_path, {**RESUME, "offset": offset}), found) is None


def test_a_snapshot_that_is_complete_is_gone_on_from(tmp_path: Path) -> None:
    offset = {"snapshot": "INITIAL", "last_snapshot_record": True, "lsn": 500}
    assert decide(setup(tmp_path, {**RESUME, "offset": offset})) == offset


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (server(slot=None), "arsync_erp is gone"),
        (slot(lost=True), "max_slot_wal_keep_size"),
        (slot(confirmed=501), "restored from a backup, or the slot was read by others"),
        (server(end=499), "the server was restored"),
        (server(epoch="pg:7000:2:arsync_erp"), "not the one that was read"),
    ],
)
def test_lost_changes_are_refused_until_a_new_epoch(tmp_path: Path, found: Server, words: str) -> None:
    with pytest.raises(SourceRefused, match=words) as refusal:
        decide(setup(tmp_path, RESUME), found)
    assert "`arsync run --new-epoch`" in str(refusal.value)
    assert decide(setup(tmp_path, RESUME, new_epoch=True), found) is None


def test_a_slot_of_another_kind_is_never_touched(tmp_path: Path) -> None:
    for found in (slot(plugin="wal2json"), slot(database="shop"), slot(plugin=None, database=None)):
        with pytest.raises(SourceRefused, match="another slot"):
            decide(setup(tmp_path, RESUME, new_epoch=True), found)


def test_a_named_slot_that_was_never_read_may_be_somebody_elses(tmp_path: Path) -> None:
    asked = setup(tmp_path, slot="reports")
    with pytest.raises(SourceRefused, match="reports exists"):
        decide(asked)
    (tmp_path / "slot").write_text(EPOCH, encoding="utf-8")
    assert decide(asked) is None
    assert decide(setup(tmp_path, slot="reports", new_epoch=True)) is None


def test_the_settings_that_the_engine_rests_on(tmp_path: Path) -> None:
    asked = setup(tmp_path, properties={"snapshot.fetch.size": 7, "database.tcpKeepAlive": True})
    held = properties(asked, read_options(asked), publication_mode="disabled")
    assert held["table.include.list"] == r"public\.invoice"
    assert held["column.exclude.list"] == r"public\.invoice\.report"
    assert (held["snapshot.fetch.size"], held["database.tcpKeepAlive"]) == ("7", "true")
    assert (held["provide.transaction.metadata"], held["decimal.handling.mode"]) == ("true", "string")
    assert (held["publication.autocreate.mode"], held["max.batch.size"]) == ("disabled", "100")
    assert held["lsn.flush.mode"] == "connector"
    assert PASSWORD not in repr(read_options(asked))


def test_names_that_postgresql_takes() -> None:
    assert default_name("My ERP-1") == "arsync_my_erp_1"
    assert len(default_name("x" * 99)) == 63


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"password": ""}, "password"),
        ({"passwort": "x"}, "passwort"),
        ({"port": "none"}, "port"),
        ({"heap": "512m -version"}, "heap"),
        ({"properties": {"slot.name": "x"}}, "slot.name"),
        ({"properties": {"offset.storage": "x"}}, "offset.storage"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as refusal:
        open_embedded(setup(tmp_path, **options))
    assert PASSWORD not in str(refusal.value)
