"""`arsync conflicts watch`: conflicts as they are detected and as they end, one line each, until interrupted."""

import time
from typing import Any

import click

from engine.app.printing import as_json
from engine.app.verbs.conflicts.reaching import Settings, open_connection
from engine.app.verbs.conflicts.selecting import selection, wanted


@click.command()
@selection
@click.option("--every", default=1.0, show_default=True, type=click.FloatRange(0.1), help="Seconds between looks.")
@click.option("--for", "seconds", type=click.FloatRange(0), help="Stop after so many seconds; until ^C otherwise.")
@as_json
@click.pass_obj
def watch(settings: Settings, /, every: float, seconds: float | None, json_: bool, **options: Any) -> None:  # noqa: FBT001
    """Follow what the options select. --json prints one object a line: what is new, changed or gone."""
    from engine.store.conflict_queries import Line, lines

    which = wanted(options)
    known: dict[tuple[str, str], Line] | None = None
    began = time.monotonic()
    with open_connection(settings) as connection, connection.cursor() as cursor:
        while True:
            found = {(line.system, line.id): line for line in lines(cursor, which, limit=None)}
            for what, line in _differences(known or {}, found):
                if known is not None or json_:
                    _say(what, line, json_=json_)
            if known is None and not json_:
                click.echo(f"{len(found)} at the moment; waiting for more", err=True)
            known = found
            if seconds is not None and time.monotonic() - began >= seconds:
                return
            time.sleep(every)


def _differences(before: dict[tuple[str, str], Any], now: dict[tuple[str, str], Any]) -> list[tuple[str, Any]]:
    new = [("new", line) for name, line in now.items() if name not in before]
    changed = [("changed", line) for name, line in now.items() if name in before and before[name] != line]
    gone = [("gone", line) for name, line in before.items() if name not in now]
    return [*new, *changed, *gone]


def _say(what: str, line: Any, *, json_: bool) -> None:
    from engine.app.verbs.conflicts.layout import colour, cut, money, width
    from engine.model.canonical import canonical_bytes, to_plain

    if json_:
        click.echo(canonical_bytes({"what": what, **to_plain(line)}).decode())
        return
    head = f"{what:8}{line.id}  {line.kind:19} {colour(line.state, line.state)}  {money(line.amount, line.currency)}"
    click.echo(head.rstrip())
    click.echo(f"        {cut(line.sentence, width() - 8)}")
