"""The daemon's page on 127.0.0.1: `/health` says how its parts are (200 or 503), `/metrics` speaks to Prometheus."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psycopg
import structlog
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from engine.flow.vitals import Vitals
from engine.ports.errors import ConfigError

log = structlog.get_logger()
HOST = "127.0.0.1"
Counts = dict[str, dict[str, dict[str, int]]]
"""By system and thing: how many are in which state."""


@contextmanager
def health_page(port: int, vitals: Vitals, counts: Callable[[], Counts]) -> Iterator[int]:
    """Serve until the block ends; yields the port. `counts` reads the states of all things from the store, by system.

    Raises:
        ConfigError: the port is taken.
    """

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/health":
                vitals.report("store", well=(said := _store_trouble(counts)) is None, detail=said or "answers")
                state = vitals.state()
                self._answer(200 if state["well"] else 503, "application/json", json.dumps(state).encode())
            elif self.path == "/metrics":
                self._answer(200, CONTENT_TYPE_LATEST, generate_latest(vitals.registry) + _counted(counts))
            else:
                self._answer(404, "text/plain", b"/health or /metrics\n")

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's signature
            """Scrapes are not worth a line."""

    try:
        server = ThreadingHTTPServer((HOST, port), Page)
    except OSError as error:
        raise ConfigError(
            f"daemon.port {port} on {HOST} cannot be used: {error.strerror}; choose another, or 0 for a free one"
        ) from None
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="health", daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _store_trouble(counts: Callable[[], Counts]) -> str | None:
    try:
        counts()
    except psycopg.Error as error:
        return str(error).strip()
    return None


def _counted(counts: Callable[[], Counts]) -> bytes:
    """How many of what stand where, read from the store at each scrape."""
    try:
        found = counts()
    except psycopg.Error:
        return b""
    lines: list[str] = []
    for what in dict.fromkeys(what for one in found.values() for what in one):
        lines.append(f"# TYPE arsync_{what} gauge")
        for system, things in found.items():
            states = things.get(what, {})
            lines += [
                f'arsync_{what}{{system="{system}",state="{state}"}} {count}' for state, count in states.items()
            ]
    return ("\n".join(lines) + "\n").encode()
