"""The queue on the left: as long as the store's, and no more of it in memory than a few pages around the view.

Lines are drawn when they are seen. What is not at hand yet is drawn empty and asked for; it appears when it comes.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.events import Click
from textual.geometry import Region, Size
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from engine.app.verbs.conflicts.layout import age, cut, money
from engine.app.wiring import now
from engine.store.conflict_queries import Line

PAGE = 100
KEPT = 20
"""Pages that are kept; the one that was seen longest ago goes first."""
_STYLES = {
    "detected": Style(color="yellow"),
    "held": Style(color="yellow"),
    "chosen": Style(color="cyan"),
    "applied": Style(color="green"),
    "dismissed": Style(dim=True),
}
_CHOSEN = Style(reverse=True)


class Queue(ScrollView, can_focus=True):
    """Conflicts by line. `needed` is called for a page that is not at hand, with the list's generation; the answer
    is `take`. `moved` is called when another conflict is under the cursor, or it has come to hand.

    They are calls and no messages: what the app itself brings about would never bubble up to it.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "jump(0)", "First", show=False),
        Binding("end", "jump(-1)", "Last", show=False),
    ]
    cursor: reactive[int] = reactive(0)

    def __init__(self, needed: Callable[[int, int], None], moved: Callable[[], None]) -> None:
        super().__init__(id="queue")
        self._needed = needed
        self._moved = moved
        self.count = 0
        self.generation = 0
        self._pages: OrderedDict[int, list[Line]] = OrderedDict()
        self._asked: set[int] = set()

    def fill(self, count: int) -> None:
        """Begin anew with so many conflicts; the cursor stays where it can."""
        self.count = count
        self.generation += 1
        self._pages.clear()
        self._asked.clear()
        self.virtual_size = Size(0, count)
        self.cursor = max(0, min(self.cursor, count - 1))
        self.refresh()
        self._moved()

    def take(self, page: int, generation: int, lines: list[Line]) -> None:
        """A page that was asked for; one of an older list is thrown away."""
        if generation != self.generation:
            return
        self._asked.discard(page)
        self._pages[page] = lines
        self._pages.move_to_end(page)
        while len(self._pages) > KEPT:
            self._pages.popitem(last=False)
        self.refresh()
        if self.cursor // PAGE == page:
            self._moved()

    @property
    def pages_held(self) -> int:
        """How many pages are in memory."""
        return len(self._pages)

    @property
    def chosen(self) -> Line | None:
        """The conflict under the cursor, when it is at hand."""
        return self.line_at(self.cursor)

    def line_at(self, place: int) -> Line | None:
        """The conflict at a place; None is not at hand: it is asked for."""
        if not 0 <= place < self.count:
            return None
        page = self._pages.get(place // PAGE)
        if page is None:
            self._need(place // PAGE)
            return None
        self._pages.move_to_end(place // PAGE)
        return page[place % PAGE] if place % PAGE < len(page) else None

    def render_line(self, y: int) -> Strip:
        """One line of the view."""
        place = y + self.scroll_offset.y
        width = self.size.width
        if place >= self.count:
            return Strip.blank(width)
        line = self.line_at(place)
        style = _STYLES.get(line.state, Style()) if line else Style()
        if place == self.cursor:
            style += _CHOSEN
        text = layout(line, width) if line else "..."
        return Strip([Segment(text.ljust(width)[:width], style)], width)

    def watch_cursor(self, before: int, place: int) -> None:
        """Keep the cursor in view."""
        if before != place:
            self.scroll_to_region(Region(0, place, 1, 1), animate=False, force=True)
            self.refresh()
            self._moved()

    def action_move(self, by: int) -> None:
        self._go(self.cursor + by)

    def action_page(self, by: int) -> None:
        self._go(self.cursor + by * max(1, self.size.height - 1))

    def action_jump(self, place: int) -> None:
        self._go(place if place >= 0 else self.count - 1)

    def on_click(self, event: Click) -> None:
        """A line that is clicked is the one under the cursor."""
        self._go(self.scroll_offset.y + event.y)

    def _go(self, place: int) -> None:
        self.cursor = max(0, min(place, self.count - 1))

    def _need(self, page: int) -> None:
        if page not in self._asked:
            self._asked.add(page)
            self._needed(page, self.generation)


def layout(line: Line, width: int) -> str:
    """One conflict in so many columns: how long it stands, what it is, the money, whose it is."""
    mine = f" @{line.assignee}" if line.assignee else ""
    choice = f" -> {line.choice}" if line.choice else ""
    head = f"{age(line.detected_at, now()):>4} {line.kind:19} {money(line.amount, line.currency):>14} "
    return cut(f"{head}{line.customer or '-'}{mine}{choice}  {line.sentence}", width)
