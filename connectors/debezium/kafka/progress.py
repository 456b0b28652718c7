"""How far the sources of this process have come, for the group to tell Kafka. For monitoring only."""

import threading


class Progress:
    """Written by sources after each commit of the engine, read by the group. Safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._offsets: dict[str, int] = {}

    def note(self, topic: str, offset: int) -> None:
        """Everything of this topic before `offset` is committed."""
        with self._lock:
            self._offsets[topic] = offset

    def take(self) -> dict[str, int]:
        """What has moved since the last call."""
        with self._lock:
            moved, self._offsets = self._offsets, {}
        return moved


PROGRESS = Progress()
