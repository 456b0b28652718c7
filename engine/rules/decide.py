"""The one place that decides. Pure: the same records, event and policy give the same decision, byte for byte."""

from engine.model.events import DocumentsTold, Event, IntentSubmitted, KeyLookedUp, OutcomeReceived
from engine.rules.commands import take_lookup, take_outcome, take_timer
from engine.rules.desk import Decision, Desk, View
from engine.rules.intents import submit
from engine.rules.invoices import take_documents
from engine.rules.policy import Policy

RULES_VERSION = 1


def decide(view: View, event: Event, policy: Policy, system: str) -> Decision:
    """What follows from one event.

    Args:
        view: every record that the event can touch; it is not changed.
        event: what happened, with its time.
        policy: what is chosen about conflicts, and the bounds of waiting.
        system: the name of the ERP system; part of every command's key.
    """
    desk = Desk(view, policy, system)
    if isinstance(event, DocumentsTold):
        take_documents(desk, event)
    elif isinstance(event, IntentSubmitted):
        submit(desk, event.intent, event.at)
    elif isinstance(event, OutcomeReceived):
        take_outcome(desk, event)
    elif isinstance(event, KeyLookedUp):
        take_lookup(desk, event)
    else:
        take_timer(desk, event)
    return desk.out
