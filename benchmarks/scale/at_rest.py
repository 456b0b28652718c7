"""Documents at rest: copies of one cleared invoice, with all that the store holds of it, made by the server itself.

They lie in the same tables and indexes as what is worked on. Each has its own keys; nothing ever asks for them again.
Their journal is left out: it is only ever added to, and would be most of the space.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from connectors.tryton import tables as t
from connectors.tryton.mapping import TrytonMapping
from engine.app.wiring import now
from engine.flow.pipeline import Pipeline
from engine.model.documents import DocumentKind
from engine.rules.policy import Policy
from engine.store.position import load_position

FROM = 1_000_000_000
"""The first of their numbers; those of the workload are lower."""
_EACH = 100
"""Numbers that one document has for itself and its rows."""
_AT_ONCE = 10_000
_SPARE = 0.8
"""Of the free disk, what may be filled."""
_POINTS_TO = {"move": t.MOVE, "reconciliation": t.RECONCILIATION, "line": t.LINE, "invoice": t.INVOICE}
_TABLES = """
    CREATE TABLE rest_row (tbl text, key text, place int, PRIMARY KEY (tbl, key));
    CREATE TABLE rest_ref (tbl text, col text, place int, val int)"""
_MIRROR = """
    INSERT INTO mirror (system, tbl, key, row, commit_lsn, lsn, deleted, snapshot)
    SELECT m.system, m.tbl, (%(from)s + g * %(each)s + r.place)::text, m.row, m.commit_lsn, m.lsn, false, m.snapshot
    FROM generate_series(%(first)s::bigint, %(last)s) g, rest_row r
    JOIN mirror m ON m.system = %(system)s AND m.tbl = r.tbl AND m.key = r.key
    WHERE NOT %(lean)s OR r.tbl = 'account_invoice'"""
_REFS = """
    INSERT INTO mirror_ref (system, tbl, col, val, key)
    SELECT %(system)s, tbl, col, (%(from)s + g * %(each)s + val)::text, (%(from)s + g * %(each)s + place)::text
    FROM generate_series(%(first)s::bigint, %(last)s) g, rest_ref WHERE NOT %(lean)s OR tbl = 'account_invoice'"""
_INVOICES = """
    INSERT INTO invoice (system, key, number, customer, state, open_amount, currency, deleted, parked, record,
                         updated_at)
    SELECT system, (%(from)s + g * %(each)s + %(place)s)::text, 'REST-' || g, (1 + g %% 1000)::text, state,
           open_amount, currency, deleted, parked, record, updated_at
    FROM generate_series(%(first)s::bigint, %(last)s) g, invoice WHERE system = %(system)s AND key = %(key)s"""
_STEPS = """
    INSERT INTO transition (system, document, seq, trigger, source, destination, reason, tx, commit_lsn, stream,
                            entry, at)
    SELECT system, 'invoice/' || (%(from)s + g * %(each)s + %(place)s), seq, trigger, source, destination, reason, tx,
           commit_lsn, stream, entry, at
    FROM generate_series(%(first)s::bigint, %(last)s) g, transition
    WHERE system = %(system)s AND document = 'invoice/' || %(key)s AND NOT %(lean)s"""


class NoRoomError(RuntimeError):
    """The disk does not hold so many documents; the text says how much they would take."""


class AtRest:
    """Fills one system's store, more and more."""

    def __init__(self, dsn: str, system: str, folder: Path, *, lean: bool) -> None:
        """`lean` documents bring their own record and their head's row only. `folder` is on the store's disk."""
        self._dsn, self._system, self._folder, self._lean = dsn, system, folder, lean
        self._key = ""
        self._place = 0
        self.count = 0

    def reach(self, count: int, tell: Callable[[str], None]) -> None:
        """Fill until so many documents are at rest. NoRoomError when the disk is too small."""
        with psycopg.connect(self._dsn, autocommit=True) as store:
            if not self._key:
                self._learn(store)
            before = _size(store)
            began = self.count
            while self.count < count:
                last = min(count, self.count + _AT_ONCE)
                asked = {"system": self._system, "from": FROM, "each": _EACH, "first": self.count + 1, "last": last,
                         "lean": self._lean, "key": self._key, "place": self._place}  # fmt: skip
                with store.transaction():
                    for statement in (_MIRROR, _REFS, _INVOICES, _STEPS):
                        store.execute(statement.encode(), asked)
                self.count = last
                if (last - began) % (20 * _AT_ONCE) == 0 or last == count:
                    each = (_size(store) - before) / (last - began)
                    tell(f"{last:,} documents at rest, {each:,.0f} bytes each")
                    self._check_room((count - last) * each)
            # What an autovacuum would do sooner or later must not fall into what is measured.
            store.execute("VACUUM (ANALYZE) mirror, mirror_ref, invoice, transition")
            store.execute("CHECKPOINT")

    def bytes(self) -> int:
        """What the database takes on disk."""
        with psycopg.connect(self._dsn, autocommit=True) as store:
            return _size(store)

    def _check_room(self, wanted: float) -> None:
        free = shutil.disk_usage(self._folder).free * _SPARE
        if wanted > free:
            raise NoRoomError(f"{wanted / 1e9:.0f} GB more are needed, {free / 1e9:.0f} GB may be taken; use --lean")

    def _learn(self, store: psycopg.Connection[Any]) -> None:
        """Take the cleared invoice with the fewest steps as the pattern."""
        row = store.execute(
            """SELECT key FROM invoice JOIN transition ON transition.system = invoice.system
                 AND document = 'invoice/' || key
               WHERE invoice.system = %s AND state = 'posted' AND NOT deleted AND open_amount = 0
               GROUP BY key ORDER BY count(*), key LIMIT 1""",
            (self._system,),
        ).fetchone()
        if row is None:
            raise RuntimeError("no invoice is cleared yet; read more events first")
        self._key = str(row[0])
        with store.cursor() as cursor:
            stored = load_position(cursor, self._system)
        epoch = stored.epoch if stored is not None else ""
        pipeline = Pipeline(store, self._system, TrytonMapping(), Policy(), now, epoch=epoch)
        rows = sorted(pipeline.mirrored((DocumentKind.INVOICE, self._key)))
        places = {name: place for place, name in enumerate(rows)}
        if len(places) > _EACH:
            raise RuntimeError(f"the pattern has {len(places)} rows, more than {_EACH}")
        self._place = places[t.INVOICE, self._key]
        for statement in _TABLES.split(";"):
            store.execute(statement.encode())
        with store.cursor() as cursor:
            cursor.executemany("INSERT INTO rest_row VALUES (%s, %s, %s)", [(*n, p) for n, p in places.items()])
            cursor.execute(
                """SELECT f.tbl, f.col, r.place, f.val FROM mirror_ref f
                   JOIN rest_row r ON r.tbl = f.tbl AND r.key = f.key WHERE f.system = %s""",
                (self._system,),
            )
            refs = [(tbl, col, place, places.get((_POINTS_TO.get(col, ""), val))) for tbl, col, place, val in cursor]
            known = [ref for ref in refs if ref[3] is not None]
            cursor.executemany("INSERT INTO rest_ref VALUES (%s, %s, %s, %s)", known)


def _size(store: psycopg.Connection[Any]) -> int:
    row = store.execute("SELECT pg_database_size(current_database())").fetchone()
    return int(row[0]) if row else 0
