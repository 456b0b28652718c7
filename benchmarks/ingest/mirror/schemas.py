"""The same events with their schemas, as Debezium writes them where converters are left at their defaults.

The sink makes tables and binds values by the schema in each message; the topic that the other sides read has none.
"""

from collections.abc import Iterator
from functools import cache
from itertools import chain
from typing import Any

import msgspec

from benchmarks.live.columns import all_tables
from benchmarks.workload.stream import SERVER, Workload, rows_of

_ENCODE = msgspec.json.encode
_TYPES: dict[str, dict[str, Any]] = {
    "boolean": {"type": "boolean"},
    "double precision": {"type": "double"},
    "integer": {"type": "int32"},
    "varchar": {"type": "string"},
    "numeric": {"type": "string"},
    "date": {"type": "int32", "name": "io.debezium.time.Date", "version": 1},
    "timestamp(6)": {"type": "int64", "name": "io.debezium.time.MicroTimestamp", "version": 1},
}
_SOURCE = {"version": "string", "connector": "string", "name": "string", "ts_ms": "int64", "db": "string",
           "schema": "string", "table": "string"}  # fmt: skip
_SOURCE_OPTIONAL = {"snapshot": "string", "sequence": "string", "ts_us": "int64", "ts_ns": "int64", "txId": "int64",
                    "lsn": "int64", "xmin": "int64", "origin": "string", "origin_lsn": "int64"}  # fmt: skip
_BLOCK = {"id": "string", "total_order": "int64", "data_collection_order": "int64"}
_MOMENTS = {"ts_ms": "int64", "ts_us": "int64", "ts_ns": "int64"}


class Row(msgspec.Struct, frozen=True):
    """A message with its schemas, and what it says: the row of `table` and `key` is `after` now, None where it is
    gone."""

    key: bytes
    value: bytes
    table: str
    id: int
    after: dict[str, Any] | None


class _Payload(msgspec.Struct):
    source: dict[str, Any]
    after: dict[str, Any] | None = None


def measured_rows(seed: int, warm: int, rows: int) -> Iterator[Row]:
    """The row changes of the measured part, repeats among them; `warm` rows come before it. Borders are left out:
    the sink has no use for them."""
    workload = Workload(seed)
    for _ in chain(workload.snapshot(), rows_of(workload, warm)):
        pass
    payload = msgspec.json.Decoder(_Payload).decode
    for topic, key, value in rows_of(workload, rows):
        if topic.endswith(".transaction"):
            continue
        table = topic.removeprefix(f"{SERVER}.public.")
        yield Row(
            _with(_key_schema(table), key),
            _with(_schema(table), value),
            table,
            msgspec.json.decode(key)["id"],
            payload(value).after,
        )


def _with(schema: bytes, payload: bytes) -> bytes:
    return b'{"schema":' + schema + b',"payload":' + payload + b"}"


@cache
def _schema(table: str) -> bytes:
    name = f"{SERVER}.public.{table}"
    columns = [
        {"field": column, "optional": column != "id", **_TYPES[kind]} for column, kind in all_tables()[table].items()
    ]
    value = {"type": "struct", "optional": True, "name": f"{name}.Value", "fields": columns}
    source = [*_fields(_SOURCE, optional=False), *_fields(_SOURCE_OPTIONAL, optional=True)]
    fields = [
        value | {"field": "before"},
        value | {"field": "after"},
        {"type": "struct", "optional": False, "name": "io.debezium.connector.postgresql.Source", "version": 1,
         "field": "source", "fields": source},
        {"type": "struct", "optional": True, "name": "event.block", "version": 1, "field": "transaction",
         "fields": _fields(_BLOCK, optional=False)},
        {"type": "string", "optional": False, "field": "op"},
        *_fields(_MOMENTS, optional=True),
    ]  # fmt: skip
    return _ENCODE({"type": "struct", "optional": False, "name": f"{name}.Envelope", "version": 2, "fields": fields})


@cache
def _key_schema(table: str) -> bytes:
    fields = [{"type": "int32", "optional": False, "field": "id"}]
    return _ENCODE({"type": "struct", "optional": False, "name": f"{SERVER}.public.{table}.Key", "fields": fields})


def _fields(types: dict[str, str], *, optional: bool) -> list[dict[str, Any]]:
    return [{"type": kind, "optional": optional, "field": name} for name, kind in types.items()]
