"""The decoder: each trap of Debezium's messages, with and without schemas, and hostile bytes."""

import base64
import decimal
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.debezium.envelope import PAYLOAD_LIMIT, decode, source_of
from engine.model.change import Op, RowChange, SnapshotMark, TransactionBegin, TransactionEnd, Unreadable

TOPIC = "erp.public.invoice"
PLACEHOLDER = "__debezium_unavailable_value"
SOURCE = {
    "connector": "postgresql",
    "name": "erp",
    "db": "books",
    "ts_ms": 1_700_000_000_123,
    "ts_us": 1_700_000_000_123_456,
    "snapshot": "false",
    "schema": "public",
    "table": "invoice",
    "txId": 77,
    "lsn": 900,
}


def envelope(**changes: Any) -> dict[str, Any]:
    """A change record, parts of it replaced; a part given as None is null."""
    held = {
        "before": None,
        "after": {"id": 4, "total": "12.10"},
        "source": SOURCE,
        "transaction": {"id": "77:900", "total_order": 1, "data_collection_order": 1},
        "op": "c",
        "ts_ms": 1_700_000_000_200,
    }
    return held | changes


def pack(value: Any) -> bytes:
    return json.dumps(value).encode()


def read(value: Any, key: Any = None, topic: str = TOPIC) -> Any:
    return decode(topic, pack({"id": 4} if key is None else key), pack(value))


def change(value: Any, key: Any = None) -> RowChange:
    record = read(value, key)
    assert isinstance(record, RowChange), record
    return record


def refused(value: Any, key: Any = None, topic: str = TOPIC) -> str:
    record = read(value, key, topic)
    assert isinstance(record, Unreadable), record
    assert record.origin == topic
    return record.reason


def wrap(payload: Any, columns: list[dict[str, Any]]) -> dict[str, Any]:
    """A message as JsonConverter writes it with schemas enabled."""
    images = [{"type": "struct", "optional": True, "field": name, "fields": columns} for name in ("before", "after")]
    return {"schema": {"type": "struct", "name": "erp.Envelope", "fields": images}, "payload": payload}


def test_a_streamed_change_keeps_all_that_counts() -> None:
    record = change(envelope())
    assert record == RowChange(
        table="invoice",
        key="4",
        op=Op.CREATE,
        row={"id": 4, "total": "12.10"},
        lsn=900,
        tx="77",
        source_us=1_700_000_000_123_456,
        bordered=True,
    )


def test_transactions_are_told_by_the_source_not_by_the_position_of_the_event() -> None:
    one = change(envelope(transaction={"id": "77:900"}))
    two = change(envelope(source={**SOURCE, "lsn": 950}, transaction={"id": "77:950"}))
    assert one.tx == two.tx == "77"
    bare = change(envelope(transaction=None, source={**SOURCE, "txId": None}))
    assert (bare.tx, bare.bordered) == (None, False)


def test_milliseconds_do_where_microseconds_are_missing() -> None:
    source = {name: held for name, held in SOURCE.items() if name != "ts_us"}
    assert change(envelope(source=source)).source_us == 1_700_000_000_123_000


@pytest.mark.parametrize(
    ("op", "mark", "expected"),
    [
        ("r", "first", SnapshotMark.ROW),
        ("r", "true", SnapshotMark.ROW),
        ("r", True, SnapshotMark.ROW),
        ("r", "first_in_data_collection", SnapshotMark.ROW),
        ("r", "last_in_data_collection", SnapshotMark.ROW),
        ("r", "last", SnapshotMark.LAST),
        ("r", "incremental", SnapshotMark.INCREMENTAL),
        ("r", "false", SnapshotMark.INCREMENTAL),
        ("u", "false", SnapshotMark.NONE),
        ("u", False, SnapshotMark.NONE),
        ("u", None, SnapshotMark.NONE),
    ],
)
def test_snapshot_marks(op: str, mark: object, expected: SnapshotMark) -> None:
    assert change(envelope(op=op, source={**SOURCE, "snapshot": mark})).snapshot is expected


def test_an_unknown_snapshot_mark_is_not_guessed_at() -> None:
    assert "'sideways'" in refused(envelope(source={**SOURCE, "snapshot": "sideways"}))


def test_a_delete_gives_the_row_as_it_was() -> None:
    record = change(envelope(op="d", before={"id": 4, "total": "1.00"}, after=None))
    assert (record.op, record.row) == (Op.DELETE, {"id": 4, "total": "1.00"})


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_delete_without_a_before_image_still_has_its_key(wrapped: bool) -> None:
    value = envelope(op="d", before=None, after=None)
    del value["before"]
    record = change(wrap(value, []) if wrapped else value)
    assert record.row == {"id": 4}


def test_an_update_without_a_before_image_is_whole() -> None:
    assert change(envelope(op="u", before=None)).row["total"] == "12.10"


@pytest.mark.parametrize("held", [PLACEHOLDER, base64.b64encode(PLACEHOLDER.encode()).decode(), [PLACEHOLDER]])
def test_a_large_column_that_did_not_change_is_named(held: object) -> None:
    after = {"id": 4, "note": held, "total": "12.10", "text": f"not {PLACEHOLDER}"}
    assert change(envelope(op="u", after=after)).unavailable == ("note",)
    columns = [{"field": "note", "type": "bytes", "name": "org.apache.kafka.connect.data.Decimal"}]
    assert change(wrap(envelope(op="u", after=after), columns)).unavailable == ("note",)


def test_a_key_of_several_columns_keeps_its_order() -> None:
    assert change(envelope(), {"line": 9, "invoice": "A"}).key == "9/A"
    assert change(envelope(), {"__dbz__physicalTableIdentifier": "x", "id": 4}).key == "4"


def test_a_key_with_a_schema() -> None:
    fields = [
        {
            "type": "bytes",
            "name": "org.apache.kafka.connect.data.Decimal",
            "parameters": {"scale": "0"},
            "field": "id",
        }
    ]
    held = {"schema": {"type": "struct", "fields": fields}, "payload": {"id": base64.b64encode(b"\x01\x00").decode()}}
    assert change(envelope(), held).key == "256"


@pytest.mark.parametrize("key", [None, b"null", b"{}", b'{"schema":null,"payload":null}'])
def test_a_row_without_a_key_is_not_taken(key: bytes | None) -> None:
    record = decode(TOPIC, key, pack(envelope()))
    assert isinstance(record, Unreadable)
    assert "primary key" in record.reason


@pytest.mark.parametrize("held", [None, 1.5, True, {"a": 1}])
def test_a_key_that_names_no_row_is_not_taken(held: object) -> None:
    assert "names no row" in refused(envelope(), {"id": held})


@pytest.mark.parametrize(
    ("topic", "key", "value"),
    [
        (TOPIC, pack({"id": 4}), None),
        (TOPIC, pack({"id": 4}), b"null"),
        (TOPIC, pack({"id": 4}), pack({"schema": None, "payload": None})),
        ("__debezium-heartbeat.erp", pack({"serverName": "erp"}), pack({"ts_ms": 1})),
        ("erp.message", pack({"prefix": "x"}), pack({"op": "m", "source": SOURCE, "message": {"prefix": "x"}})),
        ("erp", None, pack({"source": SOURCE, "databaseName": "books", "ddl": "x", "tableChanges": []})),
    ],
    ids=["tombstone", "null", "null with schema", "heartbeat", "message", "schema change"],
)
def test_there_is_nothing_to_do(topic: str, key: bytes | None, value: bytes | None) -> None:
    assert decode(topic, key, value) is None


def test_the_borders_of_a_transaction() -> None:
    begin = {"status": "BEGIN", "id": "77:880", "event_count": None, "data_collections": None, "ts_ms": 1_700}
    end = {"status": "END", "id": "77:960", "event_count": 3, "data_collections": [], "ts_ms": 1_700}
    for wrapped in (False, True):
        ask = (lambda held: wrap(held, [])) if wrapped else (lambda held: held)
        assert read(ask(begin), topic="erp.transaction") == TransactionBegin("77")
        assert read(ask(end), topic="erp.transaction") == TransactionEnd("77", 960, 3, 1_700_000)
    assert "event_count" in refused({**end, "event_count": None}, topic="erp.transaction")
    assert "position" in refused({**end, "id": "77"}, topic="erp.transaction")
    assert "'MIDDLE'" in refused({**end, "status": "MIDDLE"}, topic="erp.transaction")


def test_a_truncated_table_is_told() -> None:
    reason = refused(envelope(op="t", after=None))
    assert "invoice was truncated" in reason
    assert "--new-epoch" in reason


def test_what_cannot_be_read_names_its_transaction_where_that_counts_it() -> None:
    assert read(envelope(op="t", after=None)).tx == "77"
    assert read(envelope(op="t", after=None, transaction=None)).tx is None, "no border is announced"
    assert read(envelope(op="t", source={**SOURCE, "snapshot": "true"})).tx is None
    assert read(wrap(envelope(op="t", after=None), [])).tx == "77"
    odd: list[Any] = [None, [], {**SOURCE, "txId": None}, {**SOURCE, "txId": [1]}, {**SOURCE, "snapshot": [1]}]
    for source in odd:
        assert read(envelope(op="t", source=source)).tx is None


def test_a_flattened_record_names_the_transform() -> None:
    assert "ExtractNewRecordState" in refused({"id": 4, "total": "12.10", "__deleted": "false"})
    assert "ExtractNewRecordState" in refused({"id": 4, "source": "web", "status": "END", "after": 3})


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (envelope(op="x"), "'x'"),
        (envelope(op=5), "op"),
        (envelope(source=None), "source"),
        (envelope(after=None), "after"),
        (envelope(source={**SOURCE, "lsn": None}), "lsn"),
        (envelope(source={**SOURCE, "lsn": "abc"}), "lsn"),
        (envelope(source={**SOURCE, "ts_us": None, "ts_ms": None}), "time"),
        (envelope(after=[1]), "after"),
        ([1, 2], "list"),
        ("text", "str"),
    ],
)
def test_what_is_malformed_is_kept_with_its_reason(value: object, words: str) -> None:
    assert words in refused(value)


def test_what_is_kept_is_bounded_and_can_be_stored() -> None:
    record = decode(TOPIC, b"{}", b'{"op": "c", "x": "\x00' + "ü€".encode() * PAYLOAD_LIMIT)
    assert isinstance(record, Unreadable)
    assert PAYLOAD_LIMIT - 4 < len(record.payload.encode()) <= PAYLOAD_LIMIT
    assert "\x00" not in record.payload
    broken = decode(TOPIC, b"{}", b"\xff" * PAYLOAD_LIMIT)
    assert isinstance(broken, Unreadable)
    assert len(broken.payload.encode()) <= PAYLOAD_LIMIT


@given(st.binary(max_size=300), st.binary(max_size=50), st.sampled_from([TOPIC, "erp.transaction"]))
def test_no_bytes_raise(value: bytes, key: bytes, topic: str) -> None:
    decode(topic, key, value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["op", "source", "after", "before", "schema", "payload", "status", "id"]),
                inner,
                max_size=5,
            )
        ),
    )
)
def test_no_json_raises(value: Any) -> None:
    record = read(value, topic="erp.transaction")
    assert record is None or isinstance(record, Unreadable | TransactionBegin | TransactionEnd)
    read(value)


def test_deep_nesting_does_not_raise() -> None:
    assert isinstance(decode(TOPIC, b'{"id": 1}', b"[" * 100_000), Unreadable)
    deep = wrap(envelope(), [])
    packed = pack(deep).replace(b'"fields": []', b'"items": ' + b'{"items": ' * 9_000 + b"null" + b"}" * 9_000)
    assert isinstance(decode(TOPIC, b'{"id": 1}', packed), RowChange | Unreadable)


def test_huge_numbers_and_text_of_many_bytes_stay_exact() -> None:
    after = {"id": 2**80, "name": "Żółć 🧾 \u2028", "total": "1" * 60 + ".10"}
    assert change(envelope(after=after), {"id": 2**80}).row == after


def unscaled(value: Decimal, scale: int) -> str:
    with decimal.localcontext(decimal.Context(prec=500)):
        whole = int(value.scaleb(scale))
    size = (whole.bit_length() // 8) + 1
    return base64.b64encode(whole.to_bytes(size, "big", signed=True)).decode()


@given(st.integers(min_value=-(10**60), max_value=10**60), st.integers(min_value=0, max_value=30))
def test_precise_decimals_read_like_text(whole: int, scale: int) -> None:
    with decimal.localcontext(decimal.Context(prec=500)):
        value = Decimal(whole).scaleb(-scale)
        text = format(value, "f")
    as_text = change(envelope(after={"id": 4, "total": text, "free": text}))
    columns: list[dict[str, Any]] = [
        {
            "field": "total",
            "type": "bytes",
            "name": "org.apache.kafka.connect.data.Decimal",
            "parameters": {"scale": str(scale)},
        },
        {"field": "free", "type": "struct", "name": "io.debezium.data.VariableScaleDecimal"},
    ]
    held = unscaled(value, scale)
    after = {"id": 4, "total": held, "free": {"scale": scale, "value": held}}
    assert change(wrap(envelope(after=after), columns)).row == as_text.row


def test_a_decimal_of_negative_scale() -> None:
    columns = [{"field": "free", "type": "struct", "name": "io.debezium.data.VariableScaleDecimal"}]
    after = {"free": {"scale": -2, "value": base64.b64encode(b"\xff").decode()}}
    assert change(wrap(envelope(after=after), columns)).row == {"free": "-100"}


def test_dates_and_times_stay_numbers_and_nanoseconds_become_micros() -> None:
    kinds: dict[str, tuple[str, str | None, Any, Any]] = {
        "day": ("int32", "io.debezium.time.Date", 20_000, 20_000),
        "ms": ("int64", "io.debezium.time.Timestamp", 1_700_000_000_123, 1_700_000_000_123),
        "us": ("int64", "io.debezium.time.MicroTimestamp", 1_700_000_000_123_456, 1_700_000_000_123_456),
        "ns": ("int64", "io.debezium.time.NanoTimestamp", 1_700_000_000_123_456_789, 1_700_000_000_123_456),
        "iso": ("string", "io.debezium.time.ZonedTimestamp", "2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
        "date": ("int32", "org.apache.kafka.connect.data.Date", 20_000, 20_000),
        "time": ("int64", "org.apache.kafka.connect.data.Timestamp", 1_700_000_000_123, 1_700_000_000_123),
        "none": ("int64", "io.debezium.time.NanoTimestamp", None, None),
        "quantity": ("double", None, 1.5, 1.5),
    }
    columns: list[dict[str, Any]] = [
        {"field": field, "type": kind[0], "name": kind[1]} for field, kind in kinds.items()
    ]
    after = {field: kind[2] for field, kind in kinds.items()}
    assert change(wrap(envelope(after=after), columns)).row == {field: kind[3] for field, kind in kinds.items()}


def test_a_decimal_that_is_no_base64_is_refused() -> None:
    columns = [{"field": "total", "type": "bytes", "name": "org.apache.kafka.connect.data.Decimal"}]
    assert refused(wrap(envelope(after={"total": "12.10"}), columns))


def test_where_a_message_comes_from() -> None:
    assert source_of(pack(envelope())) == "erp/books"
    assert source_of(pack(wrap(envelope(), []))) == "erp/books"
    assert source_of(None) is None
    assert source_of(b'{"status": "BEGIN"}') is None
    assert source_of(b"{") is None
