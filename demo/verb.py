"""`arsync demo`: a real Tryton, a running arsync, one scripted day, and the proof that both sides agree.

The entry point of the group `arsync.verbs`. It promises that everything it started has ended when it returns, on
success, on failure and on Ctrl-C; that it believes Tryton's own books and not arsync about what happened to the
money; and that it exits with 1 when a single thing is not as the day's ledger says.
"""

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import click


@click.command()
@click.option(
    "--without",
    type=click.Choice(["writeback", "find", "fence", "guard"]),
    help="Leave a part out, to see the comparison fail; all but writeback with --chaos.",
)
@click.option("--chaos", type=int, metavar="SEED", help="Instead of the day: decide while programs are killed.")
@click.option("--kills", default=20, show_default=True, type=click.IntRange(0), help="How many, with --chaos.")
@click.option("--keep", is_flag=True, help="Keep the folder with both databases, logs and configuration.")
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the set-up Tryton is kept between runs; $ARSYNC_CACHE or ~/.cache/arsync otherwise.",
)
def demo(without: str | None, chaos: int | None, kills: int, keep: bool, cache: Path | None) -> None:  # noqa: FBT001
    """Play a scripted day on a real Tryton and compare both sides at its end.

    With --chaos, many decisions are made while arsync's daemon, its capture child, its PostgreSQL and Tryton's server
    are killed at random moments; then Tryton's books are counted: nothing may be lost, and nothing done twice.

    Needs the `demo` extra and Java. Takes about a minute; the very first time also that of installing Tryton.
    """
    from connectors.tryton.rpc import RpcError
    from demo.engine import EngineFailed
    from demo.erp_server import ErpFailed
    from engine.store.embedded_programs import EmbeddedUnavailable

    if (without in ("find", "fence", "guard")) != (chaos is not None) and without is not None:
        raise click.UsageError("--without writeback is for the day; find, fence and guard are for --chaos")
    kept = cache or Path(os.environ.get("ARSYNC_CACHE", "~/.cache/arsync")).expanduser()
    tell = _clock()
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        with _work_folder(keep=keep, tell=tell) as folder:
            if chaos is None:
                agree = _run(folder, kept, tell, writes_back=without is None)
            else:
                agree = _run_chaos(chaos, folder, kept, tell, kills, without)
    except (EngineFailed, ErpFailed, EmbeddedUnavailable, RpcError) as error:
        raise click.ClickException(str(error)) from error
    if not agree:
        raise SystemExit(1)


def _run(folder: Path, cache: Path, tell: Callable[[str], None], *, writes_back: bool) -> bool:
    """Everything between an empty folder and the last line; whether both sides agree."""
    from rich.console import Console

    from demo import report
    from demo.analyst import Analyst
    from demo.closing import compare
    from demo.company import CompanyPlan
    from demo.day import Day
    from demo.engine import Engine, Target
    from demo.erp import DemoErp
    from demo.holding_proxy import HoldingProxy
    from demo.journal import prove
    from demo.ledger import Difference, Ledger
    from demo.stage import Stage
    from demo.tally import Tally

    plan = CompanyPlan()
    with ExitStack() as stack:
        erp = stack.enter_context(DemoErp(folder / "erp", cache, tell, plan=plan))
        proxy = stack.enter_context(HoldingProxy(erp.url))
        target = Target(proxy.url, erp.database, erp.user, erp.password) if writes_back else None
        engine = stack.enter_context(Engine(folder / "arsync", erp.postgres_dsn, target))
        accountant = stack.enter_context(erp.accountant())
        stack.callback(_deaf)
        patience = 20.0 if writes_back else 1.5
        analyst = Analyst(engine, Ledger(), patience, prefix="day")
        stage = Stage(proxy, patience, engine.check)
        day = Day(accountant, analyst, engine, stage, Tally(plan), tell)
        try:
            day.play()
            tell("The day is over; both sides are compared")
            outcome = compare(accountant, day)
        except BaseException:
            click.echo("\n".join(["The end of arsync's log:", *engine.log_tail()]), err=True)
            raise
        code = engine.stop()
        proof = prove(engine)
        tell(str(proof))
        further = [] if code == 0 else [Difference("arsync run", "exit code", "0", str(code))]
        outcome = replace(outcome, differences=[*outcome.differences, *further, *proof.differences])
        if outcome.differences:
            click.echo("\n".join(["The end of arsync's log:", *engine.log_tail()]), err=True)
    tell("Everything is stopped")
    report.show(outcome, Console(width=None if sys.stdout.isatty() else 150, highlight=False))
    click.echo(report.verdict(outcome))
    return not outcome.differences


def _run_chaos(
    seed: int, folder: Path, cache: Path, tell: Callable[[str], None], kills: int, without: str | None
) -> bool:
    """One chaos; whether nothing was lost, nothing done twice, and both sides agree."""
    from demo.chaos.run import play

    verdict = play(seed, folder, cache, tell, kills=kills, without=without)
    for wrong in (*verdict.miscounts, *verdict.differences):
        click.echo(f"  {wrong}")
    click.echo(str(verdict))
    return verdict.well


def _clock() -> Callable[[str], None]:
    began = time.monotonic()

    def tell(sentence: str) -> None:
        click.echo(f"{time.monotonic() - began:6.1f} s  {sentence}")

    return tell


@contextmanager
def _work_folder(*, keep: bool, tell: Callable[[str], None]) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="arsync-demo-"))
    try:
        yield folder
    finally:
        if keep:
            tell(f"Kept: {folder}")
        else:
            shutil.rmtree(folder)


def _deaf() -> None:
    """Ending has begun: a second Ctrl-C must not leave a server behind."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _interrupted(_signum: int, _frame: object) -> NoReturn:
    """A request to end is an interruption: everything is stopped on the way out."""
    raise KeyboardInterrupt
