"""What a connector package is: its pure mapping, its target, and how its settings look."""

from collections.abc import Mapping
from typing import Any, Protocol

from engine.ports.mapping import ErpMapping
from engine.ports.target import Target


class Connector(Protocol):
    """An entry point of the group `arsync.connectors`."""

    @property
    def mapping(self) -> ErpMapping: ...

    @property
    def example(self) -> str:
        """The system's `source` and `target` sections as commented TOML, `{name}` standing for the system's name."""

    def open_target(self, options: Mapping[str, Any]) -> Target:
        """The ERP to write to. `options` is the system's `target` section, secrets read. Makes no network call.

        Raises `ConfigError` when a setting is missing, unknown or wrong.
        """
