"""Shows the machines to people and programs: `arsync machines` and docs/machines.md are made here from the tables."""

from collections.abc import Iterable

from statemachines.definition import SAME, Machine, Transition

BEGIN = "<!-- machines: begin; written by `python -m statemachines docs/machines.md` -->"
END = "<!-- machines: end -->"


def as_text(machine: Machine) -> str:
    """States with their truth, and transitions with who fires them; no line break at the end."""
    width = max(map(len, machine.state_names))
    lines = [f"{machine.name} (version {machine.version}), begins as {machine.initial}", "", "  States"]
    lines += [f"    {state.name:<{width}}  {state.truth}" for state in machine.states]
    lines += ["", "  Transitions"]
    for row in machine.transitions:
        lines += [f"    {row.trigger} [{_by(row)}]: {_path(row)}", f"        {row.note}"]
    return "\n".join(lines)


def as_mermaid(machine: Machine) -> str:
    """A Mermaid diagram, triggers of the same two states on one arrow; no line break at the end."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for row in machine.transitions:
        for lead in row.leads():
            arrows.setdefault(lead, []).append(str(row.trigger))
    lines = ["---", f"title: {machine.name}, version {machine.version}", "---", "stateDiagram-v2"]
    lines.append(f"    [*] --> {machine.initial}")
    lines += [f"    {source} --> {to}: {', '.join(triggers)}" for (source, to), triggers in arrows.items()]
    left = {source for source, to in arrows if source != to}
    lines += [f"    {name} --> [*]" for name in machine.state_names if name not in left]
    return "\n".join(lines)


def as_json(machines: Iterable[Machine]) -> dict[str, list[list[str]]]:
    """Each machine's name with all its [state, trigger, destination], in the order of the definition."""
    return {m.name: [[state, trigger, to] for (state, trigger), to in m.table.items()] for m in machines}


def as_markdown(machines: Iterable[Machine]) -> str:
    """The generated part of docs/machines.md, markers included; no line break at the end."""
    return "\n\n".join([BEGIN, *(_chapter(machine) for machine in machines), END])


def redraw(document: str, machines: Iterable[Machine]) -> str:
    """A document with the part between its markers generated anew.

    Raises:
        ValueError: the markers are not there, or not in their order.
    """
    head, begin, rest = document.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise ValueError(
            f"the document lacks its markers; write these two lines where the machines belong: {BEGIN} {END}"
        )
    return head + as_markdown(machines) + tail


def _chapter(machine: Machine) -> str:
    states = [f"| `{state.name}` | {state.truth} |" for state in machine.states]
    rows = [f"| `{row.trigger}` | {_by(row)} | {_path(row)} | {row.note} |" for row in machine.transitions]
    return "\n".join([
        f"## {machine.name.capitalize()}", "",
        f"Version {machine.version}; begins as `{machine.initial}`.", "",
        "| state | what is true |", "|---|---|", *states, "",
        "| trigger | fired by | from -> to | when |", "|---|---|---|---|", *rows, "",
        "```mermaid", as_mermaid(machine), "```",
    ])  # fmt: skip


def _by(row: Transition) -> str:
    return ", ".join(row.by)


def _path(row: Transition) -> str:
    return f"{', '.join(row.sources)} -> {'same' if row.destination == SAME else row.destination}"
