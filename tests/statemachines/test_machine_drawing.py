"""What `arsync machines` and docs/machines.md show is what the tables hold."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from engine.app.verbs.machines import machines
from statemachines import MACHINES, SAME, By, Machine, State, Transition
from statemachines.__main__ import main
from statemachines.drawing import BEGIN, END, as_json, as_markdown, as_mermaid, as_text, redraw

DOCUMENT = Path(__file__).parents[2] / "docs" / "machines.md"
each_machine = pytest.mark.parametrize("machine", MACHINES.values(), ids=list(MACHINES))


def show(*arguments: str) -> str:
    result = CliRunner().invoke(machines, arguments)
    assert result.exit_code == 0, result.output
    return result.output


@each_machine
def test_the_diagram_holds_the_whole_table_and_no_more(machine: Machine) -> None:
    drawn = {
        (source, trigger): to
        for source, to, triggers in re.findall(r"^    (\w+) --> (\w+): (.+)$", as_mermaid(machine), re.MULTILINE)
        for trigger in triggers.split(", ")
    }
    assert drawn == dict(machine.table)
    assert f"    [*] --> {machine.initial}\n" in as_mermaid(machine)


def test_the_diagram_ends_where_nothing_leads_on() -> None:
    assert set(re.findall(r"(\w+) --> \[\*\]", as_mermaid(MACHINES["intent"]))) == {"done", "refused", "withdrawn"}
    assert "--> [*]" not in as_mermaid(MACHINES["invoice"])
    to_on = Transition("press", (By.AR,), ("off",), "on", "Somebody pressed it.")
    look = Transition("look", (By.AR,), ("off", "on"), SAME, "Somebody looked.")
    lamp = Machine("lamp", 1, "off", (State("off", "It is dark."), State("on", "It is light.")), (to_on, look))
    assert as_mermaid(lamp).endswith("\n    on --> [*]")  # what only stays leads nowhere


@each_machine
def test_the_text_tells_every_truth_and_every_row(machine: Machine) -> None:
    text = as_text(machine)
    for state in machine.states:
        assert re.search(rf"^    {state.name} +{re.escape(state.truth)}$", text, re.MULTILINE)
    for row in machine.transitions:
        assert f"{row.trigger} [{', '.join(row.by)}]: {', '.join(row.sources)} -> " in text
        assert row.note in text


def test_json_is_state_trigger_destination_by_machine() -> None:
    shown = json.loads(show("--json"))
    assert list(shown) == list(MACHINES)
    for name, rows in shown.items():
        assert all(len(row) == 3 for row in rows)
        assert {(state, trigger): to for state, trigger, to in rows} == dict(MACHINES[name].table)
        assert len(rows) == len(MACHINES[name].table)
    assert json.loads(show("intent", "--json")) == as_json([MACHINES["intent"]])


def test_the_verb_shows_all_or_the_one_that_is_named() -> None:
    assert show() == "\n\n".join(as_text(machine) for machine in MACHINES.values()) + "\n"
    assert show("command") == as_text(MACHINES["command"]) + "\n"
    assert show("command", "--mermaid") == as_mermaid(MACHINES["command"]) + "\n"
    assert show("--mermaid").count("stateDiagram-v2") == len(MACHINES)


def test_the_verb_s_help_names_every_machine() -> None:
    told = re.sub(r"\s+", " ", show("--help"))
    assert f"NAME is one of {', '.join(MACHINES)};" in told


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [(["order"], "'order' is not one of"), (["--json", "--mermaid"], "give one of them")],
)
def test_a_wrong_call_is_refused(arguments: list[str], sentence: str) -> None:
    result = CliRunner().invoke(machines, arguments)
    assert result.exit_code == 2
    assert sentence in result.output


def test_the_document_is_what_is_generated() -> None:
    text = DOCUMENT.read_text("utf-8")
    assert text == redraw(text, MACHINES.values()), "run: python -m statemachines docs/machines.md"


def test_writing_replaces_what_stands_between_the_markers(tmp_path: Path) -> None:
    document = tmp_path / "machines.md"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", "utf-8")
    main([str(document)])
    assert document.read_text("utf-8") == f"before\n{as_markdown(MACHINES.values())}\nafter\n"


def test_printing_gives_the_generated_part(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    assert capsys.readouterr().out == as_markdown(MACHINES.values()) + "\n"


@pytest.mark.parametrize("document", ["", BEGIN, END, f"{END}\n{BEGIN}"])
def test_a_document_without_markers_is_left_alone(document: str) -> None:
    with pytest.raises(ValueError, match="lacks its markers"):
        redraw(document, MACHINES.values())
