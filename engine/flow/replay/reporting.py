"""The month's report: one HTML page with figures and plots, self-contained, for paper or a mail."""

import html
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from engine.flow.replay.closing import AGES, EFFECTS, Closing, close, period_bounds
from engine.store.archive import Archive, open_duckdb

_COLOURS = ("#4c78a8", "#f58518", "#54a24b", "#e45756", "#72b7b2", "#b279a2")
_STYLE = """body{font:14px/1.45 system-ui,sans-serif;color:#222;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse;width:100%;font-size:12px}
td,th{padding:3px 8px;border-bottom:1px solid #ddd;text-align:left}td.n{text-align:right;font-variant-numeric:
tabular-nums}svg{max-width:100%;height:auto}
@media print{body{margin:0}h2{break-after:avoid}svg,tr{break-inside:avoid}}"""


def page(archive: Archive, systems: Sequence[str], period: str) -> str:
    """The whole page."""
    parts = [_system(archive, name, close(archive, name, period)) for name in systems]
    title = f"Accounts receivable, {html.escape(period)}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f"<h1>{title}</h1>{''.join(parts)}</html>\n"
    )


def _system(archive: Archive, system: str, month: Closing) -> str:
    begin, after = (moment.replace(tzinfo=None) for moment in period_bounds(month.period))
    files = archive.files(system)
    with open_duckdb() as duck:

        def asked(question: str) -> list[tuple[Any, ...]]:
            found: list[tuple[Any, ...]] = duck.execute(question, [files, begin, after]).fetchall()
            return found

        inside = f"FROM ({EFFECTS}) WHERE effect ->> '$.type' = '{{}}' AND \"at\" >= ? AND \"at\" < ?"
        states = asked(
            "SELECT strftime(\"at\", '%d'), effect ->> '$.destination', count(*) "
            + inside.format("moved") + " AND effect ->> '$.machine' = 'invoice' "
            "AND effect ->> '$.source' <> effect ->> '$.destination' GROUP BY 1, 2 ORDER BY 1, 2"
        )  # fmt: skip
        kinds = asked(
            "SELECT effect ->> '$.kind', count(*) " + inside.format("raised") + " GROUP BY 1 ORDER BY 2 DESC, 1"
        )
        waits = asked(_WAITS)
    figures = [("open items", len(month.open_items)), ("cleared", month.cleared), ("posted", month.posted),
               ("commands under way", len(month.commands_under_way)),
               ("conflicts open", len(month.conflicts_open))]  # fmt: skip
    ages = [(f"{age}, {currency}", float(row[age])) for currency, row in sorted(month.ageing.items()) for age in AGES]
    return "".join([
        f"<h2>{html.escape(system)} at {month.cut_off:%Y-%m-%d %H:%M} UTC</h2>", _table(("figure", "count"), figures),
        "<h2>Subledger against ledger</h2>", _rows(month.balances),
        "<h2>States over time</h2>", _stacked(states),
        "<h2>Ageing of open items</h2>", _bars(ages),
        "<h2>Time from match to posted</h2>", _bars([(str(label), float(n)) for label, n in waits]),
        "<h2>Conflicts by kind</h2>", _bars([(str(kind), float(n)) for kind, n in kinds]),
        "<h2>Open items</h2>", _rows(month.open_items), "<h2>Conflicts open</h2>", _rows(month.conflicts_open),
    ])  # fmt: skip


_WAITS = f"""
    WITH moves AS (SELECT "at", n, effect ->> '$.subject' AS subject, effect ->> '$.trigger' AS trigger
                   FROM ({EFFECTS}) WHERE effect ->> '$.type' = 'moved' AND effect ->> '$.machine' = 'invoice'),
    waits AS (SELECT p.subject, epoch(min(p."at") - max(m."at")) AS s FROM moves p JOIN moves m
                ON m.subject = p.subject AND m.trigger = 'match' AND m.n < p.n
              WHERE p.trigger = 'erp_posted' AND p."at" >= ? AND p."at" < ? GROUP BY p.subject)
    SELECT CASE WHEN s < 60 THEN 'under a minute' WHEN s < 3600 THEN 'under an hour' WHEN s < 86400 THEN 'under a day'
                WHEN s < 604800 THEN 'under a week' ELSE 'longer' END, count(*)
    FROM waits GROUP BY 1 ORDER BY min(s)"""  # noqa: S608 - own words


def _bars(rows: Sequence[tuple[str, float]]) -> str:
    """Horizontal bars."""
    if not rows:
        return "<p>None.</p>"
    most = max(1e-9, *(abs(n) for _, n in rows))
    drawn = [
        f'<text x="170" y="{22 * i + 15}" text-anchor="end" font-size="11">{html.escape(label)}</text>'
        f'<rect x="178" y="{22 * i + 4}" width="{max(abs(n) / most * 420, 0.5):.1f}" height="15" '
        f'fill="{_COLOURS[0] if n >= 0 else _COLOURS[3]}"/>'
        f'<text x="{184 + abs(n) / most * 420:.1f}" y="{22 * i + 15}" font-size="11">{n:,.10g}</text>'
        for i, (label, n) in enumerate(rows)
    ]
    return f'<svg viewBox="0 0 720 {22 * len(rows) + 6}" role="img">{"".join(drawn)}</svg>'


def _stacked(rows: Sequence[tuple[Any, ...]]) -> str:
    """Per day the invoices that came into each state, one upon the other."""
    if not rows:
        return "<p>None.</p>"
    days, states = sorted({day for day, _, _ in rows}), sorted({state for _, state, _ in rows})
    counts = {(day, state): int(n) for day, state, n in rows}
    most = max(sum(counts.get((day, state), 0) for state in states) for day in days)
    width = min(60.0, 640 / len(days))
    drawn = []
    for i, day in enumerate(days):
        top = 170.0
        for k, state in enumerate(states):
            high = counts.get((day, state), 0) / most * 150
            top -= high
            drawn.append(f'<rect x="{40 + i * width:.1f}" y="{top:.1f}" width="{width * 0.8:.1f}" '
                         f'height="{high:.1f}" fill="{_COLOURS[k % 6]}"/>')  # fmt: skip
        drawn.append(
            f'<text x="{40 + (i + 0.4) * width:.1f}" y="184" text-anchor="middle" font-size="10">{day}</text>'
        )
    for k, state in enumerate(states):
        drawn.append(f'<rect x="{40 + k * 110}" y="196" width="10" height="10" fill="{_COLOURS[k % 6]}"/>'
                     f'<text x="{54 + k * 110}" y="205" font-size="11">{html.escape(str(state))}</text>')  # fmt: skip
    return (
        f'<svg viewBox="0 0 720 214" role="img"><text x="4" y="28" font-size="10">{most}</text>{"".join(drawn)}</svg>'
    )


def _rows(rows: Sequence[dict[str, Any]]) -> str:
    if not rows:
        return "<p>None.</p>"
    return _table(tuple(rows[0]), [tuple(row.values()) for row in rows])


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    head = "".join(f"<th>{html.escape(str(column))}" for column in columns)
    body = "".join("<tr>" + "".join(_cell(value) for value in row) for row in rows)
    return f"<table><thead><tr>{head}</thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    plain = "" if value is None else str(msgspec.to_builtins(value))
    number = not isinstance(value, str) and plain.replace(".", "").replace("-", "").isdecimal()
    return f"<td{' class=n' if number else ''}>{html.escape(plain)}"
