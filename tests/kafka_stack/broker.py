"""One Kafka broker in KRaft mode: controller and broker in one process, on loopback ports, data in a folder."""

import uuid
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Final

from tests.kafka_stack.doors import Doors
from tests.kafka_stack.program import Program, Server, answers, free_ports

START_SECONDS: Final = 180.0


class Broker(Server):
    """A broker that is ready as soon as `start` returns. It keeps ports and data over `stop`, `kill` and `start`."""

    def __init__(self, folder: Path, jars: Path, *, heap: str, for_speed: bool, doors: Doors | None = None) -> None:
        """`doors` are listeners beside the open one."""
        super().__init__(Program("broker", folder, jars, heap=heap, for_speed=for_speed))
        self._port, self._controller = free_ports(2)
        self._file = folder / "server.properties"
        self.doors = doors
        self._cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")

    @property
    def bootstrap(self) -> str:
        """`host:port` for clients."""
        return f"127.0.0.1:{self._port}"

    def begin(self) -> None:
        """Format the data folder the first time, and start."""
        if not self._file.exists():
            text = "".join(f"{name}={value}\n" for name, value in self._properties().items())
            self._file.write_text(text, encoding="utf-8")
            more = self.doors.format_arguments if self.doors is not None else []
            words = ["format", "-t", self._cluster, "-c", str(self._file), *more]
            self._program.run("kafka.tools.StorageTool", words)
        self._program.start("kafka.Kafka", [str(self._file)])

    def await_serving(self) -> None:
        """Wait until the port answers."""
        self._program.await_ready(lambda: answers(self._port), START_SECONDS)

    def _properties(self) -> dict[str, str]:
        open_door, controller = f"PLAINTEXT://127.0.0.1:{self._port}", f"CONTROLLER://127.0.0.1:{self._controller}"
        further = self.doors.listeners if self.doors is not None else []
        protocols = self.doors.protocols if self.doors is not None else []
        own = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller}",
            "listeners": ",".join([open_door, controller, *further]),
            "advertised.listeners": ",".join([open_door, *further]),
            "listener.security.protocol.map": ",".join(["PLAINTEXT:PLAINTEXT", "CONTROLLER:PLAINTEXT", *protocols]),
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self._program.folder / "data"),
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
            "num.network.threads": "2",
            "num.io.threads": "4",
            "auto.create.topics.enable": "false",
        }
        return own | (self.doors.properties() if self.doors is not None else {})
