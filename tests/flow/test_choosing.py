"""Choices in a real store: one unit of work each, journalled with who and why, carried out by the daemon's clock."""

import json
from typing import Any

import pytest

from engine.flow import choosing
from engine.flow.choosing import Settled, UnknownConflictError
from engine.rules.policy import Policy
from engine.store import records
from engine.store.unit import Connection
from tests.flow.test_dispatcher import House, house  # noqa: F401 - a fixture

POLICY = Policy()


def held(house: House) -> str:  # noqa: F811
    """An intent that the ERP has refused; gives the conflict's id."""
    house.invoice("1")
    house.pay("p", i1="100.00")
    house.erp.faults = ["rejected"]
    house.steps()
    with house.connection.cursor() as cursor:
        (found,) = records.load_conflicts(cursor, house.system, ["p"]).values()
    return found.id


def choose(house: House, id_: str, choice: str, **more: Any) -> Settled:  # noqa: F811
    return choosing.choose(
        house.connection, house.system, id_, choice, actor="ann", reason="as agreed", policy=POLICY,
        clock=house.clock, versions={}, **more,
    )  # fmt: skip


def entries(connection: Connection, system: str) -> list[Any]:
    found = connection.execute(
        "SELECT kind, body FROM journal WHERE stream = %s ORDER BY seq", (f"{system}/operators",)
    ).fetchall()
    return [(kind, json.loads(body)) for kind, body in found]


def test_a_choice_waits_to_be_undone_and_is_then_carried_out_by_the_dispatcher(house: House) -> None:  # noqa: F811
    id_ = held(house)
    settled = choose(house, id_, "retry")
    assert (settled.state, settled.choice, settled.declined) == ("chosen", "retry", None)
    house.steps()
    assert house.intent("p") == "held"
    undone = choosing.undo(
        house.connection, house.system, id_, actor="ben", reason="wait", policy=POLICY, clock=house.clock, versions={}
    )
    assert (undone.state, undone.choice) == ("held", None)
    house.clock.pass_(60)
    house.steps()
    assert house.intent("p") == "held"
    choose(house, id_, "retry")
    house.clock.pass_(POLICY.undo_for.total_seconds())
    house.drain()
    assert (house.intent("p"), len(house.erp.effects)) == ("done", 1)
    sends = [call.split()[0] for call in house.erp.calls]
    assert sends == ["send", "find", "send"], "it is looked up before it leaves again"


def test_what_is_carried_out_at_once_is_journalled_with_who_why_and_what_was_shown(house: House) -> None:  # noqa: F811
    id_ = held(house)
    with house.connection.cursor() as cursor:
        seen = choosing.explain(cursor, house.system, id_, POLICY, house.clock())
    settled = choose(house, id_, "accept_erp", shown=seen.version, at_once=True)
    assert (settled.state, house.intent("p")) == ("applied", "refused")
    assert "intent p: held -> refused" in settled.done
    ((kind, body),) = entries(house.connection, house.system)
    asked = body["input"]
    assert (kind, asked["actor"], asked["reason"], asked["shown"]) == ("choice", "ann", "as agreed", seen.version)
    (chosen,) = [effect for effect in body["effects"] if effect["type"] == "chosen"]
    assert chosen["shown"] == seen.standing


def test_a_declined_choice_changes_nothing_and_is_on_record(house: House) -> None:  # noqa: F811
    id_ = held(house)
    settled = choose(house, id_, "accept_erp", shown="AAAAAAAAAAAAAAAA", at_once=True)
    assert settled.declined is not None
    assert (settled.state, house.intent("p")) == ("held", "held")
    ((_, body),) = entries(house.connection, house.system)
    assert [effect["type"] for effect in body["effects"]] == ["declined"]


def test_what_each_choice_would_do_is_told_beforehand_and_changes_nothing(house: House) -> None:  # noqa: F811
    id_ = held(house)
    with house.connection.cursor() as cursor:
        explained = choosing.explain(cursor, house.system, id_, POLICY, house.clock())
        told = {one.choice: one for one in explained.prospects}
        assert told["accept_erp"].steps == ("intent p: held -> refused",)
        assert any("looked up in the ERP before it leaves" in step for step in told["retry"].steps)
        assert told["hold"].declined is None
        again = choosing.explain(cursor, house.system, id_, POLICY, house.clock())
    assert again == explained
    assert entries(house.connection, house.system) == []


def test_assigning_and_commenting_are_journalled_and_stay_when_the_conflict_is_written_again(house: House) -> None:  # noqa: F811
    id_ = held(house)
    choosing.assign(house.connection, house.system, id_, "ben", actor="ann", clock=house.clock)
    choosing.comment(house.connection, house.system, id_, "asked the bank", actor="ben", clock=house.clock)
    choose(house, id_, "accept_erp", at_once=True)
    row = house.connection.execute(
        "SELECT assignee, state, amount, company, currency FROM conflict WHERE system = %s AND id = %s",
        (house.system, id_),
    ).fetchone()
    assert row is not None
    assert (row[0], row[1], str(row[2]), row[3], row[4]) == ("ben", "applied", "100.00", "1", "EUR")
    assert [body["input"].get("assign") or body["input"].get("comment") for _, body in
            entries(house.connection, house.system)][:2] == [id_, id_]  # fmt: skip


def test_an_unknown_conflict_is_named(house: House) -> None:  # noqa: F811
    with pytest.raises(UnknownConflictError, match="has no conflict X"):
        choose(house, "X", "hold")
    with pytest.raises(UnknownConflictError, match="has no conflict X"):
        choosing.assign(house.connection, house.system, "X", None, actor="ann", clock=house.clock)
