"""Messages in Avro, as Kafka Connect's Avro converters write them, brought into the JSON that the decoder reads.

`connectors.debezium.kafka.reading` calls it for systems whose `format` is avro. What comes out is what Debezium would
have written as JSON without schemas, so that both give the same values: the one decoder reads both.
"""

import base64
import io
from collections.abc import Callable
from typing import Any, Final

import fastavro
import httpx
import msgspec

from connectors.debezium.columns import decimal_text
from connectors.debezium.kafka.settings import Registry
from engine.ports.errors import SourceError, SourceRefused

_MAGIC: Final = 0
_HEAD: Final = 5
_SECONDS: Final = 10.0
_DECIMAL: Final = "org.apache.kafka.connect.data.Decimal"
_VARIABLE: Final = "io.debezium.data.VariableScaleDecimal"
_NANOS: Final = "io.debezium.time.NanoTimestamp"
Shaper = Callable[[Any], Any]


class AvroReader:
    """Decodes messages, each schema fetched once from the registry."""

    def __init__(self, fetch: Callable[[int], Any]) -> None:
        """`fetch` gives the schema of an id as JSON values."""
        self._fetch = fetch
        self._schemas: dict[int, tuple[Any, Shaper]] = {}

    def to_json(self, message: bytes | None) -> bytes | None:
        """The message as JSON without schemas.

        Raises:
            ValueError: it is not what a schema registry's converter writes, or does not fit its schema.
            SourceError: the registry does not answer.
        """
        if message is None:
            return None
        if len(message) < _HEAD or message[0] != _MAGIC:
            raise ValueError("it does not begin as a message of a schema registry does")
        number = int.from_bytes(message[1:_HEAD], "big")
        if number not in self._schemas:
            schema = self._fetch(number)
            self._schemas[number] = (fastavro.parse_schema(_bare(schema)), _shaper(schema, {}))
        parsed, shape = self._schemas[number]
        try:
            held = fastavro.schemaless_reader(io.BytesIO(message[_HEAD:]), parsed, None)
        except (EOFError, IndexError, UnicodeDecodeError) as error:
            raise ValueError(f"it does not fit the schema {number}: {error}") from error
        return msgspec.json.encode(shape(held))


def registry_schemas(registry: Registry) -> Callable[[int], Any]:
    """Asks the schema registry; SourceError when it does not answer, SourceRefused when it does not know the id."""
    login = (registry.user, registry.password or "") if registry.user else None
    client = httpx.Client(base_url=registry.url, auth=login, timeout=_SECONDS)

    def fetch(number: int) -> Any:
        try:
            answer = client.get(f"/schemas/ids/{number}")
        except httpx.HTTPError as error:
            raise SourceError(f"the schema registry at {registry.url} does not answer: {error}") from error
        if answer.status_code == 404:
            raise SourceRefused(f"the schema registry at {registry.url} does not know schema {number}",
                                "correct source.registry.url")  # fmt: skip
        if answer.status_code != 200:
            raise SourceError(f"the schema registry at {registry.url} answers {answer.status_code}", "see its log")
        return msgspec.json.decode(answer.json()["schema"])

    return fetch


def _bare(schema: Any) -> Any:
    """The schema without logical types: values are shaped here, as Debezium's JSON has them."""
    if isinstance(schema, list):
        return [_bare(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {name: _bare(held) if name in ("type", "items", "values", "fields") else held
            for name, held in schema.items() if name not in ("logicalType", "default")}  # fmt: skip


def _shaper(schema: Any, named: dict[str, Shaper]) -> Shaper:
    """What turns a decoded value into the value that Debezium's JSON shows."""
    if isinstance(schema, list):
        others = [one for one in schema if one != "null"]
        inner = _shaper(others[0], named) if len(others) == 1 else _plain
        return lambda held: None if held is None else inner(held)
    if isinstance(schema, str):
        # A record may be named here before its own shaper is complete.
        return lambda held: named[schema](held) if schema in named else _plain(held)
    kind, name = schema.get("type"), schema.get("connect.name")
    if kind == "record":
        return _record(schema, named)
    if kind == "array":
        each = _shaper(schema["items"], named)
        return lambda held: [each(one) for one in held]
    if kind == "map":
        value = _shaper(schema["values"], named)
        return lambda held: {key: value(one) for key, one in held.items()}
    if name == _DECIMAL or schema.get("logicalType") == "decimal":
        scale = int(schema.get("scale") or (schema.get("connect.parameters") or {}).get("scale") or 0)
        return lambda held: _decimal(held, scale)
    if name == _NANOS:
        return lambda held: held // 1_000
    return _shaper(kind, named) if isinstance(kind, list | dict) else _plain


def _record(schema: Any, named: dict[str, Shaper]) -> Shaper:
    fields: dict[str, Shaper] = {}

    def shape(held: Any) -> Any:
        return {name: fields[name](one) for name, one in held.items()}

    whole = f"{schema['namespace']}.{schema['name']}" if schema.get("namespace") else schema["name"]
    shaped: Shaper = shape
    if schema.get("connect.name") == _VARIABLE:
        shaped = lambda held: _decimal(held["value"], held["scale"])  # noqa: E731
    named[whole] = named[schema["name"]] = shaped
    for field in schema["fields"]:
        fields[field["name"]] = _shaper(field["type"], named)
    return shaped


def _decimal(held: bytes, scale: int) -> str:
    return decimal_text(base64.b64encode(held).decode(), scale)


def _plain(held: Any) -> Any:
    return base64.b64encode(held).decode() if isinstance(held, bytes) else held
