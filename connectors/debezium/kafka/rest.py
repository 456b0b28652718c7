"""Kafka Connect's REST API: create or update the connector, and tell how what runs differs from what should.

`arsync connect-config --apply` and `arsync check` call it. Passwords are compared and never shown.
"""

from collections.abc import Mapping
from typing import Any, Final

import httpx

from connectors.debezium.kafka.connector import PASSWORD, Properties, capture_of, connector
from connectors.debezium.kafka.settings import prefix_of, read_options
from connectors.debezium.kafka.signals import make_signal_topic
from engine.ports.errors import ConfigError, SourceError, SourceRefused
from engine.ports.finding import Finding
from engine.ports.source import SourceSetup

_SECONDS: Final = 60.0


def apply(setup: SourceSetup, url: str | None) -> str:
    """Create or update the system's connector, and its topic of signals; returns what was done.

    Raises:
        ConfigError: no URL is known, or the section `capture` is missing.
        SourceRefused: Connect does not take the configuration.
        SourceError: Connect or the brokers do not answer.
    """
    options = read_options(setup)
    capture = capture_of(setup, options)
    where = url or capture.connect
    if where is None:
        raise ConfigError(
            f"system {setup.system}: nothing says where Kafka Connect answers",
            "give --apply its URL, or set source.capture.connect",
        )
    made = make_signal_topic(options, capture.replication_factor)
    name = prefix_of(setup.system)
    answer = _ask(where, "PUT", f"/connectors/{name}/config", connector(setup, options))
    if answer.status_code not in (200, 201):
        raise SourceRefused(f"Kafka Connect at {where} does not take the connector {name}: {_said(answer)}",
                            "mend what it names")  # fmt: skip
    done = "created" if answer.status_code == 201 else "updated"
    return f"connector {name} {done}" + (f", topic {options.signal_topic} made" if made else "")


def compare(setup: SourceSetup) -> list[Finding]:
    """What runs at Kafka Connect against what should; nothing when no URL is configured. Never raises."""
    try:
        options = read_options(setup)
        if options.capture is None or options.capture.connect is None:
            return []
        should, where, name = connector(setup, options), options.capture.connect, prefix_of(setup.system)
        runs = _ask(where, "GET", f"/connectors/{name}/config", None)
        status = _ask(where, "GET", f"/connectors/{name}/status", None)
    except (ConfigError, SourceError) as error:
        return [Finding.of("Kafka Connect", error)]
    fix = f"arsync connect-config {setup.system} --apply {where}"
    if runs.status_code == 404:
        return [Finding.error("Kafka Connect", f"there is no connector {name} at {where}", fix)]
    if runs.status_code != 200:
        return [Finding.error("Kafka Connect", f"{where} answers {runs.status_code}: {_said(runs)}", "see its log")]
    return [_differences(name, should, runs.json(), fix), _running(name, where, status)]


def _differences(name: str, should: Properties, runs: Mapping[str, str], fix: str) -> Finding:
    held = {key: value for key, value in runs.items() if key != "name"}
    differing = sorted(key for key in {*should, *held} if should.get(key) != held.get(key))
    if not differing:
        return Finding.well("connector", f"{name} runs as `arsync connect-config` prints it")
    said = [_one(key, held.get(key), should.get(key)) for key in differing[:5]]
    more = f" and {len(differing) - 5} more" if len(differing) > 5 else ""
    return Finding.warning("connector", f"{name} differs: {'; '.join(said)}{more}", fix)


def _one(key: str, held: str | None, should: str | None) -> str:
    if key == PASSWORD:
        return f"{key} is another one"
    return f"{key} is {held!r}, should be {should!r}"


def _running(name: str, where: str, status: httpx.Response) -> Finding:
    body = status.json() if status.status_code == 200 else {}
    parts = [body.get("connector", {}), *body.get("tasks", [])]
    failed = [part for part in parts if part.get("state") not in ("RUNNING",)]
    if status.status_code == 200 and len(parts) > 1 and not failed:
        return Finding.well("connector's task", "running")
    states = ", ".join(str(part.get("state")) for part in parts) or str(status.status_code)
    trace = next((str(part["trace"]).splitlines() for part in parts if part.get("trace")), [])
    cause = next((line for line in reversed(trace) if line.startswith("Caused by:")), trace[0] if trace else "")
    fix = f"mend it, then POST {where}/connectors/{name}/restart?includeTasks=true"
    return Finding.error("connector's task", f"{name} is {states} {cause[:300]}".strip(), fix)


def _ask(where: str, method: str, path: str, body: Any) -> httpx.Response:
    try:
        return httpx.request(method, where.rstrip("/") + path, json=body, timeout=_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise SourceError(
            f"Kafka Connect at {where} does not answer: {error}", "start it, or correct the URL"
        ) from None


def _said(answer: httpx.Response) -> str:
    try:
        return str(answer.json().get("message", answer.text))[:500]
    except ValueError:
        return answer.text[:500]
