"""The OpenAPI 3.1 document, made of the list of endpoints and of the shapes that requests are read by."""

from importlib.metadata import version
from typing import Any

import msgspec

from engine.app.http.endpoints import ENDPOINTS, Endpoint
from engine.app.http.problems import MEDIA_TYPE, TITLES, Problem
from engine.model.intents import Intent
from engine.model.outbound import KINDS, OutEvent

_REF = "#/components/schemas/{name}"
_DECIMAL = "^-?[0-9]{1,18}(\\.[0-9]{1,18})?$"


def document() -> dict[str, Any]:
    """The whole document as JSON types."""
    schemas = _schemas()
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, schemas)
    unseen = {shape.__name__ for one in ENDPOINTS for shape in (one.path_shape, one.query_shape)}
    shown = {name: one for name, one in schemas.items() if name not in unseen}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "arsync: the AR side",
            "version": version("arsync"),
            "description": "Submit intents; read documents, conflicts and what happened. Amounts are text.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": shown,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


def _schemas() -> dict[str, Any]:
    shapes: list[Any] = [Problem, OutEvent, *KINDS.values()]
    for endpoint in ENDPOINTS:
        shapes += [*endpoint.answers.values(), endpoint.path_shape, endpoint.query_shape]
        shapes += [endpoint.body] if endpoint.body is not None else []
    _, found = msgspec.json.schema_components(shapes, ref_template=_REF)
    (intent,), _ = msgspec.json.schema_components([Intent], ref_template=_REF)
    found["Intent"] = {"title": "Intent", **intent}
    found["OutEvent"] = {"oneOf": [_event(found["OutEvent"], kind, shape) for kind, shape in KINDS.items()]}
    return {name: _decimals(one) for name, one in found.items()}


def _event(envelope: dict[str, Any], kind: str, shape: type[msgspec.Struct]) -> dict[str, Any]:
    """The envelope with the data that belongs to one kind."""
    fields = {**envelope["properties"], "kind": {"const": kind}, "data": {"$ref": _REF.format(name=shape.__name__)}}
    return {**envelope, "title": kind, "properties": fields}


def _decimals(value: Any) -> Any:
    """The same schema, saying of every decimal how it is written."""
    if isinstance(value, list):
        return [_decimals(one) for one in value]
    if not isinstance(value, dict):
        return value
    if value.get("format") == "decimal":
        return {**value, "pattern": _DECIMAL}
    return {name: _decimals(one) for name, one in value.items()}


def _operation(endpoint: Endpoint, schemas: dict[str, Any]) -> dict[str, Any]:
    refused = [*((400, 401) if not endpoint.is_open else ()), *endpoint.refuses, 503]
    if endpoint.body is not None:
        refused.append(403)
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "parameters": [*_parameters(endpoint.path_shape, "path", schemas),
                       *_parameters(endpoint.query_shape, "query", schemas)],
        "responses": {
            **{str(status): _content(TITLES.get(status, "Done"), "application/json", shape)
               for status, shape in endpoint.answers.items()},
            **{str(status): _content(TITLES[status], MEDIA_TYPE, Problem) for status in sorted(refused)},
        },
    }  # fmt: skip
    if endpoint.is_open:
        operation["security"] = []
    if endpoint.body is not None:
        operation["requestBody"] = {"required": True, **_content(None, "application/json", endpoint.body)}
    return operation


def _parameters(shape: type[msgspec.Struct], place: str, schemas: dict[str, Any]) -> list[dict[str, Any]]:
    described = schemas[shape.__name__]
    return [
        {"name": name, "in": place, "required": place == "path" or name in described.get("required", ()),
         "schema": one}
        for name, one in described["properties"].items()
    ]  # fmt: skip


def _content(description: str | None, media_type: str, shape: Any) -> dict[str, Any]:
    if shape is Intent:
        schema: dict[str, Any] = {"$ref": _REF.format(name="Intent")}
    else:
        (schema,), _ = msgspec.json.schema_components([shape], ref_template=_REF)
    content: dict[str, Any] = {"content": {media_type: {"schema": _decimals(schema)}}}
    return {"description": description, **content} if description else content
