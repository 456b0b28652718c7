"""Staging: a scene is played while its request is held, in whichever order the requests come."""

from collections.abc import Iterator
from typing import Any

import pytest

from demo.analyst import changes
from demo.holding_proxy import Call, HoldingProxy
from demo.stage import PAY, VALIDATE, Stage


@pytest.fixture
def stage() -> Iterator[Stage]:
    with HoldingProxy("http://127.0.0.1:9") as proxy:
        yield Stage(proxy, 0.2, lambda: None)


def paying(invoice: int, step: str) -> Call:
    context = {"active_id": invoice}
    return Call(PAY, [3, {}, step, context], context)


def test_scenes_are_played_as_their_requests_arrive(stage: Stage) -> None:
    first, second = stage.hold(1), stage.hold(2)
    played: list[str] = []

    def one() -> None:
        assert not first.released.is_set()
        played.append("one")

    def two() -> None:
        assert not second.released.is_set()
        played.append("two")
        first.arrived.set()

    second.arrived.set()
    stage.play([(first, one), (second, two)])
    assert played == ["two", "one"]
    assert first.released.is_set()
    assert second.released.is_set()
    assert stage.missed() == []


def test_what_did_not_come_about_is_told(stage: Stage) -> None:
    hold, played = stage.hold(1), list[str]()
    stage.drop_answer(2)
    stage.play([(hold, lambda: played.append("all the same"))])
    assert played == ["all the same"]
    assert hold.released.is_set()
    assert stage.missed() == ["a request to be held", "an answer to be lost"]


def test_a_scene_that_fails_lets_its_request_go(stage: Stage) -> None:
    hold = stage.hold(1)
    hold.arrived.set()

    def fails() -> None:
        raise LookupError("no such invoice")

    with pytest.raises(LookupError):
        stage.play([(hold, fails)])
    assert hold.released.is_set()


@pytest.mark.parametrize(
    ("call", "last", "meant"),
    [
        (paying(5, "choice"), False, True),
        (paying(5, "pay"), False, True),
        (paying(5, "choice"), True, False),
        (paying(5, "pay"), True, True),
        (paying(6, "choice"), False, False),
        (paying(5, "end"), False, False),
        (Call("wizard.account.invoice.pay.create", [], {"active_id": 5}), False, False),
        (Call(VALIDATE, [[1]], {"_timestamp": {"account.invoice,5": "1.0"}}), False, True),
        (Call(VALIDATE, [[1]], {"_timestamp": {"account.invoice,55": "1.0"}}), False, False),
        (Call(VALIDATE, [[1]], {}), False, False),
    ],
)
def test_only_the_request_that_pays_the_invoice_is_meant(stage: Stage, call: Call, last: bool, meant: bool) -> None:
    assert stage.hold(5, last=last).match(call) is meant


def test_looking_ends_when_nothing_changes_any_more() -> None:
    seen = [1, 1, 2, 2]
    looks: Any = iter(seen + [2] * 100)
    found = list(changes(lambda: next(looks), 0.4))
    assert found[:4] == seen
    assert 5 <= len(found) < 20
