"""The analyst's screen: the queue on the left, one conflict's story on the right, a key for each choice.

`arsync conflicts work` runs it. Nothing is chosen without a preview of what it would do and a reason; a choice names
the version that was on the screen, so that it is declined when the ERP has moved on since.
"""

from typing import ClassVar

from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.timer import Timer
from textual.widgets import Footer, Static

from engine.app.screen.asking import AskText, preview
from engine.app.screen.casework import Casework
from engine.app.screen.filtering import HELP, FilterError, read_filter
from engine.app.screen.queue import PAGE, Queue
from engine.app.screen.story import draw, will_do
from engine.flow.choosing import Settled, UnknownConflictError
from engine.flow.explaining import Story
from engine.store.conflict_queries import Line, Sort, Wanted

_REST_SECONDS = 0.12
"""How long the cursor rests before a story is read: scrolling past costs nothing."""
_SORTS: tuple[Sort, ...] = ("age", "amount", "kind", "customer")


class WorkApp(App[None]):
    """See the module."""

    TITLE = "arsync conflicts"
    CSS = """
    #queue { width: 45%; border-right: solid $accent; }
    #story { width: 55%; padding: 0 1; }
    #status { height: 1; background: $panel; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "choose('accept_erp')", "Accept ERP"),
        Binding("b", "choose('rebase')", "Rebase"),
        Binding("r", "choose('retry')", "Retry"),
        Binding("h", "choose('hold')", "Hold"),
        Binding("u", "undo", "Undo"),
        Binding("t", "take", "Take on"),
        Binding("c", "note", "Comment"),
        Binding("slash", "filter", "Filter"),
        Binding("s", "sort", "Sort"),
        Binding("g", "reload", "Reload"),
        Binding("q", "quit", "Quit"),
    ]

    def __init__(self, casework: Casework, wanted: Wanted, sort: Sort = "age") -> None:
        super().__init__()
        self._casework = casework
        self._start = wanted
        self._wanted = wanted
        self._sort: Sort = sort
        self._typed = ""
        self._rest: Timer | None = None
        self._story: tuple[Line, Story] | None = None
        self._counted_once = False

    def compose(self) -> ComposeResult:
        yield Static("", id="status", markup=False)
        with Horizontal():
            yield Queue(self._needed, self._moved)
            with VerticalScroll(id="story", can_focus=True):
                yield Static("", id="told", markup=False)
        yield Footer()

    @property
    def queue(self) -> Queue:
        return self.screen_stack[0].query_one(Queue)

    @property
    def settled(self) -> bool:
        """Whether what is under the cursor is told, and nothing is on its way."""
        chosen = self.queue.chosen
        told = self._story[0] if self._story else None
        same = chosen is not None and told is not None and (chosen.system, chosen.id) == (told.system, told.id)
        return (self._counted_once and self.queue.count == 0) or same

    def on_mount(self) -> None:
        self.queue.focus()
        self.action_reload()

    # What is shown.

    def action_reload(self) -> None:
        """Read the queue anew."""
        self._count(self._wanted)

    @work(thread=True, exclusive=True, group="count")
    def _count(self, wanted: Wanted) -> None:
        found = self._casework.count(wanted)
        self.call_from_thread(self._counted, found)

    def _counted(self, found: int) -> None:
        self._story = None
        self._counted_once = True
        self.queue.fill(found)
        words = f" matching {self._typed}" if self._typed else ""
        self._say(f"{found} conflicts{words}, by {self._sort}")
        if not found:
            self._show("Nothing waits here.")

    def _needed(self, page: int, generation: int) -> None:
        self._fetch(page, generation, self.queue.count)

    @work(thread=True, group="pages")
    def _fetch(self, page: int, generation: int, total: int) -> None:
        lines = self._casework.page(self._wanted, self._sort, page * PAGE, PAGE, total)
        self.call_from_thread(self.queue.take, page, generation, lines)

    def _moved(self) -> None:
        """Wait until the cursor rests, then tell that conflict's story."""
        if self._rest is not None:
            self._rest.stop()
        self._rest = self.set_timer(_REST_SECONDS, self._tell_chosen)

    def _tell_chosen(self) -> None:
        line = self.queue.chosen
        if line is not None:
            self._tell(line)

    @work(thread=True, exclusive=True, group="story")
    def _tell(self, line: Line) -> None:
        try:
            story = self._casework.story(line)
        except UnknownConflictError as error:
            self.call_from_thread(self._show, str(error))
            return
        self.call_from_thread(self._told, line, story)

    def _told(self, line: Line, story: Story) -> None:
        chosen = self.queue.chosen
        if chosen is None or (chosen.system, chosen.id) != (line.system, line.id):
            return
        self._story = (line, story)
        self.screen_stack[0].query_one("#told", Static).update(draw(story))
        self.screen_stack[0].query_one("#story").scroll_home(animate=False)

    def _show(self, text: str) -> None:
        self._story = None
        self.screen_stack[0].query_one("#told", Static).update(text)

    def _say(self, text: str) -> None:
        self.screen_stack[0].query_one("#status", Static).update(text)

    # What is done.

    def action_choose(self, choice: str) -> None:
        """Show what the choice would do, ask why, and make it."""
        if self._story is None:
            self._say("wait until the conflict is shown, then choose")
            return
        line, story = self._story
        prospect = next((one for one in story.explained.prospects if one.choice == choice), None)
        if prospect is None or prospect.declined is not None:
            why = prospect.declined if prospect else f"conflict {line.id} is {story.explained.conflict.state}"
            self._say(f"{choice} is not possible: {why}")
            return
        does = will_do(choice, prospect.steps, None)
        version = story.explained.version

        def answered(reason: str | None) -> None:
            if reason is not None:
                self._choose(line, choice, reason, version)

        self.push_screen(preview(choice, f"{line.kind} {line.id}", does), answered)

    @work(thread=True, group="acts")
    def _choose(self, line: Line, choice: str, reason: str, version: str) -> None:
        settled = self._casework.choose(line, choice, reason, version)
        self.call_from_thread(self._done, line, settled)

    def action_undo(self) -> None:
        """Take back what was chosen about this conflict, while there is time."""
        if self.queue.chosen is not None:
            self._undo(self.queue.chosen)

    @work(thread=True, group="acts")
    def _undo(self, line: Line) -> None:
        self.call_from_thread(self._done, line, self._casework.undo(line))

    def _done(self, line: Line, settled: Settled) -> None:
        if settled.declined is not None:
            self._say(f"declined: {settled.declined}")
        else:
            wait = f"; u takes it back until {settled.apply_at:%H:%M:%S} UTC" if settled.apply_at else ""
            self._say(f"{line.id} {settled.state}{f': {settled.choice}' if settled.choice else ''}{wait}")
        self._again()

    def action_take(self) -> None:
        """Take the conflict on, or give it back."""
        if self.queue.chosen is not None:
            self._take(self.queue.chosen)

    @work(thread=True, group="acts")
    def _take(self, line: Line) -> None:
        whom = self._casework.take(line)
        self.call_from_thread(self._say, f"{whom or 'nobody'} works on {line.id}")
        self.call_from_thread(self._again)

    def action_note(self) -> None:
        """Keep a sentence about the conflict."""
        line = self.queue.chosen
        if line is None:
            return

        def answered(text: str | None) -> None:
            if text is not None:
                self._note(line, text)

        self.push_screen(AskText(f"Comment on {line.kind} {line.id}"), answered)

    @work(thread=True, group="acts")
    def _note(self, line: Line, text: str) -> None:
        self._casework.note(line, text)
        self.call_from_thread(self._again)

    def _again(self) -> None:
        """Draw the queue's pages and the story anew; how many there are stays, so that nothing jumps."""
        # What was shown is old now: nothing is chosen about it before it is told again.
        self._story = None
        self.queue.fill(self.queue.count)

    def action_filter(self) -> None:
        """Ask for a filter; an empty one shows all that the command line chose."""

        def answered(text: str | None) -> None:
            if text is None:
                return
            try:
                self._wanted = read_filter(text, self._casework.actor, self._start)
            except FilterError as error:
                self._say(str(error))
                return
            self._typed = text
            self.action_reload()

        self.push_screen(AskText("Show only", HELP, self._typed, may_be_empty=True), answered)

    def action_sort(self) -> None:
        """The next order: by age, by money, by kind, by customer."""
        self._sort = _SORTS[(_SORTS.index(self._sort) + 1) % len(_SORTS)]
        self.action_reload()
