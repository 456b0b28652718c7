"""People on arsync's side: they choose about conflicts that are open, at random, and now and then take it back.

They choose through the same door as the command line. Some have looked before, and name what they saw.
"""

from collections.abc import Callable
from random import Random

from engine.flow.choosing import choose, explain, undo
from engine.rules.policy import Choice, Policy
from engine.store.unit import Connection
from tests.simulation.clock import Clock
from tests.simulation.mapping import VERSIONS

_CHOICES = (Choice.ACCEPT_ERP, Choice.REBASE, Choice.REBASE, Choice.RETRY, Choice.RETRY, Choice.HOLD)


class Analyst:
    """`pass_time` lets time go by between a look and a choice."""

    def __init__(
        self, system: str, dice: Random, clock: Clock, policy: Policy, pass_time: Callable[[float], None]
    ) -> None:
        self._system = system
        self._dice = dice
        self._clock = clock
        self._policy = policy
        self._pass_time = pass_time
        self.made = 0

    def work(self, connection: Connection) -> None:
        """One choice, if anything is open."""
        rows = connection.execute(
            """SELECT id, state FROM conflict WHERE system = %s AND state IN ('detected', 'held', 'chosen')
               ORDER BY detected_at DESC, id LIMIT 12""",
            (self._system,),
        ).fetchall()
        if not rows:
            return
        dice = self._dice
        conflict, state = dice.choice(rows)
        self.made += 1
        if state == "chosen" and dice.random() < 0.6:
            undo(connection, self._system, str(conflict), actor="analyst", reason="after all not",
                 policy=self._policy, clock=self._clock, versions=VERSIONS)  # fmt: skip
            return
        shown = None
        if dice.random() < 0.2:
            with connection.transaction(), connection.cursor() as cursor:
                shown = explain(cursor, self._system, str(conflict), self._policy, self._clock()).version
            self._pass_time(dice.choice((1.0, 30.0)))
        choose(connection, self._system, str(conflict), dice.choice(_CHOICES), actor="analyst", reason="best so",
               policy=self._policy, clock=self._clock, versions=VERSIONS, shown=shown,
               at_once=dice.random() < 0.3)  # fmt: skip
