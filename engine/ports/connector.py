"""What a connector package is: today its pure mapping."""

from typing import Protocol

from engine.ports.mapping import ErpMapping


class Connector(Protocol):
    """An entry point of the group `arsync.connectors`."""

    @property
    def mapping(self) -> ErpMapping: ...
