"""The unit of work: one database transaction that commits everything that one batch led to, or nothing.

Pipeline, dispatcher and intake each open one for what they were told. It takes its system's head lock first, so
that units of one system come one after the other and their batch numbers are the order in which they decided.
"""

import datetime as dt
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import psycopg

from engine.model.canonical import to_plain
from engine.model.events import Moved
from engine.rules.decide import RULES_VERSION
from engine.rules.desk import Decision
from engine.rules.policy import Policy
from engine.store import records
from engine.store.bulk import append, upsert
from engine.store.journal import COLUMNS, Chain, Entry, Placed, Settings, stream_heads
from engine.store.telling import Telling

Connection = psycopg.Connection[tuple[Any, ...]]


class UnknownSystemError(RuntimeError):
    """The system is not in the store; `arsync run` enters the systems of the configuration."""


class FencedError(RuntimeError):
    """Another worker has taken the system over since this connection was opened for it: nothing may be committed."""


class Unit:
    """An open unit of work. Read through `cursor`; hand in decisions; everything is written when it closes.

    `policy` is what it decides by; None for one that decides nothing. Settings that are not those of the unit before
    are journalled first.
    """

    def __init__(
        self,
        connection: Connection,
        system: str,
        now: dt.datetime,
        versions: Mapping[str, Any],
        policy: Policy | None = None,
    ) -> None:
        self.cursor = connection.cursor()
        self.system = system
        self.now = now
        row = self.cursor.execute(
            "UPDATE system SET batch = batch + 1 WHERE name = %s RETURNING batch, connector, settings, outbound_from,"
            " fence, current_setting('arsync.fence', true), mirrored, restored_at IS NOT NULL",
            (system,),
        ).fetchone()
        if row is None:
            raise UnknownSystemError(f"system {system} is not in the store; start `arsync run` once to enter it")
        if row[5] and int(row[5]) != row[4]:
            raise FencedError(f"another worker has taken system {system} over (fence {row[4]}, ours {row[5]})")
        self.batch, connector, last = int(row[0]), str(row[1]), row[2]
        self.mirrored = int(row[6])
        """The batch that wrote the mirror last."""
        self.may_have_forgotten = bool(row[7])
        """The store was restored from a backup, and so may not know of everything that was sent."""
        self.chain = Chain(system, self.batch, stream_heads(self.cursor, system), last or "")
        self.telling = Telling(system, self.batch) if row[3] is not None else None
        """What the AR side is told of this unit; None where nobody is to be told."""
        if policy is not None:
            settings = Settings(connector, versions.get("mapping"), RULES_VERSION, to_plain(policy))
            if settings.digest != last:
                self._begin_settings(settings)
        self._decided = Decision()
        self._transitions: list[tuple[Any, ...]] = []
        self._parked_invoices: dict[str, str | None] = {}
        self._parked_customers: dict[str, str | None] = {}

    def _begin_settings(self, settings: Settings) -> None:
        self.chain.versions = settings.digest
        self.chain.add(Entry(f"{self.system}/config", "config", self.now, {"settings": settings}))
        self.cursor.execute("UPDATE system SET settings = %s WHERE name = %s", (settings.digest, self.system))

    def record(
        self,
        entry: Entry,
        decision: Decision,
        *,
        tx: str | None = None,
        commit: int | None = None,
        guards_only: bool = False,
    ) -> Placed:
        """Journal what was told with what was decided, and keep the decision's records for writing.

        Where nothing but guards is new the AR side is told nothing.
        """
        placed = self.chain.add(entry)
        merged = self._decided
        merged.invoices.update(decision.invoices)
        merged.customers.update(decision.customers)
        merged.intents.update(decision.intents)
        merged.commands.update(decision.commands)
        merged.conflicts.update(decision.conflicts)
        last = {key: record.moves for key, record in decision.invoices.items()}
        for effect in reversed(decision.effects):
            if isinstance(effect, Moved) and effect.machine == "invoice":
                self._transitions.append((
                    self.system, f"invoice/{effect.subject}", last[effect.subject], effect.trigger, effect.source,
                    effect.destination, effect.reason, tx, commit, placed.stream, placed.seq, entry.at,
                ))  # fmt: skip
                last[effect.subject] -= 1
        if self.telling is not None and not guards_only:
            self.telling.decided(placed, entry.at, decision, tx, commit)
        return placed

    def note(self, entry: Entry) -> Placed:
        """Journal what was told and led to no decision of the rules."""
        return self.chain.add(entry)

    def park(self, name: str, reason: str | None) -> None:
        """Mark a document, by `kind/key`, as unreadable, or as readable again."""
        kind, _, key = name.partition("/")
        (self._parked_invoices if kind == "invoice" else self._parked_customers)[key] = reason

    def flush(self) -> None:
        """Write everything that was handed in; the transaction's end makes it true."""
        cursor, system, decided = self.cursor, self.system, self._decided
        records.save_invoices(cursor, system, decided.invoices.values(), self.now)
        records.save_customers(cursor, system, decided.customers.values(), self.now)
        records.save_intents(cursor, system, decided.intents.values())
        records.save_commands(cursor, system, decided.commands)
        records.save_conflicts(cursor, system, decided.conflicts.values())
        for table, parked in (("invoice", self._parked_invoices), ("customer", self._parked_customers)):
            if not parked:
                continue
            cursor.executemany(
                f"UPDATE {table} SET parked = %s WHERE system = %s AND key = %s",  # noqa: S608 - one of two names
                [(reason, system, key) for key, reason in parked.items()],
            )
        append(
            cursor,
            "transition",
            ("system", "document", "seq", "trigger", "source", "destination", "reason", "tx", "commit_lsn", "stream",
             "entry", "at"),
            self._transitions,
        )  # fmt: skip
        append(
            cursor,
            "journal",
            COLUMNS,
            self.chain.rows,
        )
        if self.telling is not None:
            self.telling.write(cursor, decided.invoices, decided.customers)
        touched = {row[0] for row in self.chain.rows}
        heads = [(stream, *self.chain.heads[stream]) for stream in sorted(touched)]
        upsert(cursor, "stream_head", ("stream",), ("stream", "seq", "hash"), heads)


@contextmanager
def unit_of_work(
    connection: Connection,
    system: str,
    now: dt.datetime,
    versions: Mapping[str, Any] | None = None,
    policy: Policy | None = None,
) -> Iterator[Unit]:
    """Open a unit of work; it commits when the block ends and leaves no trace when the block raises.

    One that decides gives the `policy` that it decides by.
    """
    with connection.transaction():
        unit = Unit(connection, system, now, versions or {}, policy)
        yield unit
        unit.flush()
