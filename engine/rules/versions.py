"""Which rules an entry of the journal was decided under: the present ones, or those of an earlier version.

Replay asks here. When rules or machines change what is decided, `RULES_VERSION` is raised, and what they decided
before is kept as `engine.rules.frozen.vN`: the former functions over what has stayed the same.
"""

from collections.abc import Callable

from engine.model.events import Event
from engine.rules.decide import RULES_VERSION, decide
from engine.rules.desk import Decision, View
from engine.rules.policy import Policy

Decide = Callable[[View, Event, Policy, str], Decision]


def _of_version_1() -> Decide:
    from engine.rules.frozen import v1

    return v1.decide


_FROZEN: dict[int, Callable[[], Decide]] = {1: _of_version_1}


class UnknownRulesError(RuntimeError):
    """The journal was written by a newer arsync than this one."""


def rules_of(version: int) -> Decide:
    """The rules of this version.

    Raises:
        UnknownRulesError: this arsync does not have them.
    """
    if version == RULES_VERSION:
        return decide
    if version not in _FROZEN:
        raise UnknownRulesError(
            f"this arsync has no rules of version {version} (newest: {RULES_VERSION}); replay with the one that "
            "wrote the journal, or a newer one"
        )
    return _FROZEN[version]()
