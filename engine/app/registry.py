"""Finds connectors, sources and verbs by their entry points, so that the engine knows none of them by name."""

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, cast

from engine.ports.connector import Connector
from engine.ports.errors import ConfigError
from engine.ports.feed import FeedKind
from engine.ports.source import SourceKind

CONNECTORS = "arsync.connectors"
SOURCES = "arsync.sources"
FEEDS = "arsync.feeds"
VERBS = "arsync.verbs"


def names(group: str) -> list[str]:
    """The installed names of a group, in order."""
    return sorted(entry.name for entry in entry_points(group=group))


def connector(name: str) -> Connector:
    """A connector by the name that the configuration gives.

    Raises:
        ConfigError: no such connector is installed.
    """
    return cast("Connector", _find(CONNECTORS, name, "connector"))


def source(options: Mapping[str, Any], default: str) -> SourceKind:
    """The source that a `source` section asks for by `type`."""
    return cast("SourceKind", _find(SOURCES, str(options.get("type", default)), "source type"))


def feed(name: str) -> FeedKind:
    """The feed to the AR side that a section `[ar.NAME]` configures.

    Raises:
        ConfigError: no such feed is installed.
    """
    return cast("FeedKind", _find(FEEDS, name, "feed"))


def verb(name: str) -> object | None:
    """A verb of the command line that another package brings, or None."""
    found = next((entry for entry in entry_points(group=VERBS) if entry.name == name), None)
    return found.load() if found else None


def _find(group: str, name: str, what: str) -> object:
    found: EntryPoint | None = next((e for e in entry_points(group=group) if e.name == name), None)
    if found is None:
        raise ConfigError(f"there is no {what} {name!r}; installed are: {', '.join(names(group)) or 'none'}")
    return found.load()
