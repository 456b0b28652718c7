"""Replay of an archive needs no network, no database and no connector; a checkpoint can be signed."""

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from engine.flow.replay.proving import prove
from engine.flow.replay.sharing import verify_shared
from engine.store.archive import Archive
from engine.store.checkpoints import CheckpointError, check_signature, sign
from tests.flow.archived import archived
from tests.flow.memory_journal import SYSTEM, checkpoint_at, made

_ALONE = """
import socket, sys

def refuse(*_args, **_more):
    raise OSError("the network is gone")

class Refused(socket.socket):
    __init__ = refuse

socket.socket, socket.create_connection, socket.getaddrinfo = Refused, refuse, refuse
from pathlib import Path
from engine.flow.replay.proving import prove
from engine.store.archive import Archive
found = prove(Archive(Path(sys.argv[1])), "erp")
assert found.faults == [] and found.decided == found.entries == 300, found.faults
assert not [name for name in sys.modules if name.split(".")[0] == "connectors"]
print(found.digest)
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return archived(tmp_path_factory.mktemp("alone"), 300)


def test_it_reaches_no_network_and_gives_the_same_digest_elsewhere(archive: Archive) -> None:
    elsewhere = subprocess.run(
        [sys.executable, "-c", _ALONE, str(archive.folder)], capture_output=True, text=True, check=False
    )
    assert elsewhere.returncode == 0, elsewhere.stderr
    assert elsewhere.stdout.strip() == prove(archive, SYSTEM).digest


def test_two_processes_find_what_one_finds(archive: Archive) -> None:
    one, two = prove(archive, SYSTEM), verify_shared(archive, SYSTEM, worth_it=100)
    assert (two.faults, two.entries, two.decided, two.digest) == ([], 300, 300, one.digest)


@pytest.mark.parametrize("part", ["entries", "steps", "lasts", "moves", "manifest"])
def test_a_byte_changed_in_any_file_is_found_and_named(tmp_path: Path, part: str) -> None:
    held = archived(tmp_path / "archive", 40)
    place = held.place(SYSTEM)
    file = place / "manifest.json" if part == "manifest" else next(place.rglob(f"{part}-*.parquet"))
    content = file.read_bytes()
    for at in range(3, len(content), max(1, len(content) // 7)):
        file.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        found = prove(Archive(held.folder), SYSTEM)
        assert found.faults, at
        assert file.stem in found.faults[0].sentence, at
    file.write_bytes(content)
    assert prove(Archive(held.folder), SYSTEM).faults == []


def test_a_file_that_is_gone_or_that_nobody_wrote_is_named(tmp_path: Path) -> None:
    held = archived(tmp_path / "archive", 40)
    more = held.place(SYSTEM) / "month=2026-01" / "more.parquet"
    more.write_bytes(b"x")
    assert "more.parquet" in prove(held, SYSTEM).faults[0].sentence
    more.unlink()
    next(held.place(SYSTEM).rglob("entries-*.parquet")).unlink()
    assert "is missing" in prove(held, SYSTEM).faults[0].sentence


def test_a_checkpoint_is_signed_and_another_s_signature_is_refused(tmp_path: Path) -> None:
    files = []
    for name in ("ours", "theirs"):
        key = Ed25519PrivateKey.generate()
        files.append(tmp_path / name)
        files[-1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    point = checkpoint_at(made(30), 20)
    ours, theirs = (sign(point, file) for file in files)
    assert check_signature(ours, ours.key) is None
    assert "another key" in (check_signature(theirs, ours.key) or "")
    assert "is not signed" in (check_signature(point, ours.key) or "")
    import msgspec

    forged = msgspec.structs.replace(ours, batch=ours.batch + 1)
    assert "not its own" in (check_signature(forged, ours.key) or "")
    with pytest.raises(CheckpointError, match="openssl genpkey"):
        sign(point, tmp_path / "missing")
