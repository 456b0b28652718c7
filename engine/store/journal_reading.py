"""The journal of a store, as replay reads it: in the order in which was decided, in parts that fit into memory."""

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg

from engine.store import checkpoints
from engine.store.checkpoints import Checkpoint
from engine.store.journal import COLUMNS, Row, stream_heads

_PART = 10_000


class StoredJournal:
    """Reads only. All that it gives is of one moment: the transaction in which it was opened."""

    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        """Take a connection that is not used for anything else; `autocommit` is switched off on it."""
        connection.autocommit = False
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        self._connection = connection

    @property
    def name(self) -> str:
        return "the store"

    def systems(self) -> list[str]:
        return [str(name) for (name,) in self._connection.execute("SELECT name FROM system ORDER BY name").fetchall()]

    def heads(self, system: str) -> dict[str, tuple[int, str]]:
        with self._connection.cursor() as cursor:
            return stream_heads(cursor, system)

    def count(self, system: str, after: int = 0) -> int:
        row = self._connection.execute(
            "SELECT count(*) FROM journal WHERE system = %s AND batch > %s", (system, after)
        ).fetchone()
        return int(row[0]) if row else 0

    def rows(self, system: str, after: int = 0) -> Iterator[Sequence[Row]]:
        with self._connection.cursor(f"journal_{abs(hash(system))}") as cursor:
            cursor.itersize = _PART
            cursor.execute(
                f"""SELECT {", ".join(COLUMNS)} FROM journal WHERE system = %s AND batch > %s
                    ORDER BY batch, place, stream, seq""",  # noqa: S608
                (system, after),
            )
            while part := cursor.fetchmany(_PART):
                yield part

    def checkpoints(self, system: str) -> list[Checkpoint]:
        return [checkpoints.read_checkpoint(line) for line, _ in checkpoints.kept(self._connection, system)]

    def records(self, system: str, batch: int) -> Iterator[tuple[str, str]]:
        with self._connection.cursor("checkpoint_records") as cursor:
            cursor.itersize = _PART
            cursor.execute(
                "SELECT name, record FROM checkpoint_record WHERE system = %s AND batch = %s", (system, batch)
            )
            for name, record in cursor:
                yield str(name), str(record)

    def pruned_to(self, system: str) -> int:
        pruned = [
            checkpoints.read_checkpoint(line).batch
            for line, gone in checkpoints.kept(self._connection, system)
            if gone
        ]
        return max(pruned, default=0)

    def current(self, system: str) -> Iterator[tuple[str, str]]:
        """(name, record) of everything that the store holds now."""
        return checkpoints.state_of(self._connection, system)
