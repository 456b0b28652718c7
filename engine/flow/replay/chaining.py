"""Follows the hash chain of every stream of a system, and the order of its batches, entry by entry.

`engine.flow.replay.verifying` drives it. What is wrong goes to
`say(entry, sentence, field, recorded, again)`.
"""

from collections.abc import Callable, Mapping

from engine.store.checkpoints import Checkpoint
from engine.store.journal import GENESIS, Row, entry_hash

Say = Callable[[str, str, str | None, str | None, str | None], None]
_BEGINNING = (0, GENESIS)


class Chains:
    """The ends of all streams as the entries so far lead to them."""

    def __init__(self, system: str, say: Say) -> None:
        self._system = system
        self._say = say
        self.ends: dict[str, tuple[int, str]] = {}
        self._last = (0, -1)

    def start_at(self, point: Checkpoint) -> None:
        """Go on behind a checkpoint: what came before it is no longer here."""
        self.ends = dict(point.heads)
        self._last = (point.batch, -1)

    def trust(self, row: Row) -> None:
        """Go on behind an entry that somebody else holds against those before it."""
        self.ends[row[0]] = (row[1], row[9])
        self._last = (row[3], -1 if row[4] is None else row[4])

    def follow(self, row: Row) -> None:
        """Hold one entry against those before it."""
        stream, seq, system, batch, place, at, kind, body, previous, own = row
        name = f"{stream}#{seq}"
        last, before = self.ends.get(stream, _BEGINNING)
        if seq > last + 1:
            self._tell(f"{stream}#{last + 1}", f"stream {stream}: entry {last + 1} is missing")
        elif seq <= last:
            self._tell(name, f"stream {stream}: entry {seq} stands there twice or out of order")
        elif previous != before:
            self._tell(name, f"stream {stream}: entry {seq} does not follow the entry before it")
        self.ends[stream] = (max(seq, last), own)
        if entry_hash(previous, stream, seq, system, batch, place, at, kind, body) != own:
            self._tell(name, f"stream {stream}: entry {seq} was changed after it was written")
        elif system != self._system or not stream.startswith(f"{self._system}/"):
            self._tell(name, f"entry {seq} of stream {stream} stands in the journal of {self._system}")
        if place is not None:
            self._place(name, batch, place)

    def _place(self, name: str, batch: int, place: int) -> None:
        if (batch, place) <= self._last:
            self._tell(name, f"batch {batch} has another entry at place {place}, or is out of order")
        elif place != (self._last[1] + 1 if batch == self._last[0] else 0):
            self._tell(name, f"batch {batch} has no entry at the place before {place}")
        self._last = max((batch, place), self._last)

    def hold_against_heads(self, recorded: Mapping[str, tuple[int, str]]) -> None:
        """Each stream must end where its recorded head says."""
        for stream in sorted({*recorded, *self.ends}):
            seq, own = recorded.get(stream, _BEGINNING)
            now, last = self.ends.get(stream, _BEGINNING)
            if now < seq:
                cut = f"stream {stream} ends at entry {now}, and its recorded head is entry {seq}: its tail was cut"
                self._tell(f"{stream}#{now + 1}", cut)
            elif now > seq:
                beyond = f"stream {stream} goes on to entry {now}, and its recorded head is entry {seq}"
                self._tell(f"{stream}#{now}", beyond)
            elif last != own:
                sentence = f"stream {stream}: its recorded head is not the hash of its last entry {now}"
                self._say(f"{stream}#{now}", sentence, "hash", own, last)

    def hold_against(self, point: Checkpoint) -> bool:
        """Whether the streams are those that a checkpoint at this place has seen."""
        sound = True
        for stream in sorted({*point.heads, *self.ends}):
            seq, own = point.heads.get(stream, _BEGINNING)
            now, last = self.ends.get(stream, _BEGINNING)
            if (seq, own) == (now, last):
                continue
            sound = False
            seen = f"the checkpoint of batch {point.batch}"
            if seq != now:
                sentence = f"stream {stream} has {now} entries up to there, and {seen} has seen {seq}"
                self._tell(f"{stream}#{min(seq, now) + 1}", sentence)
            else:
                sentence = f"stream {stream} was written anew up to entry {seq}: {seen} has seen another"
                self._say(f"{stream}#{seq}", sentence, "hash", own, last)
        return sound

    def _tell(self, entry: str, sentence: str) -> None:
        self._say(entry, sentence, None, None, None)
