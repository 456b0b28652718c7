"""Mappings that hold in memory what was used lately, and the rest on disk: a journal may tell of millions of records.

`engine.flow.replay.state` keeps its records in them when it is given a bound. What was not used for a while is
written as canonical JSON into a SQLite file without a name, so that the space is free again however the process ends.
Nothing touches the disk before more is held than the bound allows.
"""

import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

V = TypeVar("V")
_CACHE_KIB = 16 * 1024
_FILTER_BITS = 25


class Spill:
    """The file behind the mappings of one state. It stands in the folder that TMPDIR names, and is made when the
    first mapping writes to it.
    """

    def __init__(self) -> None:
        self._opened: sqlite3.Connection | None = None

    @property
    def connection(self) -> sqlite3.Connection:
        """Open, with no file that anybody could find."""
        if self._opened is None:
            with tempfile.TemporaryDirectory(prefix="arsync-replay-") as folder:
                self._opened = sqlite3.connect(Path(folder) / "records.sqlite", isolation_level=None)
                for pragma in ("journal_mode = OFF", "synchronous = OFF", "locking_mode = EXCLUSIVE",
                               f"cache_size = -{_CACHE_KIB}", "temp_store = MEMORY"):  # fmt: skip
                    self._opened.execute(f"PRAGMA {pragma}")
                self._opened.execute("CREATE TABLE opened (at INTEGER)")  # the file is there from here on
        return self._opened

    def close(self) -> None:
        """Give the space back; what was spilled is gone."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None


class SpillingMap(dict[str, V]):
    """A mapping of which about twice `bound` values stay in memory. Values are replaced, never changed in place.

    As a `dict` it is the younger half of them; whoever only asks and sets need not know. `text` makes a value the
    text that is spilled, `value` reads it again: an equal value must come out. Until it holds more than `bound` it
    asks as a `dict` does, at no further cost.
    """

    def __init__(
        self, spill: Spill, name: str, bound: int, text: Callable[[V], bytes], value: Callable[[bytes], V]
    ) -> None:
        super().__init__()
        self._spill = spill
        self._table = f"CREATE TABLE {name} (key TEXT PRIMARY KEY, text BLOB NOT NULL)"
        self._one = f"SELECT text FROM {name} WHERE key = ?"  # noqa: S608 - a name of the state's
        self._all = f"SELECT key, text FROM {name}"  # noqa: S608 - as above
        self._put = f"INSERT INTO {name} VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET text = excluded.text"  # noqa: S608 - as above
        self._bound = bound
        self._text = text
        self._value = value
        self._older: dict[str, V] = {}
        self._as_spilled: set[str] = set()
        """Keys in memory whose values are those on disk."""
        self._perhaps: bytearray | None = None
        """A Bloom filter of one hash over the keys on disk; None while nothing is there."""

    def __setitem__(self, key: str, value: V) -> None:
        if self._as_spilled:
            self._as_spilled.discard(key)
        _set(self, key, value)
        if _len(self) > self._bound:
            self._age()

    def setdefault(self, key: str, default: Any = None) -> Any:
        found = self.get(key)
        if found is None:
            self[key] = found = default
        return found

    def update(self, other: Any = (), /, **more: V) -> None:
        for key, value in dict(other, **more).items():
            self[key] = value

    def __iter__(self) -> Iterator[str]:
        return (key for key, _ in self.texts(lambda _value: b""))

    def keys(self) -> Any:
        """All keys, those on disk last."""
        return iter(self)

    def items(self) -> Any:
        """(key, value) of everything, those on disk last; they do not come into memory by that."""
        yield from self._in_memory()
        for key, text in self._on_disk():
            yield key, self._value(text)

    def values(self) -> Any:
        """As `items`."""
        return (value for _, value in self.items())

    def texts(self, text: Callable[[V], bytes] | None = None) -> Iterator[tuple[str, bytes]]:
        """(key, text) of everything; what is on disk as it stands there."""
        written = text or self._text
        for key, value in self._in_memory():
            yield key, written(value)
        yield from self._on_disk()

    def _in_memory(self) -> Iterator[tuple[str, V]]:
        yield from dict.items(self)
        for key, value in self._older.items():
            if not _contains(self, key):
                yield key, value

    def _on_disk(self) -> Iterator[tuple[str, bytes]]:
        if self._perhaps is None:
            return
        older = self._older
        for key, text in self._spill.connection.execute(self._all):
            if not _contains(self, key) and key not in older:
                yield key, text

    def _age(self) -> None:
        """The younger half becomes the older one, which goes to disk."""
        same = self._as_spilled
        self._write([(k, v) for k, v in self._older.items() if not _contains(self, k) and k not in same])
        self._older = dict(dict.items(self))
        self.__class__ = _Aged
        self._as_spilled = {key for key in same if key in self._older}
        dict.clear(self)

    def _write(self, changed: Iterable[tuple[str, V]]) -> None:
        rows = [(key, self._text(value)) for key, value in changed]
        if not rows:
            return
        connection = self._spill.connection
        if self._perhaps is None:
            self._perhaps = bytearray(1 << (_FILTER_BITS - 3))
            connection.execute(self._table)
        perhaps = self._perhaps
        for key, _ in rows:
            place = hash(key) & _MASK
            perhaps[place >> 3] |= 1 << (place & 7)
        connection.execute("BEGIN")
        connection.executemany(self._put, rows)
        connection.execute("COMMIT")


class _Aged(SpillingMap[V]):
    """One that has older values than those of the `dict`."""

    def get(self, key: str, default: Any = None) -> Any:
        found = _get(self, key)
        if found is None:
            found = self._recalled(key)
        return default if found is None else found

    def __missing__(self, key: str) -> V:
        found = self._recalled(key)
        if found is None:
            raise KeyError(key)
        return found

    def __contains__(self, key: object) -> bool:
        return _contains(self, key) or (isinstance(key, str) and self._recalled(key) is not None)

    def __bool__(self) -> bool:
        return True  # nothing is ever taken out

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _recalled(self, key: str) -> V | None:
        """A value that is not among the younger ones, which it joins."""
        found = self._older.get(key)
        if found is None:
            if self._perhaps is None or not self._perhaps[(place := hash(key) & _MASK) >> 3] & 1 << (place & 7):
                return None
            row = self._spill.connection.execute(self._one, (key,)).fetchone()
            if row is None:
                return None
            found = self._value(row[0])
            self._as_spilled.add(key)
        _set(self, key, found)
        if _len(self) > self._bound:
            self._age()
        return found


_MASK = (1 << _FILTER_BITS) - 1
_get, _set, _contains, _len = dict.get, dict.__setitem__, dict.__contains__, dict.__len__
