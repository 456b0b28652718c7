"""Which conflicts a verb is about: the same options with the same meaning for all verbs that take many."""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import click

from engine.app.wiring import now

if TYPE_CHECKING:
    from engine.store.conflict_queries import Wanted

_STATES = ("open", "all", "detected", "held", "chosen", "applied", "dismissed")
_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 604800}


def _span(ctx: click.Context, param: click.Parameter, value: str | None) -> dt.timedelta | None:
    """A length of time: 30m, 12h, 7d, 2w."""
    if value is None:
        return None
    if value[-1:] not in _UNITS or not value[:-1].isdigit():
        raise click.BadParameter(f"{value} is no length of time; write 30m, 12h, 7d or 2w", ctx, param)
    return dt.timedelta(seconds=int(value[:-1]) * _UNITS[value[-1]])


def _money(ctx: click.Context, param: click.Parameter, value: str | None) -> Decimal | None:
    if value is None:
        return None
    try:
        amount = Decimal(value)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite():
        raise click.BadParameter(f"{value} is no amount; write 1200 or 1200.50", ctx, param)
    return amount


def complete_kind(_ctx: click.Context, _param: click.Parameter, typed: str) -> list[str]:
    """For the shell: the kinds that begin with what is typed."""
    from engine.model.records import ConflictKind

    return [str(kind) for kind in ConflictKind if kind.startswith(typed)]


def _kinds(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    from engine.model.records import ConflictKind

    for kind in value:
        if kind not in set(ConflictKind):
            raise click.BadParameter(f"there is no kind {kind}; kinds are: {', '.join(ConflictKind)}", ctx, param)
    return value


_OPTIONS = (
    click.option("--system", help="Only this system."),
    click.option("--state", type=click.Choice(_STATES), default="open", show_default=True, help="`open` is all that "
                 "something can still be chosen about."),
    click.option("--kind", "kinds", multiple=True, callback=_kinds, shell_complete=complete_kind, metavar="KIND",
                 help="Only this kind; may be given more than once."),
    click.option("--customer", help="Only this customer."),
    click.option("--company", help="Only this company."),
    click.option("--currency", help="Only this currency."),
    click.option("--assignee", help="Only what this person works on; - for what nobody does."),
    click.option("--intent", help="Only what is about this intent."),
    click.option("--document", help="Only what is about this document, as invoice/KEY."),
    click.option("--older", callback=_span, metavar="SPAN", help="Only what is older than this: 12h, 7d."),
    click.option("--newer", callback=_span, metavar="SPAN", help="Only what was detected within this time."),
    click.option("--least", callback=_money, metavar="AMOUNT", help="Only with this much money at stake, or more."),
    click.option("--most", callback=_money, metavar="AMOUNT", help="Only with this much money at stake, or less."),
)  # fmt: skip


def selection(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that select conflicts."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def wanted(options: dict[str, Any]) -> "Wanted":
    """What the options of `selection` select; they are taken out of `options`."""
    from engine.store.conflict_queries import OPEN, Wanted

    state, assignee = options.pop("state"), options.pop("assignee")
    older, newer = options.pop("older"), options.pop("newer")
    moment = now()
    return Wanted(
        states={"open": OPEN, "all": ()}.get(state, (state,)),
        kinds=options.pop("kinds"),
        assignee=None if assignee == "-" else assignee,
        unassigned=assignee == "-",
        before=moment - older if older else None,
        since=moment - newer if newer else None,
        **{name: options.pop(name) for name in
           ("system", "customer", "company", "currency", "intent", "document", "least", "most")},
    )  # fmt: skip
