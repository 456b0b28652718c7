"""One Kafka Connect worker in distributed mode, with Debezium's PostgreSQL connector on its class path."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

import httpx

from tests.kafka_stack.program import Program, ProgramError, Server, answers, free_ports

START_SECONDS: Final = 240.0


class Connect(Server):
    """A worker that answers as soon as `start` returns. It keeps its port; all else stands in Kafka's topics."""

    def __init__(
        self,
        folder: Path,
        jars: Path,
        bootstrap: str,
        *,
        heap: str,
        for_speed: bool,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(Program("connect", folder, jars, heap=heap, for_speed=for_speed))
        (self._port,) = free_ports(1)
        self._file = folder / "connect.properties"
        self._bootstrap = bootstrap
        self._settings = dict(settings or {})

    @classmethod
    def at(cls, url: str, folder: Path, bootstrap: str) -> Self:
        """A worker that runs already; it is neither started nor stopped."""
        worker = cls(folder, folder, bootstrap, heap="1m", for_speed=False)
        worker._port = int(url.rpartition(":")[2])
        return worker

    @property
    def url(self) -> str:
        """Where the REST API answers."""
        return f"http://127.0.0.1:{self._port}"

    def begin(self) -> None:
        """Start with the settings as they are now."""
        text = "".join(f"{name}={value}\n" for name, value in self._properties().items())
        self._file.write_text(text, encoding="utf-8")
        self._program.start("org.apache.kafka.connect.cli.ConnectDistributed", [str(self._file)])

    def await_serving(self) -> None:
        """Wait until the REST API answers."""
        self._program.await_ready(self._answers, START_SECONDS)

    def apply(self, name: str, config: Mapping[str, Any]) -> None:
        """Create or update a connector."""
        with httpx.Client(base_url=self.url, timeout=60) as client:
            answer = client.put(f"/connectors/{name}/config", json={k: str(v) for k, v in config.items()})
        if answer.status_code >= 300:
            raise ProgramError(f"Connect refuses the connector {name}: {answer.text}")

    def delete(self, name: str) -> None:
        """Remove a connector."""
        httpx.delete(f"{self.url}/connectors/{name}", timeout=60)

    def states(self, name: str) -> list[str]:
        """The states of the connector and of its tasks; empty when there is none."""
        answer = httpx.get(f"{self.url}/connectors/{name}/status", timeout=60)
        if answer.status_code != 200:
            return []
        body = answer.json()
        return [body["connector"]["state"], *(task["state"] for task in body["tasks"])]

    def await_running(self, name: str, seconds: float = 240.0) -> None:
        """Wait until the connector and its task run."""
        until = time.monotonic() + seconds
        while (states := self.states(name)) != ["RUNNING", "RUNNING"]:
            if time.monotonic() > until or "FAILED" in states:
                raise ProgramError(f"the connector {name} is {states}: {self.why(name)}")
            time.sleep(0.2)

    def restart_failed(self, name: str) -> None:
        """What an operator does about a task that found its database away when it started: Debezium gives it up."""
        if "FAILED" in self.states(name):
            asked = {"includeTasks": "true", "onlyFailed": "true"}
            httpx.post(f"{self.url}/connectors/{name}/restart", params=asked, timeout=60)
            until = time.monotonic() + 60
            while "FAILED" in self.states(name) and time.monotonic() < until:
                time.sleep(0.2)

    def why(self, name: str) -> str:
        """What Connect says of a connector, traces included, and the end of the worker's log."""
        status = httpx.get(f"{self.url}/connectors/{name}/status", timeout=60).text
        return f"{status[:3000]}\n{self._program.last_words()}"

    def _answers(self) -> bool:
        if not answers(self._port):
            return False
        try:
            return httpx.get(f"{self.url}/connectors", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def _properties(self) -> dict[str, str]:
        own = {
            "bootstrap.servers": self._bootstrap,
            "group.id": "arsync-tests",
            "listeners": self.url,
            "rest.advertised.host.name": "127.0.0.1",
            "plugin.discovery": "only_scan",
            "key.converter": "org.apache.kafka.connect.json.JsonConverter",
            "value.converter": "org.apache.kafka.connect.json.JsonConverter",
            "offset.flush.interval.ms": "1000",
            # A worker that was killed is given up soon, so that the next one begins soon.
            "session.timeout.ms": "6000",
            "heartbeat.interval.ms": "1500",
            "scheduled.rebalance.max.delay.ms": "0",
        }
        for kind in ("config", "offset", "status"):
            own[f"{kind}.storage.topic"] = f"connect-{kind}"
            own[f"{kind}.storage.replication.factor"] = "1"
        own["offset.storage.partitions"] = own["status.storage.partitions"] = "1"
        return own | self._settings
