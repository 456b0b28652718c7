"""The screen's questions: a preview before a choice is made, and a line of text."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

_KEYS: list[BindingType] = [Binding("escape", "cancel", "Cancel")]


class AskText(ModalScreen[str | None]):
    """Asks for a line of text; None when it was cancelled."""

    BINDINGS: ClassVar[list[BindingType]] = _KEYS
    DEFAULT_CSS = """
    AskText { align: center middle; }
    AskText > Vertical { width: 80%; max-width: 100; height: auto; border: round $accent; padding: 1 2; }
    """

    def __init__(self, question: str, hint: str = "", text: str = "", *, may_be_empty: bool = False) -> None:
        super().__init__()
        self._question = question
        self._hint = hint
        self._text = text
        self._may_be_empty = may_be_empty

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(self._question, id="question", markup=False)
            yield Input(self._text, placeholder=self._hint, id="answer")
            yield Static("Enter takes it, Escape leaves all as it is", classes="dim", markup=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        text = event.value.strip()
        if text or self._may_be_empty:
            self.dismiss(text)

    def action_cancel(self) -> None:
        self.dismiss(None)


def preview(choice: str, about: str, does: str) -> AskText:
    """What a choice would do, and the reason for it: without one it is not made."""
    question = f"{choice} for {about}\n\n{does}\n\nWhy? The reason is kept in the journal."
    return AskText(question, "the reason")
