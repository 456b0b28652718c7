"""The entry point `kafka`: what `source.type = "kafka"` in the configuration leads to."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence

from engine.model.change import Record, Unreadable
from engine.ports.finding import Finding
from engine.ports.source import Sharing, Source, SourceSetup


class Kafka:
    """Debezium's records from a topic; for its options see `connectors.debezium.kafka.settings`."""

    def open(self, setup: SourceSetup) -> Source:
        from connectors.debezium.kafka.ahead import open_ahead

        return open_ahead(setup)

    def check(self, setup: SourceSetup, clock: Callable[[], dt.datetime], *, in_use: bool) -> list[Finding]:  # noqa: ARG002
        from connectors.debezium.kafka.checking import check

        return check(setup)

    def read_again(self, unreadable: Unreadable) -> Record | None:
        """Decode a message once more that was kept as text; its origin is its topic and offset."""
        import msgspec

        from connectors.debezium.envelope import read_again

        topic = unreadable.origin.rpartition("@")[0] or unreadable.origin
        return read_again(msgspec.structs.replace(unreadable, origin=topic))

    def share(self, setups: Sequence[SourceSetup]) -> Sharing:
        from connectors.debezium.kafka.group import join

        return join(setups)

    def capture_config(self, setup: SourceSetup) -> tuple[str, Mapping[str, str]]:
        from connectors.debezium.kafka.connector import connector, shown
        from connectors.debezium.kafka.settings import prefix_of, read_options

        return prefix_of(setup.system), shown(connector(setup, read_options(setup)))

    def apply_capture(self, setup: SourceSetup, url: str | None) -> str:
        from connectors.debezium.kafka.rest import apply

        return apply(setup, url)

    def snapshot(self, setup: SourceSetup, tables: Sequence[str], *, whole: bool) -> str:
        from connectors.debezium.kafka.settings import read_options
        from connectors.debezium.kafka.signals import ask_for_snapshot

        return ask_for_snapshot(setup, read_options(setup), tables, whole=whole)


KAFKA = Kafka()
