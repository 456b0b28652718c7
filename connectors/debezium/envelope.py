"""Decodes one Debezium message into one record of the model. Every source of this package calls it.

It keeps no state and raises nothing: a message that cannot be read becomes an `Unreadable` with its reason.
JSON comes with schemas or without; both give the same record. Money never passes through a float.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from connectors.debezium.columns import Row, RowReader, key_reader, row_reader
from engine.model.change import Op, Record, RowChange, SnapshotMark, TransactionBegin, TransactionEnd, Unreadable

PAYLOAD_LIMIT: Final = 1 << 20
HEARTBEATS: Final = "__debezium-heartbeat"
BORDERS: Final = ".transaction"

_OPS: Final = {"c": Op.CREATE, "u": Op.UPDATE, "d": Op.DELETE, "r": Op.READ}
_MARKS: Final[Mapping[str | bool | None, SnapshotMark]] = {
    None: SnapshotMark.NONE,
    "false": SnapshotMark.NONE,
    "true": SnapshotMark.ROW,
    "first": SnapshotMark.ROW,
    "first_in_data_collection": SnapshotMark.ROW,
    "last_in_data_collection": SnapshotMark.ROW,
    "last": SnapshotMark.LAST,
    "incremental": SnapshotMark.INCREMENTAL,
    False: SnapshotMark.NONE,
    True: SnapshotMark.ROW,
}
# What Debezium writes for a large column that did not change, and the same as a column of bytes shows it.
_PLACEHOLDER: Final = "__debezium_unavailable_value"
_PLACEHOLDER_BYTES: Final = "X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="
_PLACEHOLDERS: Final = (
    _PLACEHOLDER,
    _PLACEHOLDER_BYTES,
    [_PLACEHOLDER],
    [_PLACEHOLDER_BYTES],
    {_PLACEHOLDER: _PLACEHOLDER},
)
_MARK_PLAIN: Final = _PLACEHOLDER.encode()
_MARK_BYTES: Final = _PLACEHOLDER_BYTES.encode()


class _Source(Struct, gc=False, rename={"tx": "txId"}):
    """Where a change comes from; its other fields are passed over unread."""

    table: str
    lsn: int | None = None
    tx: int | str | None = None
    ts_us: int | None = None
    ts_ms: int | None = None
    snapshot: str | bool | None = None


class _Transaction(Struct, gc=False):
    """Only its presence counts: its `id` holds the event's own position, not the transaction's."""


class _Message(Struct, gc=False):
    """All shapes of a message at once, so that one pass over the bytes is enough.

    `before` stays unparsed: only a delete needs it.
    """

    op: str | UnsetType = UNSET
    source: _Source | None = None
    before: Raw = Raw(b"null")
    after: Row | None = None
    transaction: _Transaction | None = None
    status: str | UnsetType = UNSET
    id: Any = None
    event_count: int | None = None
    ts_ms: int | None = None
    schema: Raw | UnsetType = UNSET
    payload: Raw | UnsetType = UNSET


class _Wrapped(Struct, gc=False):
    """A message in the shape that JsonConverter gives with schemas enabled."""

    schema: Raw | UnsetType = UNSET
    payload: Raw | UnsetType = UNSET


class _Named(Struct, gc=False):
    name: str = ""
    db: str = ""


class _Origin(Struct, gc=False):
    source: _Named | None = None


class _Refusal(Exception):
    """The message cannot be read; its text is the reason."""


_NULL: Final = b"null"
_message: Final = msgspec.json.Decoder(_Message)
_wrapped: Final = msgspec.json.Decoder(_Wrapped)
_origin: Final = msgspec.json.Decoder(_Origin)
_row: Final = msgspec.json.Decoder(Row | None)
_anything: Final = msgspec.json.Decoder()


def decode(topic: str, key: bytes | None, value: bytes | None) -> Record | None:
    """Read one message. None means that there is nothing to do: a tombstone, a heartbeat, a message, a schema.

    `topic` is the topic or destination; `key` and `value` are JSON as UTF-8, None where the message has none.
    """
    if value is None or value == _NULL or topic.startswith(HEARTBEATS):
        return None
    try:
        return _decode(topic, key, value)
    except (_Refusal, msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError) as error:
        return _explain(topic, key, value, error)


def read_again(unreadable: Unreadable) -> Record | None:
    """Decode a message once more that was kept as text: its origin is its topic."""
    key = None if unreadable.key is None else unreadable.key.encode()
    return decode(unreadable.origin, key, unreadable.payload.encode())


def source_of(value: bytes | None) -> str | None:
    """The connector's name and the database of a data message, as `name/database`; None for any other message."""
    try:
        body: bytes | Raw = value or _NULL
        wrapped = _wrapped.decode(body)
        if isinstance(wrapped.payload, Raw):
            body = wrapped.payload
        source = _origin.decode(body).source
    except msgspec.MsgspecError:
        return None
    return f"{source.name}/{source.db}" if source and source.name else None


def _decode(topic: str, key: bytes | None, value: bytes) -> Record | None:
    message = _message.decode(value)
    reader: RowReader | None = None
    if message.op is UNSET and message.schema is not UNSET and message.payload is not UNSET:
        payload = bytes(message.payload)
        if payload == _NULL:
            return None
        reader = row_reader(bytes(message.schema))
        message = _message.decode(payload)
    if message.op is UNSET:
        if message.status is not UNSET and (topic.endswith(BORDERS) or _borders(message)):
            return _border(message)
        raise _Refusal("it is not a change record")
    if message.op == "m":
        return None
    if message.source is None:
        raise _Refusal("its field `source` is missing")
    return _change(message, message.source, key, reader, value)


def _change(
    message: _Message, source: _Source, key: bytes | None, reader: RowReader | None, value: bytes
) -> RowChange:
    op = _OPS.get(message.op)  # type: ignore[arg-type]
    if op is None:
        raise _Refusal(_strange_op(str(message.op), source.table))
    name, key_row = _key(key, source.table)
    if op is Op.DELETE:
        row = _row.decode(message.before) or key_row
    elif message.after is None:
        raise _Refusal(f"its field `after` is missing, though the row of {source.table} was not deleted")
    else:
        row = message.after
    unavailable: tuple[str, ...] = ()
    if _MARK_PLAIN in value or _MARK_BYTES in value:
        unavailable = tuple(column for column, held in row.items() if held in _PLACEHOLDERS)
    if reader is not None:
        reader(row, unavailable)
    if source.lsn is None:
        raise _Refusal(f"its source names no log position (lsn) for {source.table}; is the ERP on PostgreSQL?")
    return RowChange(
        table=source.table,
        key=name,
        op=op,
        row=row,
        lsn=source.lsn,
        tx=None if source.tx is None else str(source.tx),
        source_us=_micros(source),
        bordered=message.transaction is not None,
        snapshot=_mark(op, source),
        unavailable=unavailable,
    )


def _key(key: bytes | None, table: str) -> tuple[str, Row]:
    """The primary key as text, and as columns."""
    fields: Any = None
    if key is not None:
        fields = _anything.decode(key)
        if type(fields) is dict and len(fields) == 1:
            # Most keys are one number: nothing of what follows applies to them.
            (held,) = fields.values()
            if type(held) is int and not next(iter(fields)).startswith("__dbz__"):
                return str(held), fields
        if isinstance(fields, dict) and fields.keys() == {"schema", "payload"}:
            schema = _wrapped.decode(key).schema
            fields = fields["payload"]
            if isinstance(schema, Raw) and isinstance(fields, dict):
                key_reader(bytes(schema))(fields, ())
    if fields is None or fields == {}:
        raise _Refusal(f"it has no key; give {table} a primary key, or name one in message.key.columns")
    if not isinstance(fields, dict):
        fields = {"key": fields}
    # A router that joins topics adds a field of its own, which is no part of the row's key.
    fields = {column: held for column, held in fields.items() if not column.startswith("__dbz__")}
    for column, held in fields.items():
        if isinstance(held, bool) or not isinstance(held, int | str):
            raise _Refusal(f"the column {column} of the key of {table} holds {held!r}, which names no row")
    return "/".join(map(str, fields.values())), fields


def _mark(op: Op, source: _Source) -> SnapshotMark:
    mark = _MARKS.get(source.snapshot)
    if mark is None:
        raise _Refusal(f"its snapshot mark is {source.snapshot!r}, which is not known")
    # A row that was read, and not changed, can never count as a streamed change.
    return SnapshotMark.INCREMENTAL if op is Op.READ and mark is SnapshotMark.NONE else mark


def _micros(source: _Source) -> int:
    if source.ts_us is not None:
        return source.ts_us
    if source.ts_ms is None:
        raise _Refusal("its source names no time (ts_us or ts_ms)")
    return source.ts_ms * 1_000


def _borders(message: _Message) -> bool:
    """Whether it is a transaction's border in a topic that holds the changes, too.

    A flattened row of a table with the columns `status` and `id` is none: its id names no transaction and position.
    """
    return message.status in {"BEGIN", "END"} and isinstance(message.id, str) and ":" in message.id


def _border(message: _Message) -> TransactionBegin | TransactionEnd:
    tx, colon, lsn = str(message.id).partition(":")
    if message.status == "BEGIN" and tx and message.id is not None:
        return TransactionBegin(tx)
    if message.status != "END":
        raise _Refusal(f"it borders a transaction, but its status is {message.status!r} and its id {message.id!r}")
    if not colon or message.event_count is None or message.ts_ms is None:
        raise _Refusal(f"it ends the transaction {message.id!r}, but lacks its position, event_count or ts_ms")
    return TransactionEnd(tx=tx, lsn=int(lsn), count=message.event_count, source_us=message.ts_ms * 1_000)


def _strange_op(op: str, table: str) -> str:
    if op == "t":
        return (
            f"the table {table} was truncated: its rows vanished without being deleted one by one; "
            "take a new snapshot with `arsync run --new-epoch`"
        )
    return f"its operation {op!r} on {table} is not known"


def _explain(topic: str, key: bytes | None, value: bytes, error: Exception) -> Unreadable | None:
    """Find the clearest reason why a message could not be read; it may also turn out to be none of ours."""
    reason = f"the message of {topic} cannot be read: {error}"
    tx: str | None = None
    try:
        body = _anything.decode(value)
        if isinstance(body, dict) and body.keys() == {"schema", "payload"}:
            body = body["payload"]
    except (msgspec.MsgspecError, ValueError, RecursionError) as fault:
        reason = f"the message of {topic} is not JSON: {fault}"
    else:
        if not isinstance(body, dict):
            reason = f"the message of {topic} is {type(body).__name__}, not a JSON object"
        elif "op" not in body and ("ddl" in body or "tableChanges" in body):
            return None
        elif "op" not in body and not topic.endswith(BORDERS):
            reason = (
                f"the message of {topic} is not a change record with `op` and `source`: it looks flattened; remove "
                "the transform ExtractNewRecordState from the connector, for it drops what the order rests on"
            )
        else:
            tx = _bordered_tx(body)
    name = None if key is None else storable(key)
    return Unreadable(origin=storable(topic), reason=storable(reason), payload=storable(value), key=name, tx=tx)


def _bordered_tx(body: dict[str, Any]) -> str | None:
    """The transaction to whose rows the message was counted, as far as it says so; a snapshot's rows are in none."""
    source = body.get("source")
    if body.get("transaction") is None or not isinstance(source, dict):
        return None
    tx, mark = source.get("txId"), source.get("snapshot")
    streamed = isinstance(mark, str | bool | None) and _MARKS.get(mark) is SnapshotMark.NONE
    return storable(str(tx)) if streamed and isinstance(tx, int | str) else None


def storable(text: bytes | str) -> str:
    """Text that a database stores: valid, without NUL, at most 1 MiB as UTF-8."""
    held = text.encode("utf-8", "replace") if isinstance(text, str) else text
    clean = held[:PAYLOAD_LIMIT].decode("utf-8", "replace").replace("\x00", "\ufffd")
    return clean.encode()[:PAYLOAD_LIMIT].decode("utf-8", "ignore")
