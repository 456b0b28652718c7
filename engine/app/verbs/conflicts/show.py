"""`arsync conflicts show`: one conflict so that someone who does not know arsync can say what happened."""

from typing import TYPE_CHECKING

import click

from engine.app.printing import as_json, of_system
from engine.app.verbs.conflicts.reaching import Settings, find, open_connection, policy_for

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engine.flow.explaining import Happening, Story


@click.command()
@click.argument("id_", metavar="ID")
@of_system
@as_json
@click.pass_obj
def show(settings: Settings, id_: str, system: str | None, json_: bool) -> None:  # noqa: FBT001
    """Both sides and what was seen before, the timeline, what was said to the ERP, and what each choice would do.

    ID may be shortened. A * marks what is different. `shown as` is the version to name with `resolve --as-shown`.
    """
    from engine.app.wiring import now
    from engine.flow.explaining import tell

    with open_connection(settings) as connection:
        owner, found = find(connection, id_, system)
        with connection.cursor() as cursor:
            story = tell(cursor, owner, found, policy_for(settings[0], owner), now())
    if json_:
        from engine.model.canonical import canonical_bytes

        click.echo(canonical_bytes(story).decode())
        return
    for line in lay_out(story):
        click.echo(line)


def lay_out(story: "Story") -> "Iterable[str]":
    """The lines for a terminal."""
    from engine.app.verbs.conflicts.layout import colour, money, paragraph

    record = story.explained.conflict
    head = (
        f"{record.id}  {record.kind}  {colour(record.state, record.state)}  {money(record.amount, record.currency)}"
    )
    yield head.rstrip()
    yield paragraph(record.sentence)
    yield ""
    about = (("system", story.system), ("intent", record.intent), ("documents", ", ".join(record.documents)),
             ("commands", ", ".join(record.commands)), ("customer", record.customer), ("rule", record.rule),
             ("also", ", ".join(record.tags)), ("policy", f"{record.default_choice} unless somebody chooses"),
             ("choice", _choice(story)), ("works on it", story.assignee),
             ("shown as", story.explained.version))  # fmt: skip
    for name, value in about:
        if value:
            yield paragraph(f"{name:12} {value}", "", " " * 13)
    if story.columns:
        yield ""
        yield from _table(story)
    yield from _section("What happened (UTC)", story.timeline)
    yield from _section("What was said to the ERP", story.exchange)
    yield from _prospects(story)


def _choice(story: "Story") -> str | None:
    record = story.explained.conflict
    if record.choice is None:
        return None
    wait = f", can be undone until {record.apply_at:%H:%M:%S} UTC" if record.apply_at else ""
    return f"{record.choice} by {record.chosen_by}: {record.why}{wait}"


def _table(story: "Story") -> "Iterable[str]":
    from engine.app.verbs.conflicts.layout import columns, width

    room = (width() - 20) // 3
    head = ("", "", "seen by AR", "AR asks for", "ERP says")
    rows = [
        ("*" if one.differs else "", one.name, one.base or "", one.ar or "", one.erp or "") for one in story.columns
    ]
    return columns([head, *rows], (1, 15, room, room, room))


def _section(title: str, happenings: "tuple[Happening, ...]") -> "Iterable[str]":
    from engine.app.verbs.conflicts.layout import moment, paragraph

    if not happenings:
        return
    yield ""
    yield title
    for one in happenings:
        where = f" [position {one.position}]" if one.position else ""
        yield paragraph(f"{moment(one.at)}  {one.who:7} {one.what}{where}", "  ", " " * 31)


def _prospects(story: "Story") -> "Iterable[str]":
    from engine.app.verbs.conflicts.layout import paragraph

    if not story.explained.prospects:
        return
    yield ""
    yield "What each choice would do now"
    for one in story.explained.prospects:
        does = one.declined or "; ".join(one.steps) or _NOTHING.get(one.choice, "nothing is sent")
        cannot = "not possible: " if one.declined else ""
        yield paragraph(f"{one.choice:11} {cannot}{does}", "  ", " " * 14)


_NOTHING = {
    "accept_erp": "the ERP's word stands and the conflict is closed; nothing is sent",
    "hold": "it stays held until somebody chooses; nothing is sent",
}
