"""The entry points of this package: what `source.kind` in the configuration leads to."""

from engine.ports.source import Source, SourceSetup


def open_capture(setup: SourceSetup) -> Source:
    """A file of captured messages; its option is `path`. See `connectors.debezium.capture`."""
    from connectors.debezium.capture import open_capture as opened

    return opened(setup)


def open_embedded(setup: SourceSetup) -> Source:
    """A Debezium of our own beside the engine; for its options see `connectors.debezium.embedded`."""
    from connectors.debezium.embedded import open_embedded as opened

    return opened(setup)
