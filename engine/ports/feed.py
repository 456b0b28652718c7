"""What a transport to the AR side must offer: messages out that stay, messages in from where one left off.

`engine.flow.feed` publishes the outbound log through it, `engine.flow.inbox` reads intents from it. Both keep how far
they are in the store, so that a transport need not remember anything.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import msgspec

from engine.ports.finding import Finding


class Channel(StrEnum):
    """What is published apart: events are kept for a time, of documents the last one for each key for good."""

    EVENTS = "events"
    DOCUMENTS = "documents"


class Outgoing(msgspec.Struct, frozen=True):
    """One message. `value` is None for a document that is gone. `id` is the same however often it is published."""

    channel: Channel
    key: str
    id: str
    kind: str
    value: bytes | None


class Incoming(msgspec.Struct, frozen=True):
    """One message of the AR side: the stream it stood in, and its position there."""

    stream: str
    position: int
    value: bytes | None

    @property
    def origin(self) -> str:
        """Where it came from, as people and journals name it."""
        return f"{self.stream}/{self.position}"


class Feed(Protocol):
    """An open transport. Used by two threads: one publishes, one polls."""

    def publish(self, messages: Sequence[Outgoing]) -> None:
        """Hand messages over in their order; returns when all are kept by the transport.

        Raises `Unavailable` when that is not certain: the same messages are published again later.
        """

    def seek(self, positions: Mapping[str, int]) -> list[str]:
        """Go to the next message of each stream, from the first where none is given; called before the first `poll`.

        Returns a sentence for each stream of which messages are gone that were not read.
        Raises `Unavailable`.
        """

    def poll(self, timeout: float) -> Sequence[Incoming]:
        """The next messages of all streams, each stream in its order. Raises `Unavailable`."""

    def close(self) -> None:
        """Give everything back; a second call does nothing."""


class FeedKind(Protocol):
    """An entry point of the group `arsync.feeds`; the section `[ar.NAME]` configures it."""

    @property
    def example(self) -> str:
        """The section as commented TOML."""

    def open(self, options: Mapping[str, Any], folder: Path) -> Feed:
        """Connect. `options` is the section, secrets read; `folder` is where its relative paths start.

        Raises ConfigError, or Unavailable when it may work later.
        """

    def check(self, options: Mapping[str, Any], folder: Path) -> list[Finding]:
        """Look at everything that `open` and publishing need; changes nothing. Never raises."""
