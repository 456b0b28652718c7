"""Retries dead letters, each by its own way: the reader, the intake, the outbox.

`arsync deadletters retry` calls it. What changes the mirror is the daemon's to apply; when none runs, its part is
done here, under its lock.
"""

import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

from engine.app import registry
from engine.app.config import Config, SystemConfig, policy_of
from engine.app.wiring import OpenStore, now, open_doors
from engine.flow.chores import Chores
from engine.flow.intake import retry_refused
from engine.flow.pipeline import Pipeline
from engine.ports.errors import ConfigError
from engine.ports.source import RereadingKind
from engine.store import chores, exclusive, letters
from engine.store.letters import Letter, LetterKind
from engine.store.position import load_position
from engine.store.unit import Connection, unit_of_work

_LOOK_SECONDS = 0.2


def retry(
    store: OpenStore,
    connection: Connection,
    config: Config,
    found: Sequence[Letter],
    *,
    by: str,
    why: str,
    wait: float,
) -> list[dict[str, Any]]:
    """Put each letter through the normal way; gives id, whether it is `done`, and what was told, in their order."""
    told: dict[int, tuple[bool, str]] = {}
    for system in dict.fromkeys(letter.system for letter in found):
        mine = [letter for letter in found if letter.system == system]
        chosen = config.systems.get(system)
        if chosen is None:
            raise ConfigError(f"dead letters of system {system}, which is not configured", "add it, then retry")
        told |= _of_reader(store, connection, config, system, chosen, mine, by=by, why=why, wait=wait)
        for letter in mine:
            if letter.kind is LetterKind.INTENT:
                trouble = retry_refused(connection, letter, open_doors(connection, config)[system], now, f"user {by}")
                told[letter.id] = (trouble is None, trouble or "the intent was taken")
            elif letter.kind is LetterKind.COMMAND:
                with unit_of_work(connection, system, now()) as work:
                    letters.close(work, [letter.id], "retried", by, why)
                told[letter.id] = (True, "the dispatcher tries it again")
    return [{"id": letter.id, "done": told[letter.id][0], "told": told[letter.id][1]} for letter in found]


def _of_reader(
    store: OpenStore,
    connection: Connection,
    config: Config,
    system: str,
    chosen: SystemConfig,
    mine: Sequence[Letter],
    *,
    by: str,
    why: str,
    wait: float,
) -> dict[int, tuple[bool, str]]:
    subjects = [str(one.id) for one in mine if one.kind in (LetterKind.CHANGE, LetterKind.DOCUMENT)]
    if not subjects:
        return {}
    with unit_of_work(connection, system, now()) as work:
        asked = chores.ask(work, chores.ChoreKind.RETRY_LETTER, subjects, by, why)
    until = time.monotonic() + wait
    while True:
        if not exclusive.is_taken(connection, system):
            _do_the_readers_part(store, config, system, chosen)
        with connection.cursor() as cursor:
            standing = chores.by_id(cursor, asked)
        if all(one.state != "open" for one in standing) or time.monotonic() > until:
            break
        time.sleep(_LOOK_SECONDS)
    return {
        int(one.subject): (one.state == "done", one.told or "the daemon has not come to it yet") for one in standing
    }


def _do_the_readers_part(store: OpenStore, config: Config, system: str, chosen: SystemConfig) -> None:
    """No daemon runs: do what it would do between two batches."""
    with store.connect() as own:
        exclusive.take_over(own, system)
        with own.cursor() as cursor:
            stored = load_position(cursor, system)
        if stored is None:
            raise ConfigError(f"system {system} was never read", "start `arsync run` first")
        mapping = registry.connector(chosen.connector).mapping
        kind = registry.source(chosen.source, "debezium")
        pipeline = Pipeline(
            own, system, mapping, policy_of(chosen), now, epoch=stored.epoch, brake=config.daemon.brake,
            most_letters=config.daemon.most_letters,
        )  # fmt: skip
        chores_ = Chores(own, system, pipeline, kind.read_again if isinstance(kind, RereadingKind) else None)
        # What it logs is for the daemon's log, and not for what this verb prints.
        with redirect_stdout(sys.stderr):
            while chores_.step():
                pass
