"""What the engine's process and Debezium's process say to each other, over a pair of sockets.

The engine sends one `Start`, then one byte for each batch whose effects are committed: `COMMITTED` lets the ERP's
server forget it, `HELD` does not yet, since what follows belongs to it. Debezium's process sends batches, each only
after the byte for the one before. A frame is its length (8 bytes, big-endian) and MessagePack. The frames themselves
serve every process that the engine starts (`connectors.debezium.kafka.frames`).
"""

import select
import socket
import time
from typing import Any, Final

import msgspec

COMMITTED: Final = b"\x01"
HELD: Final = b"\x02"
_LENGTH: Final = 8

Offset = dict[str, Any]
"""Debezium's own account of how far it has read, as its offset storage keeps it. JSON values only."""


class Start(msgspec.Struct, frozen=True):
    """All that the child needs; the only way by which the password reaches it.

    `offset` is where to go on, None for a new snapshot. `parent` is the engine's process id; `bound` says that
    the thread which started the child lives as long as the engine does.
    """

    properties: dict[str, str]
    offset: Offset | None
    offset_file: str
    jvm_options: list[str]
    parent: int
    bound: bool


class Batch(msgspec.Struct, array_like=True, frozen=True):
    """Messages as (topic, key, value), and where Debezium stands after the last of them."""

    messages: list[tuple[str, bytes | None, bytes | None]]
    offset: Offset


_encoder: Final = msgspec.msgpack.Encoder()


def send(line: socket.socket, value: Start | Batch) -> None:
    """Send one frame. OSError when nobody listens any more."""
    send_frame(line, _encoder.encode(value))


def receive_start(line: socket.socket) -> Start | None:
    """The configuration, or None when the engine went away before it sent one."""
    try:
        frame = receive_frame(line, Frames(), None)
    except EOFError:
        return None
    return msgspec.msgpack.decode(frame or b"", type=Start)


def send_frame(line: socket.socket, body: bytes) -> None:
    """Send one frame. OSError when nobody listens any more."""
    line.sendall(len(body).to_bytes(_LENGTH, "big"))
    line.sendall(body)


def receive_frame(line: socket.socket, frames: "Frames", until: float | None) -> bytes | None:
    """The next frame's body, or None when there is none by `until` (`time.monotonic`); without it, it is waited for.

    EOFError when nobody sends any more, be it that the other process was killed.
    """
    while (frame := frames.take()) is None:
        left = None if until is None else max(0.0, until - time.monotonic())
        if not select.select([line], [], [], left)[0]:
            return None
        try:
            data = line.recv(1 << 20)
        except OSError:
            data = b""
        if not data:
            raise EOFError
        frames.feed(data)
    return frame


class Frames:
    """Puts frames together from whatever pieces arrive."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> None:
        """Take the next piece."""
        self._held += data

    def take(self) -> bytes | None:
        """The next whole frame's body, or None while it is not complete."""
        if len(self._held) < _LENGTH:
            return None
        end = _LENGTH + int.from_bytes(self._held[:_LENGTH], "big")
        if len(self._held) < end:
            return None
        body = bytes(memoryview(self._held)[_LENGTH:end])
        del self._held[:end]
        return body
