"""The compiled tables against the library `transitions`, and what must hold of every machine."""

import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transitions import Machine as LibraryMachine
from transitions import MachineError

import statemachines
from statemachines import MACHINES, By, Machine

NAMES = list(MACHINES)
LIBRARY = {name: machine.as_transitions() for name, machine in MACHINES.items()}
ENUMS = {
    name: (getattr(statemachines, f"{name.capitalize()}State"), getattr(statemachines, f"{name.capitalize()}Trigger"))
    for name in NAMES
}
EVERY_PAIR = [(n, s, t) for n, m in MACHINES.items() for s in m.state_names for t in m.triggers]
SETTLED = {"cleared", "posted"}


class Model:
    """What the library moves: it gets `state`, `trigger` and a method for each trigger."""

    state: str
    trigger: Any


def placed(library: LibraryMachine, state: str) -> Model:
    model = Model()
    library.add_model(model, initial=state)
    return model


def fire(model: Model, trigger: str) -> str | None:
    """Really trigger the library's model; None is its refusal, which must change nothing."""
    before = model.state
    try:
        assert model.trigger(trigger) is True
    except MachineError:
        assert model.state == before
        return None
    return model.state


@pytest.mark.parametrize(("name", "state", "trigger"), EVERY_PAIR)
def test_table_equals_the_library_on_every_pair(name: str, state: str, trigger: str) -> None:
    library = LIBRARY[name]
    model = placed(library, state)
    try:
        assert MACHINES[name].next(state, trigger) == fire(model, trigger)
    finally:
        library.remove_model(model)


@given(st.data())
def test_random_walks_agree(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(NAMES))
    machine = MACHINES[name]
    model = placed(LIBRARY[name], str(machine.initial))
    state = str(machine.initial)
    try:
        for trigger in data.draw(st.lists(st.sampled_from(machine.triggers), max_size=40)):
            told = fire(model, trigger)
            assert machine.next(state, trigger) == told
            state = told or state
            assert model.state == state
    finally:
        LIBRARY[name].remove_model(model)


@pytest.mark.parametrize("name", NAMES)
def test_states_and_triggers_are_those_of_the_alphabets(name: str) -> None:
    states, triggers = ENUMS[name]
    assert set(MACHINES[name].state_names) == {str(state) for state in states}
    assert list(MACHINES[name].triggers) == [str(trigger) for trigger in triggers]


@pytest.mark.parametrize("name", NAMES)
def test_table_takes_alphabets_and_plain_texts_and_answers_in_plain_texts(name: str) -> None:
    states, triggers = ENUMS[name]
    for state in states:
        for trigger in triggers:
            told = MACHINES[name].next(state, trigger)
            assert told == MACHINES[name].next(str(state), str(trigger))
            assert told is None or type(told) is str


@pytest.mark.parametrize("name", NAMES)
def test_every_state_is_reached_from_the_beginning(name: str) -> None:
    machine = MACHINES[name]
    reached: set[str] = set()
    ahead = [str(machine.initial)]
    while ahead:
        state = ahead.pop()
        if state not in reached:
            reached.add(state)
            ahead += [to for trigger in machine.triggers if (to := machine.next(state, trigger))]
    assert reached == set(machine.state_names)


@pytest.mark.parametrize("machine", MACHINES.values(), ids=NAMES)
def test_truths_and_notes_are_sentences_and_say_who(machine: Machine) -> None:
    for text in [*(s.truth for s in machine.states), *(t.note for t in machine.transitions)]:
        assert text[0].isupper()
        assert text.endswith(".")
        assert "|" not in text
    assert all(row.by for row in machine.transitions)


def test_a_trigger_is_fired_by_the_same_everywhere() -> None:
    for machine in MACHINES.values():
        for trigger in machine.triggers:
            assert len({row.by for row in machine.transitions if row.trigger == trigger}) == 1, trigger


def test_only_the_erp_leads_into_or_out_of_cleared_and_posted() -> None:
    crossings = 0
    for row in MACHINES["invoice"].transitions:
        for source, to in row.leads():
            if source != to and SETTLED & {source, to}:
                crossings += 1
                assert row.by == (By.ERP,), (row.trigger, source, to)
    assert crossings == 14  # cleared or voided from 3 each, posted, reopened in 3 ways from 2, voided when posted


@given(st.lists(st.sampled_from([t for t in MACHINES["invoice"].triggers if not t.startswith("erp_")]), max_size=30))
def test_no_walk_of_the_ar_side_settles_or_reopens(triggers: list[str]) -> None:
    machine = MACHINES["invoice"]
    for start in machine.state_names:
        state = start
        for trigger in triggers:
            state = machine.next(state, trigger) or state
        assert state == start if start in SETTLED else state not in SETTLED


def test_ends_have_no_exit() -> None:
    intent, command, conflict = MACHINES["intent"], MACHINES["command"], MACHINES["conflict"]
    for machine, ends in [(intent, ("done", "refused", "withdrawn")), (command, ("confirmed",))]:
        assert {state for state, _ in machine.table}.isdisjoint(ends)
    assert {state for state, _ in conflict.table} == {"detected", "held", "chosen"}


def test_the_echo_is_taken_in_every_state_but_confirmed() -> None:
    command = MACHINES["command"]
    for state in command.state_names:
        ends = (command.next(state, "confirm"), command.next(state, "mismatch"))
        assert ends == ((None, None) if state == "confirmed" else ("confirmed", "mismatched"))


def test_an_unknown_state_or_trigger_is_a_refusal() -> None:
    assert MACHINES["invoice"].next("open", "no_such_trigger") is None
    assert MACHINES["invoice"].next("no_such_state", "match") is None


def test_tables_and_definitions_cannot_be_changed() -> None:
    machine = MACHINES["invoice"]
    before = dict(machine.table)
    table: Any = machine.table
    with pytest.raises(TypeError):
        table["open", "match"] = "posted"
    with pytest.raises(AttributeError):
        machine.table = {}  # type: ignore[misc]
    machines: Any = MACHINES
    with pytest.raises(TypeError):
        machines["invoice"] = machine
    assert dict(machine.table) == before


def test_the_library_stays_out_of_the_start() -> None:
    code = "import sys, statemachines, statemachines.drawing; sys.exit('transitions' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], check=False, env=environment).returncode == 0


def test_the_version_names_every_machine_s_and_changes_with_any_table(monkeypatch: pytest.MonkeyPatch) -> None:
    before = statemachines.machines_version()
    assert before == statemachines.MACHINES_VERSION
    numbers, _, digest = before.partition("-")
    assert numbers == ".".join(str(machine.version) for machine in MACHINES.values())
    assert len(digest) == 12
    invoice = MACHINES["invoice"]
    for fewer in range(len(invoice.transitions)):
        rows = tuple(row for place, row in enumerate(invoice.transitions) if place != fewer)
        try:
            changed = Machine(invoice.name, invoice.version, invoice.initial, invoice.states, rows)
        except statemachines.DefinitionError:
            continue
        monkeypatch.setattr(statemachines, "MACHINES", {**MACHINES, "invoice": changed})
        assert statemachines.machines_version() != before, invoice.transitions[fewer]
