"""`arsync conflicts work`: shown, filtered, scrolled, chosen and undone by keys, in Textual's pilot and on a pty."""

import asyncio
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from io import StringIO
from pathlib import Path

import psycopg
import pytest
from rich.console import Console
from textual.pilot import Pilot
from textual.widgets import Input, Static

from engine.app.config import load_config
from engine.app.screen.app import WorkApp
from engine.app.screen.asking import AskText
from engine.app.screen.casework import Casework
from engine.app.screen.filtering import FilterError, read_filter
from engine.app.screen.queue import KEPT, PAGE
from engine.store.conflict_queries import Line, Sort, Wanted
from engine.store.unit import Connection
from tests.app.test_conflicts_verbs import call, desk, of  # noqa: F401 - desk is a fixture
from tests.flow.test_dispatcher import House, house  # noqa: F401 - a fixture

Act = Callable[["Analyst"], Awaitable[None]]
MANY = 100_000


class Watched(Casework):
    """Counts the pages that are read."""

    def __init__(self, connect: Callable[[], Connection], config: object, actor: str) -> None:
        super().__init__(connect, config, actor)  # type: ignore[arg-type]
        self.pages: list[int] = []

    def page(self, wanted: Wanted, sort: Sort, offset: int, limit: int, total: int) -> list[Line]:
        self.pages.append(offset)
        return super().page(wanted, sort, offset, limit, total)


class Analyst:
    """Someone at the screen."""

    def __init__(self, app: WorkApp, pilot: Pilot[None], casework: Watched) -> None:
        self.app, self.pilot, self.casework = app, pilot, casework

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.rest()

    async def rest(self) -> None:
        """Until nothing is under way."""
        until, quiet = time.monotonic() + 60, 0
        while quiet < 2:
            assert time.monotonic() < until, (self.status, self.story)
            await self.pilot.pause(0.05)
            await self.app.workers.wait_for_complete()
            quiet = quiet + 1 if self.app.settled else 0

    async def type(self, text: str) -> None:
        self.app.screen.query_one(Input).value = text
        await self.press("enter")

    @property
    def status(self) -> str:
        return str(self.app.screen_stack[0].query_one("#status", Static).content)

    @property
    def story(self) -> str:
        return plain(self.app.screen_stack[0].query_one("#told", Static).content)

    @property
    def question(self) -> str:
        assert isinstance(self.app.screen, AskText)
        return str(self.app.screen.query_one("#question", Static).content)


def plain(drawn: object) -> str:
    console = Console(file=StringIO(), width=200)
    console.print(drawn)
    file = console.file
    assert isinstance(file, StringIO)
    return file.getvalue()


@pytest.fixture
def sit(desk: House, store_dsn: str) -> Callable[[Act], None]:  # noqa: F811
    """Let an analyst sit down at the screen of this store, and act."""

    def run(act: Act, wanted: Wanted | None = None) -> None:
        async def session() -> None:
            config, _ = load_config(os.environ["ARSYNC_CONFIG"])
            casework = Watched(lambda: psycopg.connect(store_dsn, autocommit=True), config, "ann")
            app = WorkApp(casework, wanted or Wanted(system=desk.system))
            try:
                async with app.run_test(size=(160, 40)) as pilot:
                    analyst = Analyst(app, pilot, casework)
                    await analyst.rest()
                    await act(analyst)
            finally:
                casework.close()

        asyncio.run(session())

    return run


def test_the_queue_and_the_story_of_the_chosen_one_are_shown(desk: House, sit: Callable[[Act], None]) -> None:  # noqa: F811
    async def act(ann: Analyst) -> None:
        assert ann.status == "3 conflicts, by age"
        assert ann.app.queue.chosen is not None
        assert ann.app.queue.chosen.intent == "p1"
        first = of(desk, "p1")
        for text in (first.id, first.sentence, "seen by AR", "AR asks for", "ERP says", "What happened (UTC)",
                     "What each choice would do now", "intent p1: held -> refused"):  # fmt: skip
            assert text in ann.story, text
        await ann.press("down", "j")
        assert of(desk, "p3").id in ann.story
        await ann.press("home")
        assert first.id in ann.story

    sit(act)


def test_a_choice_is_shown_first_wants_a_reason_and_can_be_undone(desk: House, sit: Callable[[Act], None]) -> None:  # noqa: F811
    async def act(ann: Analyst) -> None:
        await ann.press("a")
        assert "accept_erp for erp_rejected" in ann.question
        assert "intent p1: held -> refused" in ann.question
        await ann.press("enter")
        assert isinstance(ann.app.screen, AskText), "without a reason nothing is chosen"
        await ann.press("escape")
        assert of(desk, "p1").state == "held"
        await ann.press("a")
        await ann.type("booked by hand")
        chosen = of(desk, "p1")
        assert (chosen.state, chosen.choice, chosen.chosen_by, chosen.why) == (
            "chosen", "accept_erp", "ann", "booked by hand",
        )  # fmt: skip
        assert "u takes it back until" in ann.status
        assert "accept_erp by ann: booked by hand" in ann.story
        assert desk.intent("p1") == "held"
        await ann.press("u")
        assert (of(desk, "p1").state, of(desk, "p1").choice) == ("held", None)
        await ann.press("u")
        assert "declined" in ann.status

    sit(act)


def test_what_has_moved_on_since_it_was_shown_is_declined(desk: House, sit: Callable[[Act], None]) -> None:  # noqa: F811
    async def act(ann: Analyst) -> None:
        await ann.press("a")
        assert call("resolve", of(desk, "p1").id, "--choice", "hold", "--reason", "mine").exit_code == 0
        desk.erp.pay("1", desk.erp.invoices["1"].open_amount, "by hand")
        desk.erp.tell(desk.connection, desk.clock, "1")
        await ann.type("as it was shown")
        assert "declined: What was shown" in ann.status
        assert of(desk, "p1").chosen_by != "ann"

    sit(act)


def test_filter_sort_take_on_and_comment(desk: House, sit: Callable[[Act], None]) -> None:  # noqa: F811
    async def act(ann: Analyst) -> None:
        await ann.press("s")
        assert ann.status == "3 conflicts, by amount"
        await ann.press("slash")
        await ann.type("over:50 under:99 kind:erp_rejected")
        assert "1 conflicts matching over:50" in ann.status
        assert ann.app.queue.chosen is not None
        assert ann.app.queue.chosen.intent == "p2"
        await ann.press("t", "c")
        await ann.type("asked the bank")
        assert "asked the bank" in ann.story
        await ann.press("slash")
        await ann.type("assignee:me")
        assert "1 conflicts" in ann.status
        await ann.press("slash")
        await ann.type("colour:red")
        assert "colour is not understood" in ann.status
        await ann.press("slash")
        await ann.type("kind:drift")
        assert "0 conflicts" in ann.status
        assert "Nothing waits here." in ann.story
        await ann.press("a")
        assert "wait until the conflict is shown" in ann.status
        await ann.press("slash")
        await ann.type("")
        assert "3 conflicts" in ann.status

    sit(act)


def test_a_choice_that_is_not_possible_says_why(desk: House, sit: Callable[[Act], None]) -> None:  # noqa: F811
    assert call("resolve", of(desk, "p1").id, "--choice", "accept_erp", "--reason", "x", "--now").exit_code == 0

    async def act(ann: Analyst) -> None:
        await ann.press("slash")
        await ann.type("state:all intent:p1")
        await ann.press("r")
        assert "retry is not possible" in ann.status

    sit(act)


def test_a_hundred_thousand_are_scrolled_and_only_what_is_seen_is_read(
    desk: House,  # noqa: F811
    sit: Callable[[Act], None],
) -> None:
    desk.connection.execute(
        """INSERT INTO conflict (system, id, kind, state, customer, detected_at, record, amount, currency)
           SELECT system, 'MANY' || lpad(n::text, 12, '0'), kind, 'held', n::text, detected_at + n * interval '1 s',
                  jsonb_set(record, '{id}', to_jsonb('MANY' || lpad(n::text, 12, '0'))), n, 'EUR'
           FROM (SELECT * FROM conflict WHERE system = %s ORDER BY id LIMIT 1) one, generate_series(1, %s) n""",
        (desk.system, MANY),
    )

    async def act(ann: Analyst) -> None:
        assert ann.status == f"{MANY + 3} conflicts, by age"
        queue = ann.app.queue
        before = len(ann.casework.pages)
        await ann.press("end")
        assert queue.chosen is not None
        assert queue.chosen.id == f"MANY{MANY:012}"
        assert f"MANY{MANY:012}" in ann.story
        assert len(ann.casework.pages) - before <= 2, "what was passed is not read"
        for _ in range(12):
            await ann.pilot.press("pageup")
        await ann.rest()
        assert queue.chosen is not None
        assert queue.chosen.id < f"MANY{MANY:012}"
        for place in range(0, MANY, MANY // 40):
            queue.cursor = place
            await ann.pilot.pause()
        await ann.rest()
        assert queue.pages_held <= KEPT
        assert len(ann.casework.pages) <= 120, "two pages for each place that was looked at, and no more"
        place = queue.cursor
        line = queue.line_at(place)
        assert line is not None
        assert line.id == ann.casework.page(Wanted(system=desk.system), "age", place, 1, queue.count)[0].id
        assert queue.line_at(place - place % PAGE) is not None

    sit(act)


@pytest.mark.parametrize(
    ("text", "said"),
    [("drift", "drift is not understood"), ("kind:x", "there is no kind x"), ("state:x", "there is no state x"),
     ("over:x", "x is no amount"), ("shape:round", "shape is not understood")],
)  # fmt: skip
def test_a_filter_that_is_not_understood_names_the_word(text: str, said: str) -> None:
    with pytest.raises(FilterError, match=said):
        read_filter(text, "ann", Wanted())


def test_without_a_terminal_it_says_what_to_use_instead(desk: House) -> None:  # noqa: F811
    refused = call("work")
    assert refused.exit_code == 1
    assert "arsync conflicts list" in refused.stderr


class Terminal:
    """A real terminal with the program in it."""

    def __init__(self, folder: Path, *words: str) -> None:
        self._ours, theirs = pty.openpty()
        arsync = Path(sys.executable).with_name("arsync")
        self.process = subprocess.Popen(
            [arsync, "conflicts", "work", *words], cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs,
            env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "30"}, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self._drawn = b""

    @property
    def shown(self) -> str:
        """What was drawn since the last key, without the terminal's own signs."""
        return re.sub(r"\x1b\[[0-9;?<=>]*[ -/]*[@-~]", "", self._drawn.decode("utf-8", "replace"))

    def until(self, text: str, seconds: float = 60.0) -> None:
        """Read what is drawn until this text has come."""
        end = time.monotonic() + seconds
        while text not in self.shown:
            assert time.monotonic() < end, self.shown[-2000:]
            self.read(0.2)

    def read(self, seconds: float) -> None:
        """Take what is drawn within this time. A terminal that nobody reads holds the program up when it is full."""
        ready, _, _ = select.select([self._ours], [], [], seconds)
        if ready:
            try:
                self._drawn += os.read(self._ours, 65536)
            except OSError:
                pytest.fail(f"it has ended: {self.shown[-2000:]}")

    def press(self, keys: str) -> None:
        self._drawn = b""
        os.write(self._ours, keys.encode())

    def close(self) -> int:
        code = self.process.wait(30)
        os.close(self._ours)
        return code


def test_in_a_real_terminal(desk: House, tmp_path: Path) -> None:  # noqa: F811
    terminal = Terminal(tmp_path, "--system", desk.system, "--actor", "ann")
    try:
        terminal.until("3 conflicts, by age")
        terminal.until("AR asks for")
        terminal.press("a")
        terminal.until("Why?")
        terminal.press("as booked\r")
        terminal.until("takes it back until")
        assert of(desk, "p1").chosen_by == "ann"
        terminal.press("u")
        # What was drawn may say "held" of the others too: the store says when it is done.
        end = time.monotonic() + 60
        while of(desk, "p1").state != "held":
            assert time.monotonic() < end, terminal.shown
            terminal.read(0.1)
        terminal.until("held")
        terminal.press("q")
        assert terminal.close() == 0
    finally:
        if terminal.process.poll() is None:
            terminal.process.kill()
            terminal.process.wait()
    assert of(desk, "p1").state == "held"
