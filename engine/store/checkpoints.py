"""Takes checkpoints: the digest and the state of every record of a system at a batch, with the heads of its streams.

`arsync journal checkpoint` and the daemon call `take`. A checkpoint is one line of JSON; kept outside the database,
signed where a key is given, it shows a journal that was rewritten whole or cut back. Its records stay in the store
until they are pruned, so that replay can begin at it.
"""

import base64
import datetime as dt
import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from engine.model.canonical import canonical_bytes
from engine.model.records import CommandRecord, ConflictRecord, CustomerRecord, IntentRecord, InvoiceRecord
from engine.store.bulk import append
from engine.store.journal import stream_heads

FORMAT = "arsync-checkpoint/1"
_HASH = hashlib.sha256().digest_size
Connection = psycopg.Connection[tuple[Any, ...]]

_TABLES: tuple[tuple[str, str, type], ...] = (
    ("invoice", "'invoice/' || key", InvoiceRecord),
    ("customer", "'customer/' || key", CustomerRecord),
    ("intent", "'intent/' || id", IntentRecord),
    ("command", "'command/' || key || '/' || revision", CommandRecord),
    ("conflict", "'conflict/' || id", ConflictRecord),
)


class CheckpointError(RuntimeError):
    """A checkpoint cannot be read, or is not what it was when it was made."""


class Checkpoint(msgspec.Struct, frozen=True):
    """`heads` are (sequence, hash) of every stream; `digest` is that of all records, `records` their number.

    `signature` is Ed25519 over all the rest, `key` the public key that it is to be checked with; both base64.
    """

    system: str
    batch: int
    at: dt.datetime
    heads: dict[str, tuple[int, str]]
    digest: str
    records: int
    format: str = FORMAT
    key: str | None = None
    signature: str | None = None

    @property
    def line(self) -> str:
        """As it is printed and kept."""
        return canonical_bytes(self).decode()

    @property
    def signed_part(self) -> bytes:
        return canonical_bytes(msgspec.structs.replace(self, signature=None))


def read_checkpoint(line: str | bytes) -> Checkpoint:
    """A checkpoint out of its line; nothing is left out, so that every byte of it counts.

    Raises:
        CheckpointError: it is none, or not in its one spelling.
    """
    try:
        read = msgspec.json.decode(line, type=Checkpoint)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"this is no checkpoint: {error}") from None
    text = line if isinstance(line, str) else line.decode()
    if read.format != FORMAT or read.line != text.strip():
        raise CheckpointError(f"the checkpoint of {read.system} at batch {read.batch} is not as it was written")
    return read


class Hashes:
    """The hashes of a state's records, taken in any order: 32 bytes of memory each."""

    def __init__(self) -> None:
        self._by_first_byte = [bytearray() for _ in range(256)]

    def add(self, one: bytes) -> None:
        """Take in what `record_hash` gave."""
        self._by_first_byte[one[0]] += one

    @property
    def digest(self) -> tuple[str, int]:
        """The digest of the state, which is that of all of them in order; and their number."""
        whole, count = hashlib.sha256(), 0
        for held in self._by_first_byte:
            ordered = sorted(bytes(held[at : at + _HASH]) for at in range(0, len(held), _HASH))
            whole.update(b"".join(ordered))
            count += len(ordered)
        return whole.hexdigest(), count


def records_digest(hashes: Iterable[bytes]) -> tuple[str, int]:
    """The digest of a state out of the hash of each of its records, in any order; and their number."""
    held = Hashes()
    for one in hashes:
        held.add(one)
    return held.digest


def record_hash(name: str, record: str) -> bytes:
    """The hash of one record, by its name `kind/key` and its canonical JSON."""
    return hashlib.sha256(f"{name}\n{record}".encode()).digest()


def take(connection: Connection, system: str, now: dt.datetime, key_file: Path | None = None) -> Checkpoint:
    """Take a checkpoint of what the store holds now; the daemon may go on working. Nothing is done twice at a batch.

    Raises:
        CheckpointError: the system is not in the store, or the key cannot be used.
    """
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        row = connection.execute("SELECT batch FROM system WHERE name = %s", (system,)).fetchone()
        if row is None:
            raise CheckpointError(f"system {system} is not in the store; start `arsync run` once to enter it")
        batch = int(row[0])
        known = connection.execute(
            "SELECT body FROM checkpoint WHERE system = %s AND batch = %s", (system, batch)
        ).fetchone()
        if known is not None:
            return read_checkpoint(str(known[0]))
        hashes = Hashes()
        with connection.cursor() as cursor:
            ends = stream_heads(cursor, system)
            part: list[tuple[str, int, str, str]] = []
            for name, record in state_of(connection, system):
                hashes.add(record_hash(name, record))
                part.append((system, batch, name, record))
                if len(part) == 5000:
                    append(cursor, "checkpoint_record", ("system", "batch", "name", "record"), part)
                    part = []
            append(cursor, "checkpoint_record", ("system", "batch", "name", "record"), part)
        digest, count = hashes.digest
        made = Checkpoint(system, batch, now.astimezone(dt.UTC), ends, digest, count)
        if key_file is not None:
            made = sign(made, key_file)
        connection.execute(
            "INSERT INTO checkpoint (system, batch, at, digest, body) VALUES (%s, %s, %s, %s, %s)",
            (system, batch, made.at, digest, made.line),
        )
    return made


def state_of(connection: Connection, system: str) -> Iterator[tuple[str, str]]:
    """(name, canonical JSON) of every record of a system as the store holds it now, and of every settings."""
    for table, name, kind in _TABLES:
        decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(kind)
        with connection.cursor(f"state_{table}") as cursor:
            cursor.itersize = 5000
            cursor.execute(f"SELECT {name}, record::text FROM {table} WHERE system = %s", (system,))  # noqa: S608
            for found, text in cursor:
                yield str(found), canonical_bytes(decoder.decode(text)).decode()
    for table in ("invoice", "customer"):
        parked = connection.execute(
            f"SELECT key, parked FROM {table} WHERE system = %s AND parked IS NOT NULL",  # noqa: S608
            (system,),
        )
        for key, reason in parked.fetchall():
            yield f"parked/{table}/{key}", canonical_bytes(reason).decode()
    yield from _settings(connection, system)


def _settings(connection: Connection, system: str) -> Iterator[tuple[str, str]]:
    """Those that the config entries hold, and those of the checkpoint before what was pruned."""
    found: dict[str, str] = dict(
        connection.execute(
            "SELECT name, record FROM checkpoint_record WHERE system = %s AND name LIKE 'settings/%%'", (system,)
        ).fetchall()
    )
    bodies = connection.execute("SELECT body FROM journal WHERE stream = %s", (f"{system}/config",))
    for (body,) in bodies.fetchall():
        said = json.loads(body)
        if "settings" in said["input"]:
            found[f"settings/{said['versions']}"] = canonical_bytes(said["input"]["settings"]).decode()
    yield from sorted(found.items())


def kept(connection: Connection, system: str) -> list[tuple[str, bool]]:
    """(line, whether its older entries were pruned) of every checkpoint of a system, oldest first."""
    found = connection.execute(
        "SELECT body, pruned_at IS NOT NULL FROM checkpoint WHERE system = %s ORDER BY batch", (system,)
    )
    return [(str(body), bool(pruned)) for body, pruned in found.fetchall()]


def sign(checkpoint: Checkpoint, key_file: Path) -> Checkpoint:
    """The checkpoint with an Ed25519 signature. `key_file` holds the private key as PEM.

    Raises:
        CheckpointError: the file holds no such key.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    try:
        key = load_pem_private_key(key_file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{key_file} cannot be used to sign: {error}; `openssl genpkey -algorithm ed25519` makes a key"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise CheckpointError(f"{key_file} holds no Ed25519 key; `openssl genpkey -algorithm ed25519` makes one")
    public = base64.b64encode(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()
    named = msgspec.structs.replace(checkpoint, key=public)
    return msgspec.structs.replace(named, signature=base64.b64encode(key.sign(named.signed_part)).decode())


def check_signature(checkpoint: Checkpoint, public_key: str | None) -> str | None:
    """What is wrong with a checkpoint's signature, or None; `public_key` (base64) must have signed it."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    what = f"the checkpoint of {checkpoint.system} at batch {checkpoint.batch}"
    if checkpoint.signature is None or checkpoint.key is None:
        return f"{what} is not signed" if public_key is not None else None
    if public_key is not None and checkpoint.key != public_key:
        return f"{what} was signed with another key"
    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(checkpoint.key))
        key.verify(base64.b64decode(checkpoint.signature), checkpoint.signed_part)
    except (InvalidSignature, ValueError):
        return f"{what} has a signature that is not its own"
    return None
