"""The compose file pins what the tests run. That containers start cannot be tested here; docker/README.md says so."""

import re
from pathlib import Path

from engine.app.config import load_config

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "docker/compose.yml").read_text(encoding="utf-8")
POM = (ROOT / "tests/kafka_stack/pom.xml").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "docker/Dockerfile").read_text(encoding="utf-8")


def version(name: str) -> str:
    found = re.search(rf"<{name}.version>(.*?)</", POM)
    assert found is not None
    return found[1]


def test_versions_are_those_of_the_tests() -> None:
    images = dict(re.findall(r"image: (\S+):(\S+)", COMPOSE))
    assert images["apache/kafka"] == version("kafka")
    assert images["quay.io/debezium/connect"] == version("debezium")
    assert all(re.match(r"\d", tag) for tag in images.values())


def test_arsync_runs_as_an_ordinary_user_and_is_looked_after() -> None:
    last = DOCKERFILE.split("\nFROM ")[-1]
    assert re.search(r"^USER arsync$", last, re.MULTILINE)
    assert "HEALTHCHECK" in last
    assert re.match(r"python:3\.\d+\.\d+-slim", last)


def test_its_configuration_is_one(tmp_path: Path) -> None:
    from connectors.debezium.kafka.connector import PASSWORD, connector, shown
    from connectors.debezium.kafka.settings import read_options
    from connectors.tryton import CONNECTOR
    from engine.flow.reader import source_setup

    text = (ROOT / "docker/arsync.toml").read_text(encoding="utf-8")
    (tmp_path / "dsn").write_text("postgresql://arsync:x@store:5432/arsync")
    (tmp_path / "arsync.toml").write_text(text.replace("/run/secrets/store_dsn", str(tmp_path / "dsn")))
    config, _ = load_config(str(tmp_path / "arsync.toml"))
    source = dict(config.systems["tryton"].source)
    setup = source_setup("tryton", source, CONNECTOR.mapping, None, tmp_path, 2000)
    made = shown(connector(setup, read_options(setup)))
    assert made[PASSWORD] == "${directory:/run/secrets:erp_password}"
    assert made["signal.kafka.bootstrap.servers"] == "kafka:9092"
