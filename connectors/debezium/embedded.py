"""A source that runs Debezium beside the engine. The entry point `debezium` opens it.

Debezium runs in a process of its own (`connectors.debezium.child`) and is held to one rule: it goes on to the next
batch, and lets the ERP's server forget the last one, only after the engine has acknowledged. How far it has read
is part of `resume`, which the engine commits together with the effects; Debezium's own offset file is written anew
from it at each start, so losing the folder loses nothing. Where Debezium has never read, or was stopped in the
middle of a snapshot, it takes a new one, from a slot made in the same moment: nothing falls between the snapshot
and the stream. That is safe for the engine: rows of a snapshot never overwrite newer ones.

What the login needs, without being a superuser: LOGIN, REPLICATION, SELECT on the tables; and either their
ownership with CREATE on the database (Debezium then makes the publication), or a publication that an owner made.
"""

import os
import subprocess
import threading
import time
from contextlib import suppress

import msgspec

from connectors.debezium.envelope import decode
from connectors.debezium.preflight import Server, inspect
from connectors.debezium.process import LOG, check_programs, jvm_options, last_words, launch
from connectors.debezium.resuming import at_restart, claim, furthest, read_up_to, where_to_go_on
from connectors.debezium.server import drop_slot
from connectors.debezium.settings import OFFSETS, properties, read_options
from connectors.debezium.wire import COMMITTED, HELD, Batch, Frames, Offset, Start, receive_frame
from engine.model.change import Record, RowChange, SnapshotMark, TransactionEnd
from engine.ports.errors import SourceError
from engine.ports.source import Resume, SourceBatch, SourceSetup


class EmbeddedSource:
    """A running Debezium. Made by `open_embedded`."""

    def __init__(self, setup: SourceSetup, server: Server, born: int, slot: str, start: Start) -> None:
        """`born` is the server's log position when the snapshot was asked for that this epoch began with."""
        self._max_batch = setup.max_batch
        self._server = server.epoch
        self._born = born
        self._slot = slot
        self._committed: Offset | None = start.offset
        self._lsn = 0 if start.offset is None else read_up_to(setup.resume)
        self._log = setup.folder / LOG
        self._frames = Frames()
        self._rest: list[Record] = []
        self._offset: Offset | None = None
        self._inside = False
        self._reached = 0
        self._log_from = self._log.stat().st_size if self._log.exists() else 0
        self._line, self._process = launch(setup.folder, start)

    @property
    def epoch(self) -> str:
        """The server's identity, its timeline, the slot and where its snapshot began:
        `pg:<system>:<timeline>:<slot>@<position>`."""
        return f"{self._server}@{self._born}"

    @property
    def exhausted(self) -> bool:
        """Never: an ERP goes on."""
        return False

    @property
    def pid(self) -> int:
        """The process that runs Debezium."""
        return self._process.pid

    def poll(self, timeout: float) -> SourceBatch | None:
        """The next records, at most `max_batch`. A batch may be empty: then only `resume` has moved.

        SourceError when Debezium's process has ended.
        """
        until = time.monotonic() + timeout
        while self._offset is None:
            batch = self._receive(until)
            if batch is None:
                return None
            self._offset = batch.offset
            self._reached = max(self._reached, furthest(batch.offset))
            decoded = (decode(topic, key, value) for topic, key, value in batch.messages)
            self._rest = [record for record in decoded if record is not None]
            self._inside = _inside_transaction(self._rest[-1]) if self._rest else self._inside
            if not self._rest and self._offset == self._committed:
                # A heartbeat while the ERP rests: there is nothing that the engine could commit.
                self.acknowledge()
        records, self._rest = self._rest[: self._max_batch], self._rest[self._max_batch :]
        return SourceBatch(records, self._resume())

    def acknowledge(self) -> None:
        """Let Debezium go on, once every part of its batch is committed."""
        if self._rest or self._offset is None:
            return
        if not self._inside:
            self._committed = self._offset
        self._offset = None
        # A heartbeat names a transaction's commit before the transaction's end has come: were the server told, it
        # would never send the end again.
        word = HELD if self._inside else COMMITTED
        # If it is gone, the next poll says so; the engine has committed and will resume after this batch.
        with suppress(OSError):
            self._line.sendall(word)

    def close(self) -> None:
        """End Debezium's process. It has nothing to save."""
        self._line.close()
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def _resume(self) -> Resume:
        """Where to go on, once everything up to here is committed.

        The offset is that of the last batch which ended between two transactions, or in a snapshot; `lsn` is how far
        was read.
        """
        if not self._rest:
            self._lsn = max(self._lsn, self._reached)
        offset = self._committed if self._inside or self._rest else self._offset or self._committed
        return {"epoch": self._server, "born": self._born, "slot": self._slot, "lsn": self._lsn, "offset": offset}

    def _receive(self, until: float) -> Batch | None:
        try:
            frame = receive_frame(self._line, self._frames, until)
        except EOFError:
            raise self._ended() from None
        return None if frame is None else msgspec.msgpack.decode(frame, type=Batch)

    def _ended(self) -> SourceError:
        try:
            code: object = self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            code = "unknown"
        cause = last_words(self._log, self._log_from)
        return SourceError(
            f"Debezium's process {self._process.pid} has ended with exit code {code}{cause}; "
            f"read {self._log}; it is started again"
        )


def _inside_transaction(last: Record) -> bool:
    """Whether a transaction is under way after this record. The server sends one whole transaction after the other.

    A record that cannot be read says nothing, so it is taken for a part of one.
    """
    if isinstance(last, RowChange):
        return last.snapshot not in (SnapshotMark.ROW, SnapshotMark.LAST)
    return not isinstance(last, TransactionEnd)


def open_embedded(setup: SourceSetup) -> EmbeddedSource:
    """Check the ERP's server, then start Debezium. Returns at once; the first rows come some seconds later.

    The options are those of `connectors.debezium.settings.Options`.
    Raises ConfigError, SourceRefused, or SourceError when the server does not answer now.
    """
    options = read_options(setup)
    check_programs()
    setup.folder.mkdir(parents=True, exist_ok=True)
    server = inspect(options, setup.tables)
    offset = where_to_go_on(setup, options, server)
    if offset is None and options.snapshot_mode == "initial" and server.slot is not None:
        drop_slot(options)
    claim(setup, server)
    start = Start(
        properties=properties(setup, options, publication_mode=server.publication_mode),
        offset=at_restart(offset, server.slot),
        offset_file=str((setup.folder / OFFSETS).resolve()),
        jvm_options=jvm_options(setup.folder.resolve(), options.heap),
        parent=os.getpid(),
        bound=threading.current_thread() is threading.main_thread(),
    )
    # A new snapshot begins an epoch, on the same server too: its log may have been set back meanwhile.
    born = int((setup.resume or {}).get("born") or 0) if offset is not None else server.end
    return EmbeddedSource(setup, server, born, str(options.slot), start)
