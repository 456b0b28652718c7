"""Writes the journal: one entry for everything the engine was told, with everything it decided, chained by hashes.

A stream is written by one unit of work at a time (its system's head lock sees to that), so that its sequence has no
holes and each hash covers all that came before it. The order over all streams of a system is (batch, place).

An entry's body is canonical JSON: `input` is what came in, `basis` the document versions that it was decided on,
`effects` what followed, `after` the fields of every record that are different now, and `versions` the digest of the
settings under which it was decided; the `config` entry before it holds these. Entries written before there was a
`place` have none, and are hashed without it.
"""

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from psycopg import Cursor

import statemachines
from engine.model.canonical import canonical_bytes, short_digest

GENESIS = "0" * 64
MACHINES_VERSION = statemachines.MACHINES_VERSION


COLUMNS = ("stream", "seq", "system", "batch", "place", "at", "kind", "body", "previous", "hash")
"""The journal's columns, in the order of every row of it."""

Row = tuple[str, int, str, int, int | None, dt.datetime, str, str, str, str]


class Settings(msgspec.Struct, frozen=True):
    """Under what a system's entries are decided. A `config` entry holds it whole, each entry its digest.

    `policy` is the rules' own value, in plain types.
    """

    connector: str
    mapping: int | None
    rules: int
    policy: Any
    machines: str = MACHINES_VERSION

    @property
    def digest(self) -> str:
        return short_digest(self)


class Entry(msgspec.Struct, frozen=True):
    """An entry as it is handed in: its place and its hash come when it is written."""

    stream: str
    kind: str
    at: dt.datetime
    input: Any
    basis: Mapping[str, str] = {}
    effects: Sequence[Any] = ()
    after: Mapping[str, Mapping[str, Any]] = {}


class Placed(msgspec.Struct, frozen=True):
    """Where an entry went."""

    stream: str
    seq: int
    hash: str


def stream_heads(cursor: Cursor[Any], system: str) -> dict[str, tuple[int, str]]:
    """(sequence, hash) of the last entry of each stream of a system, by the stream's name."""
    cursor.execute(
        "SELECT stream, seq, hash FROM stream_head WHERE starts_with(stream, %s) ORDER BY stream", (f"{system}/",)
    )
    return {str(stream): (int(seq), str(own)) for stream, seq, own in cursor}


class Chain:
    """The heads of a unit of work's streams; adds entries in order and yields their rows."""

    def __init__(self, system: str, batch: int, heads: dict[str, tuple[int, str]], versions: str) -> None:
        """`versions` is the digest of the settings under which this unit decides."""
        self.system = system
        self.batch = batch
        self.heads = heads
        self.versions = versions
        self.rows: list[Row] = []

    def add(self, entry: Entry) -> Placed:
        """Place an entry behind the last one of its stream."""
        seq, previous = self.heads.get(entry.stream, (0, GENESIS))
        seq += 1
        body = canonical_bytes(
            {
                "after": entry.after,
                "basis": entry.basis,
                "effects": entry.effects,
                "input": entry.input,
                "versions": self.versions,
            }
        ).decode()
        moment, place = entry.at.astimezone(dt.UTC), len(self.rows)
        own = entry_hash(previous, entry.stream, seq, self.system, self.batch, place, moment, entry.kind, body)
        self.heads[entry.stream] = (seq, own)
        row = (entry.stream, seq, self.system, self.batch, place, moment, entry.kind, body, previous, own)
        self.rows.append(row)
        return Placed(entry.stream, seq, own)


def entry_hash(
    previous: str,
    stream: str,
    seq: int,
    system: str,
    batch: int,
    place: int | None,
    at: dt.datetime,
    kind: str,
    body: str,
) -> str:
    """The hash of an entry: SHA-256 over the hash before it, its place, its time and its body."""
    where = (batch,) if place is None else (batch, place)
    head = canonical_bytes([previous, stream, seq, system, *where, at.astimezone(dt.UTC).isoformat(), kind])
    return hashlib.sha256(head + b"\n" + body.encode()).hexdigest()


def verify_chain(rows: Sequence[Row]) -> str | None:
    """Check one stream's entries, oldest first; the sentence that names the first broken one, or None."""
    expected_seq, expected_previous = 1, GENESIS
    for stream, seq, system, batch, place, at, kind, body, previous, own in rows:
        if seq != expected_seq:
            return f"stream {stream}: entry {expected_seq} is missing, entry {seq} stands in its place"
        if previous != expected_previous:
            return f"stream {stream}: entry {seq} does not follow the entry before it"
        if entry_hash(previous, stream, seq, system, batch, place, at, kind, body) != own:
            return f"stream {stream}: entry {seq} was changed after it was written"
        expected_seq, expected_previous = seq + 1, own
    return None
