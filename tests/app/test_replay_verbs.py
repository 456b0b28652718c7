"""`arsync replay` and `arsync journal` as an auditor calls them: what they print, and with which code they end."""

import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from benchmarks.replay.lives import Writer, journal
from connectors.tryton.mapping import TrytonMapping
from engine.app.cli import cli
from engine.app.config import Config, JournalConfig
from engine.app.progress import Bar
from engine.app.wiring import OpenStore
from engine.flow.vitals import Vitals
from engine.model.documents import Assembled, DocumentKind, Invoice
from engine.ports.rows import Rows
from engine.store.journal import COLUMNS

ENTRIES = 150
SYSTEM = "replay-verbs"


@pytest.fixture(scope="module")
def stored(store_dsn: str) -> str:
    """A store that holds a journal of one system, and the records to which it leads."""
    from engine.flow.replay.reading import DECODER
    from engine.flow.replay.state import State

    writer, state = Writer(SYSTEM), State()
    rows = [row for part in journal(writer, ENTRIES, abreast=3) for row in part]
    for row in rows:
        state.apply(row[6], row[5], DECODER.decode(row[7]))
    with psycopg.connect(store_dsn) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO system (name, connector, batch) VALUES (%s, 'none', %s)", (SYSTEM, writer.batch))
        with cursor.copy(f"COPY journal ({', '.join(COLUMNS)}) FROM STDIN") as copied:
            for row in rows:
                copied.write_row(row)
        for stream, (seq, own) in writer.heads.items():
            cursor.execute("INSERT INTO stream_head (stream, seq, hash) VALUES (%s, %s, %s)", (stream, seq, own))
    return store_dsn


@pytest.fixture
def config(tmp_path: Path, stored: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARSYNC_DSN", stored)
    file = tmp_path / "arsync.toml"
    file.write_text(f'[store]\ndsn_env = "ARSYNC_DSN"\n[systems.{SYSTEM}]\nconnector = "tryton"\n')
    monkeypatch.setenv("ARSYNC_CONFIG", str(file))
    return file


@pytest.fixture
def archive(config: Path, tmp_path: Path) -> str:
    folder = tmp_path / "archive"
    told = call("journal", "export", str(folder), "--system", SYSTEM, "--json")
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)[0]["entries"] == ENTRIES
    assert json.loads(call("journal", "export", str(folder), "--system", SYSTEM, "--json").stdout)[0]["entries"] == 0
    return str(folder)


def call(*words: str) -> Result:
    return CliRunner().invoke(cli, words)


def rows(*words: str) -> Any:
    done = call(*words, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_an_archive_verifies_and_a_damaged_one_ends_with_1(archive: str) -> None:
    (found,) = rows("replay", "verify", "--archive", archive)
    assert (found["entries"], found["decided"], found["uncovered"], found["faults"]) == (
        ENTRIES,
        ENTRIES,
        ENTRIES,
        [],
    )
    shown = call("replay", "verify", "--archive", archive)
    assert (shown.exit_code, f"{ENTRIES} entries uncovered" in shown.stdout) == (0, True)
    (chained,) = rows("replay", "verify", "--archive", archive, "--chain-only")
    assert (chained["entries"], chained["decided"]) == (ENTRIES, 0)
    file = next(Path(archive).rglob("entries-*.parquet"))
    content = file.read_bytes()
    file.write_bytes(content[:200] + bytes([content[200] ^ 1]) + content[201:])
    damaged = call("replay", "verify", "--archive", archive)
    assert (damaged.exit_code, file.name in damaged.stdout) == (1, True)


def test_what_does_not_exist_is_refused_by_name(archive: str, tmp_path: Path) -> None:
    missing = call("replay", "verify", "--archive", str(tmp_path / "nowhere"))
    assert missing.exit_code != 0
    other = call("replay", "verify", "--archive", archive, "--system", "other")
    assert (other.exit_code, SYSTEM in other.output) == (1, True)
    assert call("replay", "close", "november", "--archive", archive).exit_code == 2
    assert call("replay", "as-of", "yesterday", "--archive", archive).exit_code == 2
    assert call("replay", "timeline", "invoice/nobody", "--archive", archive).exit_code == 1
    assert call("replay", "sql", "SELECT nothing", "--archive", archive).exit_code == 1


def test_documents_are_told_as_of_a_batch_and_as_of_a_time(archive: str) -> None:
    early, late = (rows("replay", "as-of", moment, "--archive", archive) for moment in ("5", str(ENTRIES)))
    assert 0 < len(early) < len(late)
    at = rows("replay", "as-of", "2026-01-01T00:00:10", "--archive", archive)
    assert {row["document"] for row in at} <= {row["document"] for row in late}
    from_the_store = rows("replay", "as-of", str(ENTRIES), "--system", SYSTEM)
    assert from_the_store == late
    customer = late[0]["document"].removeprefix("customer/")
    owed = rows("replay", "balance", customer, "--archive", archive)
    assert owed[0]["document"] == f"customer/{customer}"
    life = rows("replay", "timeline", late[-1]["document"], "--archive", archive)
    assert life[0]["moves"] == ["new -> open (erp_opened)"]


def test_a_month_a_question_and_a_report(archive: str, tmp_path: Path) -> None:
    (month,) = rows("replay", "close", "2026-01", "--archive", archive)
    assert month["posted"] > 0
    assert month["balances"][0]["difference"] == "0.00"
    counted = rows("replay", "sql", "SELECT count(*) AS n FROM entries", "--archive", archive)
    assert counted == [{"n": ENTRIES}]
    assert {"batch", "name", "rec_state"} <= set(
        rows("replay", "sql", "SELECT * FROM steps", "--archive", archive)[0]
    )
    page = tmp_path / "january.html"
    assert call("replay", "report", "2026-01", str(page), "--archive", archive).exit_code == 0
    assert "<svg" in page.read_text(encoding="utf-8")


def test_another_policy_that_leads_elsewhere_ends_with_1(archive: str, tmp_path: Path) -> None:
    same, other = tmp_path / "same.toml", tmp_path / "other.toml"
    same.write_text('[choices]\nover_application = "hold"\n')
    other.write_text('settle_seconds = 10\n[choices]\nover_application = "hold"\n')
    assert call("replay", "diff", "--policy", str(same), "--archive", archive).exit_code == 0
    differs = call("replay", "diff", "--policy", str(other), "--archive", archive, "--json")
    found = json.loads(differs.stdout)
    assert (differs.exit_code, {row["system"] for row in found}) == (1, {SYSTEM})
    assert {row["field"].rpartition(".")[2] for row in found} == {"due_at"}


class OtherMapping(TrytonMapping):
    """A mapping that makes something else of the same rows: every invoice has terms of its own."""

    version = 2

    def assemble(self, kind: DocumentKind, key: str, rows: Rows, sums: Mapping[str, Decimal]) -> Assembled | None:
        made = super().assemble(kind, key, rows, sums)
        if made is None or not isinstance(made.document, Invoice):
            return made
        return msgspec.structs.replace(made, document=msgspec.structs.replace(made.document, terms="other terms"))


def test_another_mapping_is_told_field_by_field(config: Path, shared: Path) -> None:
    capture = str(shared / "events.jsonl")
    words = ("replay", "diff", "--capture", capture, "--json")
    same = call(*words, "--mapping", "1")
    assert (same.exit_code, json.loads(same.stdout)) == (0, []), same.output
    differs = call(*words, "--mapping", f"{__name__}:OtherMapping")
    found = json.loads(differs.stdout)
    assert differs.exit_code == 1
    assert {row["field"] for row in found} == {"terms"}
    assert {row["then"] for row in found} == {"other terms"}
    assert len({row["document"] for row in found}) > 5
    unknown = call(*words, "--mapping", "77")
    assert (unknown.exit_code, "no mapping of version 77" in str(unknown.exception)) == (1, True)
    assert call("replay", "diff", "--mapping", "1").exit_code == 2


def test_checkpoints_are_signed_kept_outside_and_cover_what_they_saw(config: Path, tmp_path: Path) -> None:
    key, points = tmp_path / "key.pem", tmp_path / "points.jsonl"
    made = Ed25519PrivateKey.generate()
    key.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    words = ("journal", "checkpoint", "--system", SYSTEM, "--key", str(key), "--out", str(points))
    first, again = call(*words), call(*words)
    assert (first.exit_code, first.stdout) == (0, again.stdout)
    assert points.read_text(encoding="utf-8") == first.stdout
    public = json.loads(first.stdout)["key"]
    given = ("replay", "verify", "--system", SYSTEM, "--chain-only", "--checkpoint", str(points))
    (found,) = rows(*given, "--public-key", public)
    assert (found["covered"], found["uncovered"]) == (ENTRIES, 0)
    assert call(*given, "--public-key", "AAAA").exit_code == 1


def test_the_daemon_s_clock_takes_one_and_writes_it_outside(stored: str, tmp_path: Path) -> None:
    from engine.app.checkpointing import Checkpoints

    store = OpenStore(stored, stored, None)
    settings = JournalConfig(checkpoint_every="6h", checkpoint_file="outside.jsonl")
    work = Checkpoints(store, settings, tmp_path, SYSTEM, Vitals(SYSTEM))
    point = work.once()
    assert (tmp_path / "outside.jsonl").read_text(encoding="utf-8") == point.line + "\n"
    assert 0 < work._seconds_to_next() <= 6 * 3600
    with pytest.raises(ValueError, match=r"journal\.checkpoint_every"):
        JournalConfig(checkpoint_every="often")
    assert Config().journal.seconds == float("inf")


def test_a_bar_is_shown_after_two_seconds_and_leaves_no_trace(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    moment = [0.0]
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    bar = Bar("verify erp", 100, lambda: moment[0])
    bar.to(10)
    assert capsys.readouterr().err == ""
    moment[0] = 3.0
    bar.to(50)
    assert "50 of 100" in capsys.readouterr().err
    bar.close()
    assert capsys.readouterr().err.endswith("\r\033[K")
