"""How the tests are shared out among processes: what uses the same servers stays in one of them, and what takes
longest begins first, so that no process is left with it alone at the end."""

from typing import Any, Final

from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

ONE_PLACE: Final = ("tests/on_kafka/",)
"""Folders all of whose tests use one and the same server."""
LONGEST_FIRST: Final = ("tests/on_kafka/", "tests/demo/", "tests/simulation/", "tests/app/", "tests/tryton/")


class ByServer(LoadScopeScheduling):  # type: ignore[misc]
    """A file at a time, for the tests of a file share what they start; and all that is on one broker together."""

    def _split_scope(self, nodeid: str) -> str:
        return place_of(nodeid)


def place_of(nodeid: str) -> str:
    """The file of a test, or the folder that its server is for."""
    path = nodeid.partition("::")[0]
    return next((folder for folder in ONE_PLACE if path.startswith(folder)), path)


def rank(nodeid: str) -> int:
    """How early a test begins; the lowest first."""
    return next(
        (place for place, folder in enumerate(LONGEST_FIRST) if nodeid.startswith(folder)), len(LONGEST_FIRST)
    )


def scheduler(config: Any, log: Any) -> ByServer:
    """What pytest-xdist asks to share the tests out, in the order in which they stand."""
    config.option.loadscopereorder = False
    return ByServer(config, log)
