"""A definition that contradicts itself is refused with a sentence that names the machine, the cause and the cure."""

from typing import Any

import pytest

from statemachines import SAME, By, DefinitionError, Machine, State, Transition

OFF, ON = State("off", "It is dark."), State("on", "It is light.")
RED = State("red", "It is broken.")


def row(trigger: str, sources: tuple[str, ...], destination: str) -> Transition:
    return Transition(trigger, (By.ENGINE,), sources, destination, "Somebody pressed it.")


def lamp(*rows: Transition, initial: str = "off", states: tuple[State, ...] = (OFF, ON)) -> Machine:
    return Machine("lamp", 1, initial, states, rows)


def test_a_sound_definition_compiles() -> None:
    machine = lamp(row("press", ("off",), "on"), row("press", ("on",), "off"), row("look", ("off", "on"), SAME))
    assert dict(machine.table) == {
        ("off", "press"): "on",
        ("on", "press"): "off",
        ("off", "look"): "off",
        ("on", "look"): "on",
    }
    assert machine.triggers == ("press", "look")
    assert machine.state_names == ("off", "on")
    assert machine.next("on", "break") is None


def test_the_library_s_machine_moves_a_model() -> None:
    model: Any = type("Model", (), {})()
    lamp(row("press", ("off",), "on"), row("look", ("off", "on"), SAME)).as_transitions(model)
    assert model.state == "off"
    assert model.press()
    assert model.look()
    assert model.state == "on"
    assert not hasattr(model, "to_off")  # the library's own way around the table


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda: lamp(row("press", ("off",), "red")), "state red is the destination of press, but"),
        (lambda: lamp(row("press", ("red",), "on")), "state red is a source of press, but"),
        (lambda: lamp(row("press", ("off",), "on"), initial="red"), "state red is where it begins, but"),
        (lambda: lamp(row("press", ("off",), "on"), states=(OFF, ON, ON)), "state on is defined twice"),
        (lambda: lamp(row("look", ("off",), SAME)), "leads from off to on; add"),
        (lambda: lamp(row("press", ("on",), "off")), "leads from off to on; add"),
        (
            lambda: lamp(row("press", ("off",), "on"), row("break", ("red",), "off"), states=(OFF, ON, RED)),
            "leads from off to red; add",
        ),
        (
            lambda: lamp(row("press", ("off",), "on"), row("press", ("off",), "off")),
            "press in state off leads to on and, in a later row, to off",
        ),
        (
            lambda: lamp(row("press", ("off",), "on"), row("press", ("on", "off"), "on")),
            "press in state off leads to on and, in a later row, to on",
        ),
    ],
)
def test_a_contradiction_is_refused(wrong: Any, sentence: str) -> None:
    with pytest.raises(DefinitionError, match=sentence) as refusal:
        wrong()
    assert str(refusal.value).startswith("machine lamp: ")
