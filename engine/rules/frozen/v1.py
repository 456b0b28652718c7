"""Version 1: a name was a key where one has it, and a number only else; of a deleted invoice the key alone.

Later versions tell whoever names a deleted one by number that it is gone, and let the basis say which invoice is
meant where one has the name as its key and another as its number. What else they decide otherwise asks the desk for
the version of its rules: a write that is another one by the time it is sent, receipts and credits that are alike,
limits and blocks while others are on their way, what ends a dispute, and answers that are lost again and again.
"""

from engine.model.events import Event
from engine.model.records import InvoiceRecord
from engine.rules.decide import decide_on
from engine.rules.desk import Decision, Desk, View
from engine.rules.policy import Policy


class FormerDesk(Desk):
    """A desk that takes a name for a key first, and does not find a deleted invoice by its number."""

    rules = 1

    def invoices_named(self, name: str) -> list[InvoiceRecord]:
        keyed = self._invoice(name)
        if keyed is not None:
            return [self._seen(keyed)]
        numbered = [one for one in self._numbered(name) if not one.deleted]
        return [self._seen(numbered[0])] if len(numbered) == 1 else []


def decide(view: View, event: Event, policy: Policy, system: str) -> Decision:
    """What followed from one event."""
    return decide_on(FormerDesk(view, policy, system), event)
