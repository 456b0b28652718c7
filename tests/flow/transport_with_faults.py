"""A transport in memory that fails where it is told to: for what a real broker cannot be made to show at will."""

from collections.abc import Mapping, Sequence

from engine.ports.errors import Unavailable
from engine.ports.feed import Channel, Incoming, Outgoing


class FaultyTransport:
    """Keeps what was published, and hands out what stands in `inbox`.

    Faults are taken one by one by `publish`: `before` (nothing is kept, no answer), `after` (all is kept, no answer),
    `half` (the first half is kept, no answer), `die` (all is kept, and the process is gone).
    """

    def __init__(self) -> None:
        self.published: list[Outgoing] = []
        self.faults: list[str] = []
        self.inbox: list[Incoming] = []
        self.gone: list[str] = []
        self._next: dict[str, int] = {}

    def publish(self, messages: Sequence[Outgoing]) -> None:
        fault = self.faults.pop(0) if self.faults else "ok"
        kept = {"ok": len(messages), "after": len(messages), "die": len(messages), "half": len(messages) // 2}
        self.published += messages[: kept.get(fault, 0)]
        if fault == "die":
            raise SystemExit
        if fault != "ok":
            raise Unavailable("no answer")

    def seek(self, positions: Mapping[str, int]) -> list[str]:
        self._next = dict(positions)
        return self.gone

    def poll(self, timeout: float) -> Sequence[Incoming]:  # noqa: ARG002 - the port's signature
        found = [one for one in self.inbox if one.position >= self._next.get(one.stream, 0)]
        self._next |= {one.stream: one.position + 1 for one in found}
        return found

    def close(self) -> None: ...

    def leave(self, *values: bytes | None, stream: str = "ar.intents/0") -> None:
        """The AR side leaves messages."""
        start = sum(one.stream == stream for one in self.inbox)
        self.inbox += [Incoming(stream, start + place, value) for place, value in enumerate(values)]

    def events(self) -> list[Outgoing]:
        return [one for one in self.published if one.channel is Channel.EVENTS]

    def documents(self) -> dict[str, bytes | None]:
        """The last message for each key, as a compacted topic keeps it."""
        return {one.key: one.value for one in self.published if one.channel is Channel.DOCUMENTS}
