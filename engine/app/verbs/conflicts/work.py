"""`arsync conflicts work`: the queue and each conflict's story on one screen, with a key for each choice."""

from typing import TYPE_CHECKING, Any

import click

from engine.app.verbs.conflicts.reaching import Settings, me
from engine.app.verbs.conflicts.selecting import selection, wanted

if TYPE_CHECKING:
    from engine.store.conflict_queries import Sort


@click.command()
@selection
@click.option("--sort", type=click.Choice(("age", "amount", "kind", "customer")), default="age", show_default=True)
@click.option("--actor", help="In whose name; the login name otherwise.")
@click.pass_obj
def work(settings: Settings, /, sort: "Sort", actor: str | None, **options: Any) -> None:
    """Work the conflicts on one screen: queue on the left, the story of the chosen one on the right.

    Keys: a accept the ERP's word, b rebase, r retry, h hold, each with a preview and a reason; u undo, t take on,
    c comment, / filter, s sort, g reload, q quit.
    """
    import sys

    from engine.app.wiring import open_store

    if not sys.stdin.isatty() or not sys.stdout.isatty():
        raise click.ClickException("this needs a terminal; without one use `arsync conflicts list` and `resolve`")
    from engine.app.screen.app import WorkApp
    from engine.app.screen.casework import Casework

    config, folder = settings
    chosen = wanted(options)
    with open_store(config, folder) as store:
        casework = Casework(store.connect, config, actor or me())
        try:
            WorkApp(casework, chosen, sort).run()
        finally:
            casework.close()
