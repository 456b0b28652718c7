"""A source that reads what Debezium once sent, from a file. The entry point `capture` opens it.

One message a line: `{"destination": ..., "key": ..., "value": ...}`, with key and value as JSON or as strings of
JSON. Plain or gzip. The engine resumes where it committed: a file that has grown goes on there, and another
file starts from its beginning. Nothing is written, so there is nothing to acknowledge upstream.
"""

import gzip
import hashlib
from pathlib import Path
from typing import BinaryIO, Final, cast

import msgspec
from msgspec import Raw

from connectors.debezium.envelope import decode, source_of, storable
from connectors.debezium.envelope import read_again as decode_again
from engine.model.change import Record, Unreadable
from engine.ports.errors import ConfigError, SourceError, SourceRefused
from engine.ports.source import Resume, SourceBatch, SourceSetup

_GZIP: Final = b"\x1f\x8b"


class _Line(msgspec.Struct):
    """One line of the file; other fields (a sequence number, the time of arrival) are passed over."""

    destination: str
    value: Raw
    key: Raw = Raw(b"null")


_line: Final = msgspec.json.Decoder(_Line)
_text: Final = msgspec.json.Decoder(str)
_any: Final = msgspec.json.Decoder()


class CaptureSource:
    """Reads one capture file from `resume` on. Offsets count bytes of the plain text, also in a gzip file."""

    def __init__(self, path: Path, *, resume: Resume | None, max_batch: int) -> None:
        """Open the file. SourceRefused when it is missing, or shorter than what was read of it before."""
        self._path = path
        self._max_batch = max_batch
        self._file = _open(path)
        try:
            self._epoch = _epoch(self._file, path)
            self._file.seek(0)
            self._fingerprint = _fingerprint(self._file)
            self._line, self._offset = self._start(resume)
            self._file.seek(self._offset)
            self._ahead: Record | None = None
            self._look_ahead()
        except BaseException:
            self._file.close()
            raise

    @property
    def epoch(self) -> str:
        """`capture:` and the connector's name and database, as the file's first change names them."""
        return self._epoch

    @property
    def exhausted(self) -> bool:
        """Whether the last complete line has been given."""
        return self._ahead is None

    def poll(self, timeout: float) -> SourceBatch | None:  # noqa: ARG002 - a file has nothing to wait for
        """The next records, at most `max_batch`; None at the end of the file, at once."""
        if self._ahead is None:
            self._look_ahead()
        records: list[Record] = []
        while self._ahead is not None and len(records) < self._max_batch:
            records.append(self._ahead)
            self._line, self._offset = self._ahead_line, self._ahead_offset
            self._look_ahead()
        if not records:
            return None
        if self._fingerprint is None:
            self._fingerprint = self._read_fingerprint()
        return SourceBatch(records, {"file": self._fingerprint, "line": self._line, "offset": self._offset})

    def acknowledge(self) -> None:
        """Nothing to forget: the file stays as it is."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _start(self, resume: Resume | None) -> tuple[int, int]:
        self._ahead_line = self._ahead_offset = 0
        if resume is None or self._fingerprint is None or resume.get("file") != self._fingerprint:
            return 0, 0
        line, offset = int(resume["line"]), int(resume["offset"])
        self._file.seek(max(offset - 1, 0))
        if offset and not self._file.read(1):
            raise SourceRefused(
                f"the capture {self._path} is shorter than the {offset} bytes that were read of it before: "
                "it was cut; put the whole file back, or start over with `arsync run --new-epoch`"
            )
        self._ahead_line, self._ahead_offset = line, offset
        return line, offset

    def _look_ahead(self) -> None:
        """Read on to the next line that gives a record, or to the end."""
        self._ahead = None
        while self._ahead is None:
            raw = self._read_line()
            if raw is None:
                return
            self._ahead_line += 1
            self._ahead_offset += len(raw)
            if raw.strip():
                self._ahead = _decode_line(f"{self._path.name}:{self._ahead_line}", raw)

    def _read_line(self) -> bytes | None:
        """A whole line, or None at the end, with the file's place unchanged when a line is not finished yet."""
        try:
            raw = self._file.readline()
        except EOFError:
            # A gzip file that is still being written ends in the middle of a block.
            return None
        except (OSError, gzip.BadGzipFile) as error:
            raise SourceError(f"the capture {self._path} cannot be read: {error}") from error
        if raw.endswith(b"\n") or (raw and _complete(raw)):
            return raw
        self._file.seek(self._ahead_offset)
        return None

    def _read_fingerprint(self) -> str | None:
        self._file.seek(0)
        fingerprint = _fingerprint(self._file)
        self._file.seek(self._ahead_offset)
        return fingerprint


def open_capture(setup: SourceSetup) -> CaptureSource:
    """Open the file that the option `path` names. ConfigError when there is no such option."""
    path = setup.options.get("path")
    if not isinstance(path, str | Path) or not str(path):
        raise ConfigError(f"system {setup.system}: a source of the kind capture needs `path`, the file to read")
    return CaptureSource(Path(path).expanduser(), resume=setup.resume, max_batch=setup.max_batch)


def read_again(unreadable: Unreadable) -> Record | None:
    """Decode what was kept once more: a whole line of the file where that was at fault, else the message alone."""
    line = unreadable.key is None and _complete(unreadable.payload.encode())
    if line and "destination" in _any.decode(unreadable.payload):
        return _decode_line(unreadable.origin, unreadable.payload.encode())
    return decode_again(unreadable)


def _open(path: Path) -> BinaryIO:
    try:
        file = path.open("rb")
    except OSError as error:
        raise SourceRefused(
            f"the capture {path} cannot be opened: {error.strerror}; correct `path` in the configuration"
        ) from error
    packed = file.read(2) == _GZIP
    file.seek(0)
    if not packed:
        return file
    file.close()
    return cast("BinaryIO", gzip.open(path, "rb"))


def _fingerprint(file: BinaryIO) -> str | None:
    """What tells this file from another: a digest of its first line. None while that is not complete."""
    try:
        first = file.readline()
    except EOFError:
        return None
    if not first.endswith(b"\n") and not _complete(first):
        return None
    return hashlib.sha256(first.rstrip(b"\r\n")).hexdigest()


def _complete(raw: bytes) -> bool:
    try:
        return isinstance(_any.decode(raw), dict)
    except msgspec.MsgspecError:
        return False


def _epoch(file: BinaryIO, path: Path) -> str:
    try:
        for raw in file:
            try:
                line = _line.decode(raw)
                named = source_of(_body(line.value))
            except msgspec.MsgspecError:
                continue
            if named is not None:
                return f"capture:{named}"
    except EOFError:
        pass
    return f"capture:{path.name}"


def _body(raw: Raw) -> bytes | None:
    """A key's or value's JSON; it may be packed into a string once more."""
    held = bytes(raw)
    if held == b"null":
        return None
    return _text.decode(held).encode() if held.startswith(b'"') else held


def _decode_line(place: str, raw: bytes) -> Record | None:
    try:
        line = _line.decode(raw)
        key, value = _body(line.key), _body(line.value)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        reason = f"the line {place} is no captured message with destination, key and value: {error}"
        return Unreadable(origin=storable(place), reason=storable(reason), payload=storable(raw))
    return decode(line.destination, key, value)
