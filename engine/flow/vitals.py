"""How the daemon is: its parts, each well or not, and its counters. Written by the reader and the dispatcher, read by
the health page and by Prometheus."""

import copy
import threading
from typing import Any, Self

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Vitals:
    """Safe to use from several threads."""

    def __init__(self, system: str) -> None:
        self.system = system
        self.registry = CollectorRegistry()
        self._lock = threading.Lock()
        self._parts: dict[str, tuple[bool, str]] = {}
        self._head = ""
        labels = ("system",)
        self._records = self._made(Counter, "arsync_records", "Records read from the ERP's log and committed", labels)
        self._batch = self._made(Histogram, "arsync_batch_seconds", "Time to apply and commit a batch", labels)
        self._lag = self._made(Gauge, "arsync_lag_seconds", "From the ERP's commit to ours, last transaction", labels)
        self._sends = self._made(Counter, "arsync_answers", "Answers of the ERP, by kind", (*labels, "kind"))
        self._seconds = self._made(Histogram, "arsync_send_seconds", "Time that the ERP took to answer", labels)
        self._up = self._made(Gauge, "arsync_part_up", "1 while a part of the daemon works", (*labels, "part"))

    def of(self, system: str) -> Self:
        """The same for one of several systems: its parts are named after it, its counters labelled with it."""
        one = copy.copy(self)
        one.system, one._head = system, f"{system}: "  # noqa: SLF001 - its own kind
        return one

    def forget(self) -> None:
        """This system is another worker's now: its parts are no longer told of here."""
        with self._lock:
            for name in [name for name in self._parts if name.startswith(self._head)]:
                del self._parts[name]

    def report(self, part: str, *, well: bool, detail: str = "") -> None:
        """A part says how it is."""
        with self._lock:
            self._parts[self._head + part] = (well, detail)
        self._up.labels(self.system, part).set(int(well))

    def committed(self, records: int, seconds: float, lag: float | None) -> None:
        """A batch was committed; `lag` is None when it held no transaction of the stream."""
        self._records.labels(self.system).inc(records)
        self._batch.labels(self.system).observe(seconds)
        if lag is not None:
            self._lag.labels(self.system).set(lag)

    def answered(self, kind: str, seconds: float) -> None:
        """The ERP answered, or did not."""
        self._sends.labels(self.system, kind).inc()
        self._seconds.labels(self.system).observe(seconds)

    def state(self) -> dict[str, Any]:
        """Every part with its word; `well` when all are."""
        with self._lock:
            parts = {name: {"well": well, "detail": detail} for name, (well, detail) in sorted(self._parts.items())}
        return {"system": self.system, "well": all(p["well"] for p in parts.values()) and bool(parts), "parts": parts}

    def _made(self, kind: Any, name: str, text: str, labels: tuple[str, ...]) -> Any:
        return kind(name, text, labels, registry=self.registry)
