"""Reads what is typed into the screen's filter: words like `kind:drift customer:7 state:all over:1000`. Pure."""

from decimal import Decimal, InvalidOperation

import msgspec

from engine.model.records import ConflictKind
from engine.store.conflict_queries import OPEN, Wanted

_STATES = {"open": OPEN, "all": (), **{name: (name,) for name in (*OPEN, "applied", "dismissed")}}
_TEXTS = ("system", "customer", "company", "currency", "intent", "document")
HELP = "kind:drift state:all customer:7 system:NAME assignee:me intent:ID document:invoice/7 over:1000 under:5000"


class FilterError(ValueError):
    """What was typed is no filter; the sentence says why."""


def read_filter(text: str, actor: str, start: Wanted) -> Wanted:
    """What the words select, on top of what the command line has chosen.

    Raises:
        FilterError: with the word that is not understood.
    """
    found = start
    kinds: tuple[str, ...] = ()
    for word in text.split():
        name, colon, value = word.partition(":")
        if not colon or not value:
            raise FilterError(f"{word} is not understood; write {HELP}")
        if name == "kind":
            kinds += (_kind(value),)
            found = msgspec.structs.replace(found, kinds=kinds)
        elif name == "state":
            if value not in _STATES:
                raise FilterError(f"there is no state {value}; states are: {', '.join(_STATES)}")
            found = msgspec.structs.replace(found, states=_STATES[value])
        elif name == "assignee":
            whom = actor if value == "me" else value
            nobody = value == "-"
            found = msgspec.structs.replace(found, assignee=None if nobody else whom, unassigned=nobody)
        elif name in ("over", "under"):
            bound = {"over": "least", "under": "most"}[name]
            found = msgspec.structs.replace(found, **{bound: _amount(value)})
        elif name in _TEXTS:
            found = msgspec.structs.replace(found, **{name: value})
        else:
            raise FilterError(f"{name} is not understood; write {HELP}")
    return found


def _kind(value: str) -> str:
    if value not in set(ConflictKind):
        raise FilterError(f"there is no kind {value}; kinds are: {', '.join(ConflictKind)}")
    return value


def _amount(value: str) -> Decimal:
    try:
        amount = Decimal(value)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite():
        raise FilterError(f"{value} is no amount; write 1200 or 1200.50")
    return amount
