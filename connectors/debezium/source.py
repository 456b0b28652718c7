"""The entry points of this package: what `source.type` in the configuration leads to."""

import datetime as dt
from collections.abc import Callable

from engine.model.change import Record, Unreadable
from engine.ports.errors import ConnectorError
from engine.ports.finding import Finding
from engine.ports.source import Source, SourceSetup
from engine.ports.surveying import Surveyor


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

    def read_again(self, unreadable: Unreadable) -> Record | None:
        """A line that was no captured message, or the message of one."""
        from connectors.debezium.capture import read_again

        return read_again(unreadable)


class Embedded:
    """A Debezium of our own beside the engine; for its options see `connectors.debezium.settings`."""

    def open(self, setup: SourceSetup) -> Source:
        from connectors.debezium.embedded import open_embedded

        return open_embedded(setup)

    def check(self, setup: SourceSetup, clock: Callable[[], dt.datetime], *, in_use: bool) -> list[Finding]:
        from connectors.debezium.checking import check

        return check(setup, clock, in_use=in_use)

    def read_again(self, unreadable: Unreadable) -> Record | None:
        from connectors.debezium.envelope import read_again

        return read_again(unreadable)

    def survey(self, setup: SourceSetup) -> Surveyor:
        from connectors.debezium.surveying import PostgresSurveyor

        return PostgresSurveyor(setup)


CAPTURE = Capture()
EMBEDDED = Embedded()
