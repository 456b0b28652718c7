"""What `arsync reconcile` says where it cannot do what it is asked for, and what to do instead."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from connectors.tryton.mapping import TrytonMapping
from engine.app.cli import cli
from engine.app.wiring import enter_system, now
from engine.flow.pipeline import Pipeline
from engine.ports.source import SourceBatch
from engine.rules.policy import Policy
from engine.store.unit import Connection

SYSTEM = "from-kafka"
SETTINGS = f"""
[store]
dsn_env = "ARSYNC_DSN"
[systems.{SYSTEM}]
connector = "tryton"
[systems.{SYSTEM}.source]
type = "kafka"
bootstrap = "127.0.0.1:1"
topic = "t"
[systems.{SYSTEM}.target]
url = "http://127.0.0.1:1/"
database = "d"
user = "u"
password_env = "ARSYNC_DSN"
"""


def test_rows_are_not_read_again_where_the_source_has_no_way_to_them(
    tmp_path: Path, store_dsn: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With Kafka there is no way to the ERP's own database: it is said before anything is asked of the ERP."""
    file = tmp_path / "arsync.toml"
    file.write_text(SETTINGS)
    monkeypatch.setenv("ARSYNC_DSN", store_dsn)
    monkeypatch.setenv("ARSYNC_CONFIG", str(file))
    enter_system(connection, SYSTEM, "tryton")
    Pipeline(connection, SYSTEM, TrytonMapping(), Policy(), now, epoch="log@1").take(SourceBatch([], {}))
    done = CliRunner().invoke(cli, ("reconcile", SYSTEM, "--repair"))
    said = done.stderr + str(done.exception or "")
    assert done.exit_code != 0
    assert "has no way to the ERP's database" in said
    assert f"arsync reconcile {SYSTEM}` without repair" in said
    assert "arsync run --new-epoch" in said
