"""Avro as a schema registry's converter writes it gives the very records that JSON gives.

The registry here is a server with the one answer that a registry gives to a reader, and the messages are written by
fastavro with schemas of Debezium's form: the converter itself is in no public Maven repository.
"""

import base64
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import fastavro
import pytest

from connectors.debezium.envelope import decode
from connectors.debezium.kafka.settings import Options, Registry
from connectors.debezium.kafka.source import decoder
from engine.model.change import RowChange, Unreadable
from engine.ports.errors import SourceError, SourceRefused

ROW = {
    "type": "record", "name": "Value", "namespace": "erp.public.invoice", "fields": [
        {"name": "id", "type": "int"},
        {"name": "text", "type": ["null", "string"]},
        {"name": "total", "type": ["null", {"type": "bytes", "scale": 2, "precision": 12, "logicalType": "decimal",
                                            "connect.name": "org.apache.kafka.connect.data.Decimal",
                                            "connect.parameters": {"scale": "2"}}]},
        {"name": "any", "type": ["null", {"type": "record", "name": "VariableScaleDecimal",
                                          "namespace": "io.debezium.data",
                                          "connect.name": "io.debezium.data.VariableScaleDecimal",
                                          "fields": [{"name": "scale", "type": "int"},
                                                     {"name": "value", "type": "bytes"}]}]},
        {"name": "day", "type": ["null", {"type": "int", "logicalType": "date",
                                          "connect.name": "org.apache.kafka.connect.data.Date"}]},
        {"name": "at", "type": ["null", {"type": "long", "connect.name": "io.debezium.time.NanoTimestamp"}]},
        {"name": "file", "type": ["null", "bytes"]},
        {"name": "tags", "type": ["null", {"type": "array", "items": ["null", "string"]}]},
    ],
}  # fmt: skip
ENVELOPE = {
    "type": "record", "name": "Envelope", "namespace": "erp.public.invoice", "fields": [
        {"name": "before", "type": ["null", ROW]},
        {"name": "after", "type": ["null", "erp.public.invoice.Value"]},
        {"name": "source", "type": {"type": "record", "name": "Source", "namespace": "io.debezium", "fields": [
            {"name": "table", "type": "string"}, {"name": "lsn", "type": ["null", "long"]},
            {"name": "txId", "type": ["null", "long"]}, {"name": "ts_us", "type": ["null", "long"]},
            {"name": "snapshot", "type": ["null", "string"]}]}},
        {"name": "transaction", "type": ["null", {"type": "record", "name": "block", "namespace": "event", "fields": [
            {"name": "id", "type": "string"}]}]},
        {"name": "op", "type": "string"},
    ],
}  # fmt: skip
KEY = {"type": "record", "name": "Key", "namespace": "erp.public.invoice", "fields": [{"name": "id", "type": "int"}]}
SCHEMAS = {7: KEY, 8: ENVELOPE}


@pytest.fixture
def registry() -> Iterator[str]:
    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            schema = SCHEMAS.get(int(self.path.rpartition("/")[2]))
            body = json.dumps({"schema": json.dumps(schema)}).encode()
            self.send_response(200 if schema else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def avro(number: int, value: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(_plain(SCHEMAS[number])), value)
    return b"\x00" + number.to_bytes(4, "big") + out.getvalue()


def _plain(schema: Any) -> Any:
    """Without logical types, so that the test says the bytes themselves."""
    if isinstance(schema, list):
        return [_plain(one) for one in schema]
    if isinstance(schema, dict):
        return {name: _plain(held) for name, held in schema.items() if name != "logicalType"}
    return schema


def reading(registry: str) -> Any:
    return decoder(Options(bootstrap="h:1", topic="t", format="avro", registry=Registry(url=registry)))


def test_it_gives_the_records_of_json(registry: str) -> None:
    cents = (-1234567).to_bytes(3, "big", signed=True)
    row = {"id": 5, "text": "Überweisung", "total": cents, "any": {"scale": 3, "value": (1500).to_bytes(2, "big")},
           "day": 20487, "at": 1_795_380_291_550_480_123, "file": b"\x00\x01", "tags": ["a", None]}  # fmt: skip
    source = {"table": "invoice", "lsn": 100, "txId": 7, "ts_us": 9_000, "snapshot": "false"}
    value = {"before": None, "after": row, "source": source, "transaction": {"id": "7:100"}, "op": "u"}
    told = reading(registry)("erp.changes", avro(7, {"id": 5}), avro(8, value))
    plain = {
        **row, "total": "-12345.67", "any": "1.500", "at": 1_795_380_291_550_480,
        "file": base64.b64encode(b"\x00\x01").decode(),
    }  # fmt: skip
    same = json.dumps({**value, "after": plain}).encode()
    assert isinstance(told, RowChange)
    assert told == decode("erp.changes", b'{"id": 5}', same)
    deleted = reading(registry)("erp.changes", avro(7, {"id": 5}), avro(8, {**value, "before": row, "after": None, "op": "d"}))  # fmt: skip # noqa: E501
    assert deleted.row == plain
    assert reading(registry)("erp.changes", avro(7, {"id": 5}), None) is None


def test_what_cannot_be_read_is_kept(registry: str) -> None:
    read = reading(registry)
    assert isinstance(read("t", avro(7, {"id": 5}), b'{"op": "u"}'), Unreadable)
    source = {"table": "t", "lsn": None, "txId": None, "ts_us": None, "snapshot": None}
    whole = avro(8, {"before": None, "after": None, "source": source, "transaction": None, "op": "d"})
    assert isinstance(read("t", avro(7, {"id": 5}), whole[:-4]), Unreadable)


def test_a_registry_that_is_away_or_another_one_is_named(registry: str) -> None:
    with pytest.raises(SourceRefused, match="does not know schema 99"):
        reading(registry)("t", None, b"\x00\x00\x00\x00\x63abc")
    with pytest.raises(SourceError, match="does not answer"):
        reading("http://127.0.0.1:9")("t", None, avro(7, {"id": 1}))
