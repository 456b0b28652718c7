"""How conflicts look on a terminal of any width: colours only there, 80 columns where the width is not known."""

import datetime as dt
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping
from decimal import Decimal

import click

_COLOURS = {"held": "yellow", "detected": "yellow", "chosen": "cyan", "applied": "green", "dismissed": "white"}


def width() -> int:
    """Columns of the terminal; 80 where there is none."""
    return max(60, min(shutil.get_terminal_size((80, 24)).columns, 140)) if sys.stdout.isatty() else 80


def colour(text: str, state: str) -> str:
    """A word in its state's colour; click takes colours off where no terminal is."""
    return click.style(text, fg=_COLOURS.get(state, "white"), bold=state in ("held", "detected"))


def age(since: dt.datetime, now: dt.datetime) -> str:
    """How long ago, in one unit: 45s, 12m, 3h, 9d."""
    seconds = max(0, int((now - since).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def span(seconds: float | None) -> str:
    """A length of time in one unit."""
    start = dt.datetime.min.replace(tzinfo=dt.UTC)
    return "-" if seconds is None else age(start, start + dt.timedelta(seconds=seconds))


def money(amount: Decimal | str | None, currency: str | None) -> str:
    """An amount with its currency."""
    return "" if amount is None else f"{amount} {currency or ''}".strip()


def moment(at: dt.datetime) -> str:
    """A time, to the second, UTC."""
    return at.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S")


def paragraph(text: str, indent: str = "", further: str | None = None) -> str:
    """A text broken to the width."""
    return textwrap.fill(
        text, width(), initial_indent=indent, subsequent_indent=indent if further is None else further,
        break_on_hyphens=False,
    )  # fmt: skip


def cut(text: str, room: int) -> str:
    """A text in so many columns."""
    return text if len(text) <= room else f"{text[: max(0, room - 3)]}..."


def columns(lines: Iterable[tuple[str, ...]], widths: tuple[int, ...]) -> list[str]:
    """Cells side by side, each broken within its own width."""
    shown = []
    for cells in lines:
        parts = [textwrap.wrap(cell, size) or [""] for cell, size in zip(cells, widths, strict=True)]
        for place in range(max(len(part) for part in parts)):
            row = (part[place] if place < len(part) else "" for part in parts)
            shown.append(" ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip())
    return shown


def amounts(money_by_currency: Mapping[str, str]) -> str:
    """Sums by currency in one line."""
    return ", ".join(f"{amount} {currency}" for currency, amount in sorted(money_by_currency.items())) or "-"
