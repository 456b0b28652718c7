"""Bars and lines as SVG, readable on paper and on any background. Numbers in, text out; nothing is measured here."""

import html
from collections.abc import Mapping, Sequence

import msgspec

_WIDTH, _LEFT, _RIGHT, _TOP = 720, 210, 130, 44
_ROW, _THICK = 26, 16
_COLOURS = ("#4c78a8", "#f58518", "#54a24b", "#e45756", "#72b7b2", "#b279a2")
_FONT = 'font-family="system-ui, sans-serif"'


class Bar(msgspec.Struct, frozen=True):
    """A value with the least and the most that was seen, where it is a median; `mark` counts the colours."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    mark: int = 0


def bars(title: str, unit: str, rows: Sequence[Bar]) -> str:
    """Horizontal bars from zero, in the order given, with whiskers from the least to the most."""
    most = max(1e-9, *(row.high if row.high is not None else row.value for row in rows))
    reach = (_WIDTH - _LEFT - _RIGHT) / most
    drawn = []
    for place, row in enumerate(rows):
        top = _TOP + place * _ROW
        middle = top + _THICK / 2
        end = _LEFT + row.value * reach
        drawn.append(_text(_LEFT - 8, middle + 4, row.label, anchor="end"))
        drawn.append(
            f'<rect x="{_LEFT}" y="{top}" width="{max(row.value * reach, 0.5):.1f}" height="{_THICK}" '
            f'fill="{_COLOURS[row.mark % len(_COLOURS)]}"/>'
        )
        if row.low is not None and row.high is not None:
            low, high = _LEFT + row.low * reach, _LEFT + row.high * reach
            ends = "".join(f"M{x:.1f} {middle - 4}V{middle + 4}" for x in (low, high))
            drawn.append(f'<path d="M{low:.1f} {middle}H{high:.1f}{ends}" stroke="#222" fill="none"/>')
            end = max(end, high)
        drawn.append(_text(end + 6, middle + 4, _number(row.value)))
    return _picture(title, unit, _TOP + len(rows) * _ROW + 8, drawn)


def lines(title: str, unit: str, across: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """One line for each name, of (x, y), both axes from zero."""
    high, wide = 220.0, float(_WIDTH - 90 - _RIGHT)
    points = [point for line in series.values() for point in line]
    most_x, most_y = (max(1e-9, *(point[axis] for point in points)) for axis in (0, 1))
    foot = _TOP + high
    drawn = [f'<path d="M90 {_TOP}V{foot:.0f}H{90 + wide:.0f}" stroke="#999" fill="none"/>']
    for part in (0.0, 0.5, 1.0):
        drawn.append(_text(84, foot - part * high + 4, _number(part * most_y), anchor="end"))
        drawn.append(_text(90 + part * wide, foot + 18, _number(part * most_x), anchor="middle"))
    drawn.append(_text(90 + wide / 2, foot + 36, across, anchor="middle"))
    for number, (name, line) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        at = [(90 + x / most_x * wide, foot - y / most_y * high) for x, y in line]
        way = "L".join(f"{x:.1f} {y:.1f}" for x, y in at)
        drawn.append(f'<path d="M{way}" stroke="{colour}" stroke-width="2" fill="none"/>')
        drawn.append(_text(at[-1][0] + 6, at[-1][1] + 4, name, colour=colour))
    return _picture(title, unit, foot + 46, drawn)


def _picture(title: str, unit: str, height: float, drawn: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" width="{_WIDTH}" role="img" '
        f'{_FONT} font-size="12"><title>{html.escape(title)}</title>'
        f'<rect width="{_WIDTH}" height="{height:.0f}" fill="#fff"/>'
    )
    name = _text(12, 22, f"{title}, {unit}", size=14)
    return "\n".join([head, name, *drawn, "</svg>", ""])


def _text(x: float, y: float, text: str, *, anchor: str = "start", colour: str = "#222", size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-size="{size}">'
        f"{html.escape(text)}</text>"
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.3g}"
