"""The page about the AR side stays true: every kind of event with an example of its shape, every address."""

import json
import re
from pathlib import Path

import msgspec
import pytest

from engine.app.http.endpoints import ENDPOINTS
from engine.app.http.problems import Problem, problem
from engine.model.outbound import KINDS, InvoiceDocument, OutEvent

PAGE = (Path(__file__).parents[2] / "docs" / "ar-side.md").read_text(encoding="utf-8")
BLOCKS = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_event_is_shown_as_it_is(kind: str) -> None:
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{kind}` |")]
    example = json.loads(row.rsplit("| `", 1)[1].removesuffix("` |"))
    shape = KINDS[kind]
    decoded = msgspec.convert(example, shape)
    assert set(example) == {field.encode_name for field in msgspec.structs.fields(shape)}
    assert msgspec.json.decode(msgspec.json.encode(decoded)) == example


def test_the_examples_of_an_event_a_refusal_and_a_document_are_whole() -> None:
    refusal, event, document = BLOCKS
    told = msgspec.json.decode(json.dumps(event), type=OutEvent)
    assert set(event) == set(OutEvent.__struct_fields__)
    assert msgspec.json.decode(told.data, type=KINDS[told.kind])
    shown = msgspec.json.decode(json.dumps(document), type=InvoiceDocument)
    assert json.loads(msgspec.json.encode(shown)) == document
    expected = problem(409, refusal["thing"], refusal["cause"], refusal["next_step"])
    assert msgspec.convert(refusal, Problem) == expected


@pytest.mark.parametrize("address", sorted({one.path for one in ENDPOINTS}))
def test_every_address_is_named(address: str) -> None:
    shown = address.replace("/v1/systems/{system}", "/v1/systems/S")
    found = re.sub(r"/\{key\}", "", shown)
    assert f"`GET {found}`" in PAGE or f"`POST {found}`" in PAGE
