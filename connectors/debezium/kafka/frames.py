"""What the engine and the process that reads a topic ahead say to each other, over a pair of sockets.

The engine sends one `SourceSetup`. The process answers with `OPENED` and the epoch, then with batches, or with why it
could not go on. The body of a frame (`connectors.debezium.wire`) is a letter and JSON.
"""

import socket
from typing import Any, Final

import msgspec

from connectors.debezium.wire import Frames, receive_frame, send_frame
from engine.model.change import RowChange, TransactionBegin, TransactionEnd, Unreadable
from engine.ports.errors import ConfigError, ConnectorError, SourceError, SourceRefused
from engine.ports.source import Resume, SourceSetup

OPENED: Final = b"o"
BATCH: Final = b"b"
FAILED: Final = b"f"
_SETUP: Final = b"s"
_ERRORS: Final[dict[str, type[ConnectorError]]] = {
    kind.__name__: kind for kind in (ConfigError, SourceRefused, SourceError)
}


class Delivered(msgspec.Struct, array_like=True, frozen=True):
    """A batch on its way."""

    records: list[RowChange | TransactionBegin | TransactionEnd | Unreadable]
    resume: Resume


class Failure(msgspec.Struct, frozen=True):
    """An error on its way: which of the ports' errors, and its two halves."""

    kind: str
    cause: str
    fix: str

    def raised(self) -> ConnectorError:
        """The error itself."""
        return _ERRORS.get(self.kind, SourceError)(self.cause, self.fix)


_encode: Final = msgspec.json.Encoder(enc_hook=str).encode


def send(line: socket.socket, letter: bytes, value: Any) -> None:
    """Send one frame. OSError when nobody listens any more."""
    send_frame(line, letter + _encode(value))


def send_setup(line: socket.socket, setup: SourceSetup) -> None:
    """Tell what is to be read: the only way by which secrets reach the process."""
    send(line, _SETUP, setup)


def receive_setup(line: socket.socket) -> SourceSetup | None:
    """What is to be read, or None when the engine went away before it said so."""
    try:
        frame = receive_frame(line, Frames(), None)
    except EOFError:
        return None
    return msgspec.json.decode((frame or b"")[1:], type=SourceSetup, dec_hook=lambda kind, held: kind(held))
