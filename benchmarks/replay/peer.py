"""Reads N events with pyeventsourcing, as a program of its own in the peers' environment: `peer.py N FOLDER`.

The events are aggregates' of about the size of a journal entry, in its SQLite recorder; they are read as its own
notification log reads them, and mapped back to events. Prints seconds of reading.
"""

import sys
import time
from pathlib import Path


def main(count: int, folder: Path) -> float:
    """Seconds that reading took."""
    from eventsourcing.application import Application  # type: ignore[import-not-found,unused-ignore]
    from eventsourcing.domain import Aggregate, event  # type: ignore[import-not-found,unused-ignore]

    class Invoice(Aggregate):  # type: ignore[misc,unused-ignore]
        @event("Changed")  # type: ignore[untyped-decorator,unused-ignore]
        def change(self, body: str) -> None:
            self.body = body

    env = {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(folder / "events.sqlite")}
    application = Application(env)
    body, left = "x" * 600, count
    while left > 0:
        invoice = Invoice()
        for _ in range(min(left, 8) - 1):
            invoice.change(body)
        left -= 8
        application.save(invoice)
    began, read, start = time.perf_counter(), 0, 1
    while read < count:
        page = application.recorder.select_notifications(start, 1000)
        if not page:
            break
        for stored in page:
            application.mapper.to_domain_event(stored)
        read += len(page)
        start = page[-1].id + 1
    seconds = time.perf_counter() - began
    if read != count:
        raise SystemExit(f"pyeventsourcing gave {read} of {count} events")
    return seconds


if __name__ == "__main__":
    sys.stdout.write(f"{main(int(sys.argv[1]), Path(sys.argv[2]))}\n")
