"""Draws one conflict's story: both sides in three columns, what happened, what each choice would do."""

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from engine.app.verbs.conflicts.layout import moment, money
from engine.flow.explaining import Happening, Story


def draw(story: Story) -> RenderableType:
    """The right half of the screen."""
    return Group(*_parts(story))


def _parts(story: Story) -> Iterable[RenderableType]:
    record = story.explained.conflict
    head = f"{record.id}  {record.kind}  {record.state}  {money(record.amount, record.currency)}"
    yield Text(head.rstrip(), style="bold")
    yield Text(record.sentence)
    about = (("system", story.system), ("intent", record.intent), ("documents", ", ".join(record.documents)),
             ("customer", record.customer), ("rule", record.rule), ("also", ", ".join(record.tags)),
             ("choice", _choice(story)), ("works on it", story.assignee))  # fmt: skip
    for name, value in about:
        if value:
            yield Text.assemble((f"{name:12} ", "dim"), value)
    if story.columns:
        yield Text("")
        yield _columns(story)
    yield from _happenings("What happened (UTC)", story.timeline)
    yield from _happenings("What was said to the ERP", story.exchange)
    yield from _prospects(story)


def _choice(story: Story) -> str | None:
    record = story.explained.conflict
    if record.choice is None:
        return None
    wait = f"; u takes it back until {record.apply_at:%H:%M:%S} UTC" if record.apply_at else ""
    return f"{record.choice} by {record.chosen_by}: {record.why}{wait}"


def _columns(story: Story) -> Table:
    table = Table(box=None, expand=True, pad_edge=False, show_edge=False)
    for title in ("", "", "seen by AR", "AR asks for", "ERP says"):
        table.add_column(title, overflow="fold")
    for one in story.columns:
        style = "bold yellow" if one.differs else ""
        table.add_row("*" if one.differs else "", one.name, one.base or "", one.ar or "", one.erp or "", style=style)
    return table


def _happenings(title: str, happenings: tuple[Happening, ...]) -> Iterable[RenderableType]:
    if not happenings:
        return
    yield Text("")
    yield Text(title, style="bold")
    for one in happenings:
        where = f" [position {one.position}]" if one.position else ""
        yield Text.assemble((f"{moment(one.at)} ", "dim"), (f"{one.who:7} ", "cyan"), one.what + where)


def _prospects(story: Story) -> Iterable[RenderableType]:
    if not story.explained.prospects:
        return
    yield Text("")
    yield Text("What each choice would do now", style="bold")
    for one in story.explained.prospects:
        yield Text.assemble((f"{one.choice:11} ", "cyan"), will_do(one.choice, one.steps, one.declined))


def will_do(choice: str, steps: tuple[str, ...], declined: str | None) -> str:
    """What a choice would do, in words."""
    nothing = {
        "accept_erp": "the ERP's word stands and the conflict is closed; nothing is sent",
        "hold": "it stays held until somebody chooses; nothing is sent",
    }
    does = declined or "; ".join(steps) or nothing.get(choice, "nothing is sent")
    return f"not possible: {does}" if declined else does
