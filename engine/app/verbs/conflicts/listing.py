"""`arsync conflicts list`: the queue, selected, sorted, counted and paged by the database."""

from typing import TYPE_CHECKING, Any

import click

from engine.app.printing import as_json
from engine.app.verbs.conflicts.reaching import Settings, open_connection
from engine.app.verbs.conflicts.selecting import selection, wanted

if TYPE_CHECKING:
    from engine.store.conflict_queries import Line, Wanted
    from engine.store.unit import Connection

_GROUPS = ("kind", "system", "customer", "company", "state", "assignee")


@click.command("list")
@selection
@click.option(
    "--sort",
    type=click.Choice(("age", "amount", "kind", "customer")),
    default="age",
    show_default=True,
    help="Oldest first, most money first, or by name.",
)
@click.option("--reverse", is_flag=True, help="The other way round.")
@click.option("--group", type=click.Choice(_GROUPS), help="Count by this instead of listing.")
@click.option("--count", "count_only", is_flag=True, help="Only how many there are.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(0), help="Lines of a page; 0 for all.")
@click.option("--page", default=1, show_default=True, type=click.IntRange(1), help="Which page.")
@as_json
@click.pass_obj
def list_conflicts(settings: Settings, /, json_: bool, **options: Any) -> None:  # noqa: FBT001
    """Conflicts with their one-sentence explanation, oldest first; those that are open unless told otherwise.

    --json prints an array of whole conflicts; with --group one of counts, with --count an object.
    """
    which = wanted(options)
    with open_connection(settings) as connection:
        if options["count_only"]:
            _count(connection, which, json_=json_)
        elif options["group"]:
            _group(connection, which, options["group"], json_=json_)
        elif json_:
            _documents(connection, which, options)
        else:
            _lines(connection, which, options)


def _documents(connection: "Connection", which: "Wanted", options: dict[str, Any]) -> None:
    """The records as the store holds them: nothing is decoded on its way."""
    from engine.store import conflict_queries

    with connection.cursor() as cursor:
        found = conflict_queries.documents(cursor, which, **_page(options))
        click.echo("[" + ",\n ".join(found) + "]")


def _lines(connection: "Connection", which: "Wanted", options: dict[str, Any]) -> None:
    from engine.app.verbs.conflicts import layout
    from engine.app.wiring import now
    from engine.store import conflict_queries

    with connection.cursor() as cursor:
        page = _page(options)
        # One more than is shown tells whether there is more; counting them all would take longer than listing.
        more = options["limit"] and {**page, "limit": options["limit"] + 1}
        found = conflict_queries.lines(cursor, which, **(more or page))
    further = bool(options["limit"]) and len(found) > options["limit"]
    found = found[: options["limit"] or None]
    moment, room = now(), layout.width()
    several = len({line.system for line in found}) > 1
    for line in found:
        click.echo("\n".join(_shown(line, layout.age(line.detected_at, moment), room, several=several)))
    rest = f"; more with --page {options['page'] + 1}" if further else ""
    click.echo(f"{len(found)} conflict{'s' if len(found) != 1 else ''}{rest}")


def _shown(line: "Line", age: str, room: int, *, several: bool) -> list[str]:
    """Two lines: what it is, and the sentence."""
    from engine.app.verbs.conflicts.layout import colour, cut, money

    state = colour(line.state.ljust(9), line.state)
    head = f"{line.id}  {line.kind.ljust(19)} {state} {age.rjust(4)} {money(line.amount, line.currency).rjust(16)}"
    who = " ".join(part for part in (line.system if several else "", line.assignee or "") if part)
    return [f"{head}  {who}".rstrip(), f"    {cut(line.sentence, room - 4)}"]


def _count(connection: "Connection", which: "Wanted", *, json_: bool) -> None:
    import json

    from engine.store import conflict_queries

    with connection.cursor() as cursor:
        number = conflict_queries.count(cursor, which)
    click.echo(json.dumps({"count": number}) if json_ else str(number))


def _group(connection: "Connection", which: "Wanted", by: Any, *, json_: bool) -> None:
    import json

    from engine.app.verbs.conflicts import layout
    from engine.app.wiring import now
    from engine.store import conflict_queries

    with connection.cursor() as cursor:
        found = conflict_queries.groups(cursor, which, by)
    if json_:
        rows = [{by: name, "count": number, "money": sums, "oldest": since.isoformat()} for name, number, sums, since
                in found]  # fmt: skip
        click.echo(json.dumps(rows, indent=2))
        return
    for name, number, sums, since in found:
        click.echo(f"{str(name or '-').ljust(24)} {number:7}  {layout.age(since, now()):>4}  {layout.amounts(sums)}")


def _page(options: dict[str, Any]) -> dict[str, Any]:
    limit = options["limit"] or None
    return {
        "sort": options["sort"],
        "backwards": options["reverse"],
        "limit": limit,
        "offset": (options["page"] - 1) * (limit or 0),
    }
