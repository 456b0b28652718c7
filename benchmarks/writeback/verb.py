"""`python -m benchmarks writeback`: payments a second into a real Tryton, by a bare loop and through arsync."""

import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click

_SHOWN = (
    ("pay wizard", "bare_wizard", "arsync_wizard", "ratio_wizard"),
    ("pay wizard, to the last answer", "bare_wizard", "arsync_wizard_answered", "ratio_wizard_answered"),
    ("statement", "bare_statement", "arsync_statement", "ratio_statement"),
    ("statement, to the last answer", "bare_statement", "arsync_statement_answered", "ratio_statement_answered"),
)


@click.command()
@click.option("--intents", default=100, show_default=True, type=click.IntRange(1), help="Invoices each side pays.")
@click.option(
    "--statements",
    "share",
    default=0.1,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="Receipts over several invoices, as a share of the intents; they come besides.",
)
@click.option("--lines", default=10, show_default=True, type=click.IntRange(2, 100), help="Invoices of each.")
@click.option("--rounds", default=2, show_default=True, type=click.IntRange(1), help="Turns that each side has.")
@click.option("--json", "json_", is_flag=True, help="One JSON object as the last line.")
@click.option("--keep", is_flag=True, help="Keep the folder with both databases and logs.")
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the set-up Tryton is kept between runs; $ARSYNC_CACHE or ~/.cache/arsync otherwise.",
)
def writeback(
    intents: int,
    share: float,
    lines: int,
    rounds: int,
    json_: bool,  # noqa: FBT001 - command line flags
    keep: bool,  # noqa: FBT001
    cache: Path | None,
) -> None:
    """Payments a second into a real Tryton: a bare loop over the same client against a running arsync.

    Exits with 1 when Tryton's books do not show every payment exactly once.
    """
    from benchmarks.writeback.plan import Size

    size = Size(intents, round(intents * share), lines, rounds)
    kept = cache or Path(os.environ.get("ARSYNC_CACHE", "~/.cache/arsync")).expanduser()
    signal.signal(signal.SIGTERM, interrupted)
    with _work_folder(keep=keep) as folder:
        line = measure(folder, kept, size, clock())
    if json_:
        click.echo(json.dumps(line))
    else:
        show(line)
    if not line["verified"]:
        raise SystemExit(1)


def measure(folder: Path, cache: Path, size: Any, tell: Callable[[str], None]) -> dict[str, Any]:
    """Measure below `folder`; gives the last line."""
    from benchmarks.writeback.figures import figures
    from benchmarks.writeback.proof import differences
    from benchmarks.writeback.run import open_house
    from connectors.tryton.rpc import RpcError
    from demo.engine import EngineFailed
    from demo.erp_server import ErpFailed
    from engine.store.embedded_programs import EmbeddedUnavailable

    try:
        with open_house(folder, cache, size, tell) as house:
            try:
                measured = house.measure(tell)
            except BaseException:
                click.echo("\n".join(["The end of arsync's log:", *house.engine.log_tail()]), err=True)
                raise
            tell("Asking Tryton what stands in its books")
            return figures(size, measured, differences(house.accountant, house.plan))
    except (EngineFailed, ErpFailed, EmbeddedUnavailable, RpcError) as error:
        raise click.ClickException(str(error)) from error


def show(line: dict[str, Any]) -> None:
    """The figures for people."""
    click.echo(f"{'payments a second':32}{'bare':>8}{'arsync':>8}{'ratio':>8}")
    for title, *names in _SHOWN:
        click.echo(f"{title:32}" + "".join(f"{line[name] if line[name] is not None else '-':>8}" for name in names))
    for sentence in line["differences"]:
        click.echo(f"difference: {sentence}")
    click.echo("every payment stands once" if line["verified"] else "Tryton's books differ")


def clock() -> Callable[[str], None]:
    """Tells progress on standard error, with the seconds since now."""
    began = time.monotonic()

    def tell(sentence: str) -> None:
        click.echo(f"{time.monotonic() - began:6.1f} s  {sentence}", err=True)

    return tell


@contextmanager
def _work_folder(*, keep: bool) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="arsync-bench-"))
    try:
        yield folder
    finally:
        if keep:
            click.echo(f"Kept: {folder}", err=True)
        else:
            shutil.rmtree(folder)


def interrupted(_signum: int, _frame: object) -> NoReturn:
    """A request to end is an interruption: everything is stopped on the way out."""
    raise KeyboardInterrupt
