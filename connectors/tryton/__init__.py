"""Tryton, read through its PostgreSQL."""

from connectors.tryton.example import EXAMPLE
from connectors.tryton.mapping import TrytonMapping


class TrytonConnector:
    """The entry point of the group `arsync.connectors`."""

    mapping = TrytonMapping()
    example = EXAMPLE


CONNECTOR = TrytonConnector()
