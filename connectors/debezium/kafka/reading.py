"""The process that reads a topic ahead of the engine: `python -m connectors.debezium.kafka.reading FD`.

`connectors.debezium.kafka.ahead` starts it and tells it over a pair of sockets what to read. It fetches and decodes
the next batch while the engine commits the last one, on a core of its own, and no further: what nobody takes stays in
the socket. It holds nothing that matters, and ends as soon as the engine's process is gone.
"""

import os
import select
import signal
import socket
import sys
from typing import Final

from connectors.debezium.kafka.frames import BATCH, FAILED, OPENED, Delivered, Failure, receive_setup, send
from connectors.debezium.kafka.source import KafkaSource, open_kafka
from engine.model.change import Record
from engine.ports.errors import ConnectorError

_LOOK_SECONDS: Final = 0.2


class _Gone(Exception):
    """The engine's process has closed its end or has ended."""


def _look(line: socket.socket, parent: int) -> None:
    ready, _, _ = select.select([line], [], [], 0)
    if (ready and not line.recv(1)) or os.getppid() != parent:
        raise _Gone


def _read(source: KafkaSource, line: socket.socket, parent: int) -> None:
    while True:
        _look(line, parent)
        batch = source.poll(_LOOK_SECONDS)
        if batch is not None:
            records: list[Record] = list(batch.records)
            send(line, BATCH, Delivered(records, batch.resume))


def main() -> None:
    """Read until the engine goes away or the source fails."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    line, parent = socket.socket(fileno=int(sys.argv[1])), os.getppid()
    setup = receive_setup(line)
    if setup is None:
        return
    try:
        try:
            source = open_kafka(setup)
        except ConnectorError as error:
            send(line, FAILED, Failure(type(error).__name__, error.cause, error.fix))
            return
        try:
            send(line, OPENED, source.epoch)
            _read(source, line, parent)
        except ConnectorError as error:
            send(line, FAILED, Failure(type(error).__name__, error.cause, error.fix))
        finally:
            source.close()
    except (_Gone, OSError):
        return


if __name__ == "__main__":
    main()
