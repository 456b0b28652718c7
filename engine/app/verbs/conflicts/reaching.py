"""How a verb reaches the store: one open connection, one conflict by the beginning of its id, who is asking."""

import getpass
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.app.config import Config

if TYPE_CHECKING:
    from engine.rules.policy import Policy
    from engine.store.unit import Connection

Settings = tuple[Config, Path]


@contextmanager
def open_connection(settings: Settings) -> "Iterator[Connection]":
    """A connection to the configured store."""
    from engine.app.wiring import open_store

    config, folder = settings
    with open_store(config, folder) as store, store.connect() as connection:
        yield connection


def find(connection: "Connection", given: str, system: str | None) -> tuple[str, str]:
    """(system, id) of the one conflict whose id begins with what was typed."""
    from engine.store import conflict_queries

    with connection.cursor() as cursor:
        found = conflict_queries.resolve_id(cursor, given.upper(), system)
    if len(found) == 1:
        return found[0]
    exact = [one for one in found if one[1] == given.upper()]
    if len(exact) == 1:
        return exact[0]
    if found:
        names = ", ".join(f"{id_} in {owner}" for owner, id_ in found)
        raise click.ClickException(f"more than one conflict begins with {given}: {names} ...; name more of it")
    raise click.ClickException(
        f"there is no conflict {given}; `arsync conflicts list --state all` shows those that are known"
    )


def policy_for(config: Config, system: str) -> "Policy":
    """The policy of a system; one that is no longer configured has the defaults."""
    from engine.app.config import policy_of
    from engine.rules.policy import Policy

    chosen = config.systems.get(system)
    return policy_of(chosen) if chosen is not None else Policy()


def versions_for(config: Config, system: str) -> Mapping[str, Any]:
    """What a journal entry says of the mapping that is in use."""
    from engine.app import registry

    chosen = config.systems.get(system)
    return {"mapping": registry.connector(chosen.connector).mapping.version} if chosen is not None else {}


def me() -> str:
    """Who sits at this machine, as far as it knows."""
    with suppress(OSError, KeyError):
        return getpass.getuser()
    return "unknown"
