"""`arsync conflicts bulk`: one choice for many conflicts, shown before it is made."""

from typing import TYPE_CHECKING, Any

import click

from engine.app.printing import as_json
from engine.app.verbs.conflicts.reaching import Settings, me, open_connection, policy_for, versions_for
from engine.app.verbs.conflicts.resolve import CHOICES, DECLINED
from engine.app.verbs.conflicts.selecting import selection, wanted

if TYPE_CHECKING:
    from engine.flow.choosing import Settled
    from engine.store.conflict_queries import Line, Wanted
    from engine.store.unit import Connection

_MOST_SHOWN = 20


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@selection
@click.option("--choice", type=CHOICES, required=True, help="The one choice for all of them.")
@click.option("--reason", required=True, help="Why, for the journal.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@click.option("--now", "at_once", is_flag=True, help="Carry it out at once; it cannot be undone then.")
@click.option("--actor", help="In whose name; the login name otherwise.")
@as_json
@click.pass_obj
def bulk(
    settings: Settings, /, ids: tuple[str, ...], choice: str, reason: str, yes: bool, dry_run: bool, at_once: bool,  # noqa: FBT001
    actor: str | None, json_: bool, **options: Any,  # noqa: FBT001
) -> None:  # fmt: skip
    """Choose for every conflict that the options select, or for these IDs.

    What each would come to is worked out and shown first; each is then chosen as it was shown, so that one about
    which the ERP has moved on meanwhile is declined. Exit code 3 when any was declined.
    """
    import msgspec

    which = wanted(options)
    if ids:
        which = msgspec.structs.replace(which, ids=tuple(one.upper() for one in ids))
    with open_connection(settings) as connection:
        preview = _preview(settings, connection, which, choice)
        if not json_:
            _show(preview, choice)
        able = [(line, shown) for line, shown, declined in preview if declined is None]
        if dry_run or not able:
            _end_dry(preview, json_=json_)
            return
        if not yes:
            click.confirm(f"{choice} for these {len(able)}?", abort=True, err=True)
        done = [_choose(settings, connection, line, shown, choice, reason, actor or me(), at_once=at_once)
                for line, shown in able]  # fmt: skip
    _report(done, json_=json_)


def _preview(
    settings: Settings, connection: "Connection", which: "Wanted", choice: str
) -> "list[tuple[Line, str, str | None]]":
    """Each conflict with the version that is shown, and why the choice cannot be made for it, if so."""
    from engine.app.wiring import now
    from engine.flow.choosing import explain
    from engine.store import conflict_queries

    with connection.cursor() as cursor:
        found = []
        for line in conflict_queries.lines(cursor, which, limit=None):
            explained = explain(cursor, line.system, line.id, policy_for(settings[0], line.system), now())
            declined = next((one.declined for one in explained.prospects if one.choice == choice), "it is over")
            found.append((line, explained.version, declined))
        return found


def _show(preview: "list[tuple[Line, str, str | None]]", choice: str) -> None:
    from collections import Counter
    from decimal import Decimal

    from engine.app.verbs.conflicts import layout

    able = [line for line, _, declined in preview if declined is None]
    sums: dict[str, Decimal] = {}
    for line in able:
        if line.amount is not None and line.currency is not None:
            sums[line.currency] = sums.get(line.currency, Decimal(0)) + line.amount
    for line in able[:_MOST_SHOWN]:
        head = f"{line.id}  {line.kind.ljust(19)} {layout.money(line.amount, line.currency).rjust(16)}"
        click.echo(f"{head}  {line.customer or ''}".rstrip())
    if len(able) > _MOST_SHOWN:
        click.echo(f"... and {len(able) - _MOST_SHOWN} more")
    kinds = ", ".join(f"{number} {kind}" for kind, number in Counter(line.kind for line in able).most_common())
    total = layout.amounts({currency: str(amount) for currency, amount in sums.items()})
    click.echo(f"{choice}: {len(able)} conflicts ({kinds or 'none'}), {total} at stake")
    for line, _, declined in preview:
        if declined is not None:
            click.echo(layout.paragraph(f"not possible: {line.id}: {declined}", "", "  "))


def _end_dry(preview: "list[tuple[Line, str, str | None]]", *, json_: bool) -> None:
    import json

    if json_:
        rows = [{"conflict": line.id, "version": shown, "declined": why} for line, shown, why in preview]
        click.echo(json.dumps(rows, indent=2))


def _choose(
    settings: Settings, connection: "Connection", line: "Line", shown: str, choice: str, reason: str, actor: str, *,
    at_once: bool,
) -> "Settled":  # fmt: skip
    from engine.app.wiring import now
    from engine.flow import choosing

    config = settings[0]
    return choosing.choose(
        connection, line.system, line.id, choice, actor=actor, reason=reason, policy=policy_for(config, line.system),
        clock=now, versions=versions_for(config, line.system), shown=shown, at_once=at_once,
    )  # fmt: skip


def _report(done: "list[Settled]", *, json_: bool) -> None:
    from engine.model.canonical import canonical_bytes

    declined = [one for one in done if one.declined is not None]
    if json_:
        click.echo(canonical_bytes(done).decode())
    else:
        click.echo(f"{len(done) - len(declined)} chosen, {len(declined)} declined")
        for one in declined:
            click.echo(f"  {one.conflict}: {one.declined}")
    if declined:
        raise SystemExit(DECLINED)
