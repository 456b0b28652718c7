"""The one place that decides. Pure: the same records, event and policy give the same decision, byte for byte."""

from engine.model.events import (
    ChoiceMade,
    ChoiceUndone,
    DocumentCompared,
    DocumentsTold,
    Event,
    IntentSubmitted,
    KeyLookedUp,
    OutcomeReceived,
    Timer,
)
from engine.rules.choices import apply_choice, take_choice, take_undo
from engine.rules.commands import take_lookup, take_outcome, take_timer
from engine.rules.desk import Decision, Desk, View
from engine.rules.drift import take_comparison
from engine.rules.intents import submit
from engine.rules.invoices import take_documents
from engine.rules.later import end_overtaken
from engine.rules.policy import Policy
from engine.rules.refusals import tell_refusals

RULES_VERSION = Desk.rules
"""Raised whenever something else is decided; `engine.rules.versions` keeps what was decided before."""


def decide(view: View, event: Event, policy: Policy, system: str) -> Decision:
    """What follows from one event.

    Args:
        view: every record that the event can touch; it is not changed.
        event: what happened, with its time.
        policy: what is chosen about conflicts, and the bounds of waiting.
        system: the name of the ERP system; part of every command's key.
    """
    return decide_on(Desk(view, policy, system), event)


def decide_on(desk: Desk, event: Event) -> Decision:
    """What follows from one event, at a desk: that of today's rules, or a former one."""
    match event:
        case DocumentsTold():
            take_documents(desk, event)
        case IntentSubmitted():
            submit(desk, event.intent, event.at)
        case OutcomeReceived():
            take_outcome(desk, event)
            end_overtaken(desk, event.at)
        case KeyLookedUp():
            take_lookup(desk, event)
            end_overtaken(desk, event.at)
        case ChoiceMade():
            take_choice(desk, event)
        case ChoiceUndone():
            take_undo(desk, event)
        case DocumentCompared():
            take_comparison(desk, event)
        case _ if event.timer is Timer.APPLY_CHOICE:
            apply_choice(desk, event.subject, event.at)
        case _:
            take_timer(desk, event)
    tell_refusals(desk, event.at)
    return desk.out
