"""Writes the journal: one entry for everything the engine was told, with everything it decided, chained by hashes.

A stream is written by one unit of work at a time (its system's head lock sees to that), so that its sequence has no
holes and each hash covers all that came before it.
"""

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

import statemachines
from engine.model.canonical import canonical_bytes

GENESIS = "0" * 64
MACHINES_VERSION = statemachines.MACHINES_VERSION


class Entry(msgspec.Struct, frozen=True):
    """An entry as it is handed in: its place and its hash come when it is written.

    `input` is what came in, `basis` the document versions that it was decided on, `effects` what followed.
    """

    stream: str
    kind: str
    at: dt.datetime
    input: Any
    basis: Mapping[str, str]
    effects: Sequence[Any]


class Placed(msgspec.Struct, frozen=True):
    """Where an entry went."""

    stream: str
    seq: int
    hash: str


class Chain:
    """The heads of a unit of work's streams; adds entries in order and yields their rows."""

    def __init__(
        self, system: str, batch: int, heads: dict[str, tuple[int, str]], versions: Mapping[str, Any]
    ) -> None:
        self.system = system
        self.batch = batch
        self.heads = heads
        self.versions = versions
        self.rows: list[tuple[Any, ...]] = []

    def add(self, entry: Entry) -> Placed:
        """Place an entry behind the last one of its stream."""
        seq, previous = self.heads.get(entry.stream, (0, GENESIS))
        seq += 1
        body = canonical_bytes(
            {
                "input": entry.input,
                "basis": dict(entry.basis),
                "effects": list(entry.effects),
                "versions": self.versions,
            }
        ).decode()
        moment = entry.at.astimezone(dt.UTC)
        own = entry_hash(previous, entry.stream, seq, self.system, self.batch, moment, entry.kind, body)
        self.heads[entry.stream] = (seq, own)
        self.rows.append((entry.stream, seq, self.system, self.batch, moment, entry.kind, body, previous, own))
        return Placed(entry.stream, seq, own)


def entry_hash(
    previous: str, stream: str, seq: int, system: str, batch: int, at: dt.datetime, kind: str, body: str
) -> str:
    """The hash of an entry: SHA-256 over the hash before it, its place, its time and its body."""
    head = canonical_bytes([previous, stream, seq, system, batch, at.astimezone(dt.UTC).isoformat(), kind])
    return hashlib.sha256(head + b"\n" + body.encode()).hexdigest()


def verify_chain(rows: Sequence[tuple[Any, ...]]) -> str | None:
    """Check one stream's entries, oldest first; the sentence that names the first broken one, or None.

    Each row is (stream, seq, system, batch, at, kind, body, previous, hash).
    """
    expected_seq, expected_previous = 1, GENESIS
    for stream, seq, system, batch, at, kind, body, previous, own in rows:
        if seq != expected_seq:
            return f"stream {stream}: entry {expected_seq} is missing, entry {seq} stands in its place"
        if previous != expected_previous:
            return f"stream {stream}: entry {seq} does not follow the entry before it"
        if entry_hash(previous, stream, seq, system, batch, at, kind, body) != own:
            return f"stream {stream}: entry {seq} was changed after it was written"
        expected_seq, expected_previous = seq + 1, own
    return None
