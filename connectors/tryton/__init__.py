"""Tryton, read through its PostgreSQL."""

from connectors.tryton.mapping import TrytonMapping


class TrytonConnector:
    """The entry point of the group `arsync.connectors`."""

    mapping = TrytonMapping()


CONNECTOR = TrytonConnector()
