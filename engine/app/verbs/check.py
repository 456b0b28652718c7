"""`arsync check`: whether everything is set up as it must be, and how to mend what is not."""

import json
from pathlib import Path

import click

from engine.app.config import Config
from engine.app.printing import as_json


@click.command()
@click.argument("system", required=False)
@as_json
@click.pass_obj
def check(settings: tuple[Config, Path], system: str | None, json_: bool) -> None:  # noqa: FBT001
    """Look at SYSTEM, or at every system: its database, its API, the rights of both users, and what was read so far;
    and at the AR side.

    Changes nothing. A warning works and needs somebody's care; an error does not work, or would lose data. The exit
    code is 1 when there are errors.
    """
    from engine.app.checks import look, look_at_ar_side, store_clock
    from engine.app.verbs.run import choose_system
    from engine.app.wiring import open_store
    from engine.ports.finding import Finding, Grade
    from engine.store import exclusive

    config, folder = settings
    chosen = config.systems if system is None and config.systems else dict([choose_system(config, system)])
    found: dict[str, list[Finding]] = {}
    with open_store(config, folder) as store:
        with store.connect() as connection:
            found["store"] = [store_clock(connection)]
            in_use = {name: exclusive.is_taken(connection, name) for name in chosen}
        found["ar"] = list(look_at_ar_side(config, folder))
        for name, one in chosen.items():
            found[name] = list(look(store, config, name, one, folder, in_use=in_use[name]))
    grades = [finding.grade for findings in found.values() for finding in findings]
    if json_:
        rows = [
            {"of": of, "subject": f.subject, "grade": f.grade, "detail": f.detail, "fix": f.fix}
            for of, findings in found.items()
            for f in findings
        ]
        click.echo(json.dumps(rows, indent=2))
    else:
        for of, findings in found.items():
            click.echo(f"{of}:")
            for finding in findings:
                click.echo(f"  {finding.grade:8} {finding.subject}: {finding.detail}")
                if finding.fix:
                    click.echo(f"  {'':8} -> {finding.fix}")
        click.echo(", ".join(f"{grades.count(grade)} {grade}" for grade in Grade))
    if Grade.ERROR in grades:
        raise SystemExit(1)
