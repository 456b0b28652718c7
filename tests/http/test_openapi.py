"""The published description holds: whatever it allows is answered as it says, and nothing makes the server fail."""

from typing import Any

import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import positive_data_acceptance

from engine.app.http import openapi
from engine.app.http.endpoints import ENDPOINTS
from engine.model.outbound import KINDS
from tests.http.conftest import TOKEN, Site

EXAMPLES = 6
LOGIN = {"Authorization": f"Bearer {TOKEN}"}
HELD = {"deadline": None, "database": None, "derandomize": True, "phases": [Phase.generate],
        "suppress_health_check": list(HealthCheck)}  # fmt: skip
# Amounts that do not add up, and systems that are not configured, are no matter of a schema: such intents get 422,
# which `test_valid_requests_are_answered_as_described` allows by name.
UNTOLD = [positive_data_acceptance]


def operation(site: Site, name: str) -> Any:
    schema = schemathesis.openapi.from_url(f"{site.url}/openapi.json")
    found: list[Any] = [one.ok() for one in schema.get_all_operations()]  # type: ignore[union-attr]
    return next(one for one in found if one.definition.raw["operationId"] == name)


def login(case: Any) -> dict[str, str]:
    """The token, unless what is wrong with the request is that it has none, or another."""
    drawn = case.meta.components.get(ParameterLocation.HEADER)
    return {} if drawn is not None and drawn.mode is schemathesis.GenerationMode.NEGATIVE else LOGIN


def hold(site: Site, name: str, mode: schemathesis.GenerationMode, examples: int) -> list[int]:
    """Draw requests for an operation and hold each answer against the description; gives the statuses."""
    one = operation(site, name)
    fixed = {"system": site.system} if "{system}" in one.path else None
    statuses: list[int] = []

    @settings(max_examples=examples, **HELD)  # type: ignore[arg-type]
    @given(case=one.as_strategy(generation_mode=mode, path_parameters=fixed))
    def run(case: Any) -> None:
        if mode is schemathesis.GenerationMode.POSITIVE:
            for intent in case.body if isinstance(case.body, list) else [case.body]:
                if isinstance(intent, dict):
                    intent["system"] = site.system
        statuses.append(case.call_and_validate(headers=login(case), excluded_checks=UNTOLD, timeout=60).status_code)

    run()
    return statuses


@pytest.mark.parametrize("name", [one.name for one in ENDPOINTS])
def test_valid_requests_are_answered_as_described(site: Site, name: str) -> None:
    site.house.invoice("1")
    site.submit(site.intent("rcpt-1", "1"))
    statuses = hold(site, name, schemathesis.GenerationMode.POSITIVE, EXAMPLES)
    allowed = {200, 201, 404, 409, 410, 422}
    assert statuses
    assert set(statuses) <= allowed


@pytest.mark.parametrize("name", [one.name for one in ENDPOINTS if not one.is_open])
def test_invalid_requests_are_refused_as_described(site: Site, name: str) -> None:
    statuses = hold(site, name, schemathesis.GenerationMode.NEGATIVE, EXAMPLES)
    assert set(statuses) & {400, 401, 404, 405, 415, 422}


@pytest.mark.prove
@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
@pytest.mark.parametrize("name", [one.name for one in ENDPOINTS if not one.is_open])
def test_many_requests_are_answered_as_described(site: Site, name: str, mode: schemathesis.GenerationMode) -> None:
    site.house.invoice("1")
    assert hold(site, name, mode, 30 * EXAMPLES)


def test_every_kind_of_event_is_described() -> None:
    described = openapi.document()["components"]["schemas"]
    kinds = {one["properties"]["kind"]["const"] for one in described["OutEvent"]["oneOf"]}
    assert kinds == set(KINDS)
    assert msgspec.json.decode(msgspec.json.encode(openapi.document()))
