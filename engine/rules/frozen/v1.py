"""Version 1: a deleted invoice was no longer known by its number, only by its key.

Later versions tell whoever names it so that it is gone. Nothing else was decided otherwise.
"""

from engine.model.events import Event
from engine.model.records import InvoiceRecord
from engine.rules.decide import decide_on
from engine.rules.desk import Decision, Desk, View
from engine.rules.policy import Policy


class FormerDesk(Desk):
    """A desk that does not find a deleted invoice by its number."""

    def _numbered(self, number: str) -> InvoiceRecord | None:
        found = [self._invoice(key) for key in self.view.numbers.get(number, ())]
        named = [one for one in found if one is not None and one.doc.number == number and not one.deleted]
        return named[0] if len(named) == 1 else None


def decide(view: View, event: Event, policy: Policy, system: str) -> Decision:
    """What followed from one event."""
    return decide_on(FormerDesk(view, policy, system), event)
