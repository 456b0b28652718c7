"""What a life cycle is: data in the form that the library `transitions` takes, and the frozen table made of it.

The rules, replay and the diagrams ask the table; it is compiled once, when a machine is defined. A pair of state and
trigger that the table does not hold is a refusal: a value, never an exception. `transitions` itself is imported only
where its own machine is asked for; a test holds the two equal for every pair.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transitions import Machine as LibraryMachine

SAME = "="
"""As a destination: the state stays what it is. The library's own sign for it."""


class DefinitionError(ValueError):
    """A machine whose definition contradicts itself: which machine, what is wrong with it, and what to do."""


class By(StrEnum):
    """Who fires a trigger."""

    ERP = "ERP"
    AR = "AR"
    ENGINE = "engine"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class State:
    """A state, and in one sentence what is true in the world while it lasts."""

    name: str
    truth: str


@dataclass(frozen=True, slots=True)
class Transition:
    """A row: `trigger`, fired by any of `by`, leads from each of `sources` to `destination`, which may be `SAME`.

    `note` says in a sentence when the trigger is fired.
    """

    trigger: str
    by: tuple[By, ...]
    sources: tuple[str, ...]
    destination: str
    note: str

    def leads(self) -> tuple[tuple[str, str], ...]:
        """Each source with its destination, `SAME` resolved."""
        stays = self.destination == SAME
        return tuple((str(s), str(s if stays else self.destination)) for s in self.sources)


@dataclass(frozen=True)
class Machine:
    """One life cycle. `version` is raised with every change of the definition: journals name it.

    `table` leads from (state, trigger) to the next state, as plain texts.

    Raises:
        DefinitionError: a state unknown, named twice or out of reach, or a pair defined twice.
    """

    name: str
    version: int
    initial: str
    states: tuple[State, ...]
    transitions: tuple[Transition, ...]
    table: Mapping[tuple[str, str], str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_states(self)
        table = _compile(self)
        _check_reach(self, table)
        object.__setattr__(self, "table", MappingProxyType(table))

    def next(self, state: str, trigger: str) -> str | None:
        """The state after a trigger; None when it is refused, and then nothing has changed."""
        return self.table.get((state, trigger))

    @property
    def state_names(self) -> tuple[str, ...]:
        """All states, in the order of the definition."""
        return tuple(str(state.name) for state in self.states)

    @property
    def triggers(self) -> tuple[str, ...]:
        """All triggers, in the order of the definition."""
        return tuple(dict.fromkeys(str(row.trigger) for row in self.transitions))

    def rows(self) -> list[dict[str, str | list[str]]]:
        """The definition as `transitions` takes it: trigger, source, dest."""
        return [
            {"trigger": str(r.trigger), "source": [str(s) for s in r.sources], "dest": str(r.destination)}
            for r in self.transitions
        ]

    def as_transitions(self, model: object | None = None) -> "LibraryMachine":
        """The library's own machine of this definition, for its tools; `model` gets a method for each trigger."""
        from transitions import Machine as LibraryMachine

        return LibraryMachine(
            model=model,
            states=list(self.state_names),
            transitions=self.rows(),
            initial=str(self.initial),
            auto_transitions=False,
        )


def _check_states(machine: Machine) -> None:
    names = machine.state_names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DefinitionError(f"machine {machine.name}: state {twice[0]} is defined twice; keep one of the two")
    _check_known(machine, machine.initial, "is where it begins")
    for row in machine.transitions:
        for state in row.sources:
            _check_known(machine, state, f"is a source of {row.trigger}")
        if row.destination != SAME:
            _check_known(machine, row.destination, f"is the destination of {row.trigger}")


def _check_known(machine: Machine, state: str, role: str) -> None:
    if state not in machine.state_names:
        raise DefinitionError(f"machine {machine.name}: state {state} {role}, but is not among its states; define it")


def _compile(machine: Machine) -> dict[tuple[str, str], str]:
    table: dict[tuple[str, str], str] = {}
    for row in machine.transitions:
        for source, destination in row.leads():
            pair = (source, str(row.trigger))
            if pair in table:
                raise DefinitionError(
                    f"machine {machine.name}: {row.trigger} in state {source} leads to {table[pair]} and, in a later "
                    f"row, to {destination}; a guard is a trigger of its own, so keep one row for the pair"
                )
            table[pair] = destination
    return table


def _check_reach(machine: Machine, table: Mapping[tuple[str, str], str]) -> None:
    reached = {str(machine.initial)}
    while True:
        further = {to for (state, _), to in table.items() if state in reached} - reached
        if not further:
            break
        reached |= further
    lost = [name for name in machine.state_names if name not in reached]
    if lost:
        raise DefinitionError(
            f"machine {machine.name}: no chain of triggers leads from {machine.initial} to {', '.join(lost)}; "
            "add the missing transition or drop the state"
        )
