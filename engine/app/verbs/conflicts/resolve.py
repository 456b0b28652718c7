"""`arsync conflicts resolve` and `undo`: choose what is done about one conflict, and take it back in time."""

from typing import TYPE_CHECKING

import click

from engine.app.printing import as_json, of_system
from engine.app.verbs.conflicts.reaching import Settings, find, me, open_connection, policy_for, versions_for

if TYPE_CHECKING:
    from engine.flow.choosing import Settled

DECLINED = 3
"""Exit code: the choice was declined, and nothing was changed."""

CHOICES = click.Choice(("accept_erp", "rebase", "retry", "hold"))


@click.command()
@click.argument("id_", metavar="ID")
@click.option("--choice", type=CHOICES, required=True, help="`show` says what each would do.")
@click.option("--reason", required=True, help="Why, for the journal and for whoever asks later.")
@click.option("--as-shown", "shown", metavar="VERSION", help="Decline it unless all is still as `show` showed it.")
@click.option("--now", "at_once", is_flag=True, help="Carry it out at once; it cannot be undone then.")
@click.option("--actor", help="In whose name; the login name otherwise.")
@of_system
@as_json
@click.pass_obj
def resolve(
    settings: Settings, id_: str, choice: str, reason: str, shown: str | None, at_once: bool, actor: str | None,  # noqa: FBT001
    system: str | None, json_: bool,  # noqa: FBT001
) -> None:  # fmt: skip
    """Choose what is done about a conflict. Exit code 3 when it is declined: then nothing was changed.

    accept_erp lets the ERP's word stand and refuses the intent; rebase decides it again on what the ERP says now;
    retry goes on with what was decided, looked up before it is sent; hold leaves it to people. The daemon carries it
    out when the time to undo it is over.
    """
    from engine.app.wiring import now
    from engine.flow import choosing

    with open_connection(settings) as connection:
        owner, found = find(connection, id_, system)
        settled = choosing.choose(
            connection, owner, found, choice, actor=actor or me(), reason=reason,
            policy=policy_for(settings[0], owner), clock=now, versions=versions_for(settings[0], owner), shown=shown,
            at_once=at_once,
        )  # fmt: skip
    report(settled, json_=json_)


@click.command()
@click.argument("id_", metavar="ID")
@click.option("--reason", default="taken back", help="Why.")
@click.option("--actor", help="In whose name; the login name otherwise.")
@of_system
@as_json
@click.pass_obj
def undo(
    settings: Settings, id_: str, reason: str, actor: str | None, system: str | None, json_: bool  # noqa: FBT001
) -> None:  # fmt: skip
    """Take a choice back that has not been carried out. Exit code 3 when it is too late."""
    from engine.app.wiring import now
    from engine.flow import choosing

    with open_connection(settings) as connection:
        owner, found = find(connection, id_, system)
        settled = choosing.undo(
            connection, owner, found, actor=actor or me(), reason=reason, policy=policy_for(settings[0], owner),
            clock=now, versions=versions_for(settings[0], owner),
        )  # fmt: skip
    report(settled, json_=json_)


def report(settled: "Settled", *, json_: bool) -> None:
    """Say what became of it; a declined choice ends the program."""
    if json_:
        from engine.model.canonical import canonical_bytes

        click.echo(canonical_bytes(settled).decode())
    elif settled.declined is None:
        wait = f"; can be undone until {settled.apply_at:%H:%M:%S} UTC" if settled.apply_at else ""
        click.echo(f"{settled.conflict} {settled.state}{f': {settled.choice}' if settled.choice else ''}{wait}")
        for step in settled.done:
            click.echo(f"  {step}")
    if settled.declined is not None:
        click.echo(f"arsync: declined: {settled.declined}", err=True)
        raise SystemExit(DECLINED)
