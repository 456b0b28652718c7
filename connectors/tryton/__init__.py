"""Tryton, read through its PostgreSQL and written through its JSON-RPC."""

from collections.abc import Mapping
from typing import Any

from connectors.tryton.example import EXAMPLE
from connectors.tryton.mapping import TrytonMapping
from engine.ports.target import Target


class TrytonConnector:
    """The entry point of the group `arsync.connectors`."""

    mapping = TrytonMapping()
    example = EXAMPLE

    def open_target(self, options: Mapping[str, Any]) -> Target:
        """Its JSON-RPC; what speaks to a network is imported only now, so that replay loads the mapping alone."""
        from connectors.tryton.target import open_target

        return open_target(options)


CONNECTOR = TrytonConnector()
