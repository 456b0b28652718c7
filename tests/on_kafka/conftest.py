"""One Kafka for the session, started by the first test that needs it."""

from collections.abc import Iterator

import pytest

from tests.kafka_stack.stack import KafkaStack, kafka_stack, require_stack

USERS = {"arsync": "a-password-of-22-letters", "stranger": "another-password-of-30-letters"}


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaStack]:
    """A broker and, for whoever asks for `stack.connect`, a Connect worker."""
    require_stack()
    with kafka_stack(tmp_path_factory.mktemp("kafka"), users=USERS) as started:
        yield started
