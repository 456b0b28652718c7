"""Who acts at the command line, for the journal."""

import getpass
from contextlib import suppress


def me() -> str:
    """Who sits at this machine, as far as it knows."""
    with suppress(OSError, KeyError):
        return getpass.getuser()
    return "unknown"
