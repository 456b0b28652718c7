"""The entry points of this package: what `source.type` in the configuration leads to."""

import datetime as dt
from collections.abc import Callable

from engine.ports.errors import ConnectorError
from engine.ports.finding import Finding
from engine.ports.source import Source, SourceSetup


class Capture:
    """A file of captured messages; its option is `path`. See `connectors.debezium.capture`."""

    def open(self, setup: SourceSetup) -> Source:
        from connectors.debezium.capture import open_capture

        return open_capture(setup)

    def check(self, setup: SourceSetup, clock: Callable[[], dt.datetime], *, in_use: bool) -> list[Finding]:  # noqa: ARG002
        """Whether the file is there, and goes on behind what was read of it."""
        try:
            self.open(setup).close()
        except ConnectorError as error:
            return [Finding.of("capture", error)]
        return [Finding.well("capture", str(setup.options.get("path")))]


class Embedded:
    """A Debezium of our own beside the engine; for its options see `connectors.debezium.settings`."""

    def open(self, setup: SourceSetup) -> Source:
        from connectors.debezium.embedded import open_embedded

        return open_embedded(setup)

    def check(self, setup: SourceSetup, clock: Callable[[], dt.datetime], *, in_use: bool) -> list[Finding]:
        from connectors.debezium.checking import check

        return check(setup, clock, in_use=in_use)


CAPTURE = Capture()
EMBEDDED = Embedded()
