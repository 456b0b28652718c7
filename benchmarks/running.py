"""What every benchmark on real servers begins and ends with: a folder, a way to tell progress, a clean end."""

import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from benchmarks.writeback.verb import clock, interrupted

Tell = Callable[[str], None]


@contextmanager
def running(name: str, *, kafka: bool) -> Iterator[tuple[Path, Tell]]:
    """A new folder that is gone when the block ends, and what tells progress on standard error.

    What goes wrong in the block ends the program with 1 and its own words; so does a missing Java or Maven where
    `kafka` is needed.
    """
    from tests.kafka_stack.jars import why_not

    reason = why_not() if kafka else None
    if reason is not None:
        raise click.ClickException(reason)
    signal.signal(signal.SIGTERM, interrupted)
    folder = Path(tempfile.mkdtemp(prefix=f"arsync-{name}-"))
    try:
        yield folder, clock()
    except (RuntimeError, AssertionError) as error:
        # The tests' stack, which is used here, asserts.
        raise click.ClickException(str(error) or repr(error)) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
