"""A proxy in front of Tryton through which arsync alone writes, so that the day can stage what seldom happens.

`demo.day` holds a request between its sender and Tryton, does something else meanwhile and lets it go, or drops the
answer of a request that Tryton has carried out. It promises to forward everything else unchanged, and that no
request is held for longer than a bounded time.
"""

import socket
import threading
from contextlib import suppress
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from demo.proxy_rules import Call, Drop, Hold, Match, Rules, understood

__all__ = ["Call", "Drop", "Hold", "HoldingProxy", "Match"]

ANSWER_SECONDS = 120.0
OWN_TO_A_CONNECTION = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "host"})


class HoldingProxy:
    """Listens on a free port of 127.0.0.1 and forwards to `upstream`; use it as a context manager."""

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        self.upstream = (parts.hostname or "127.0.0.1", parts.port or 80)
        self.rules = Rules()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="holding-proxy")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """Where a client of Tryton connects to instead."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def hold(self, match: Match) -> Hold:
        """Hold the next request that matches, once."""
        return self.rules.add(Hold(match))

    def drop_answer(self, match: Match) -> Drop:
        """Forward the next request that matches, wait for its answer, and hang up instead of passing it on."""
        return self.rules.add(Drop(match))

    def close(self) -> None:
        """Let go of whatever is held, end the connections and stop listening."""
        self.rules.release_all()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.hang_up()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    """Knows its open connections, so that closing it does not wait for clients that keep theirs."""

    daemon_threads = False

    def __init__(self, proxy: HoldingProxy) -> None:
        self.proxy = proxy
        self._open: set[socket.socket] = set()
        self._opening = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._opening:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._opening:
            self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        with self._opening:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        proxy = self.server.proxy
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        call = understood(body)
        drop = None
        if call is not None:
            self._tell(call, answered=False)
            proxy.rules.wait_if_held(call)
            drop = proxy.rules.take_drop(call)
        try:
            status, headers, answer = self._forward(body)
        except (OSError, HTTPException):
            # Whether Tryton has carried it out is not known here either: say so by hanging up.
            self.close_connection = True
            return
        if call is not None:
            self._tell(call, answered=True)
        if drop is not None:
            drop.dropped.set()
            self.close_connection = True
            return
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        """Nothing: the engine and Tryton keep their own logs."""

    def _tell(self, call: Call, *, answered: bool) -> None:
        listener = self.server.proxy.rules.listener
        if listener is not None:
            listener(call, answered)

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        host, port = self.server.proxy.upstream
        upstream = HTTPConnection(host, port, timeout=ANSWER_SECONDS)
        try:
            upstream.request("POST", self.path, body, _passed_on(self.headers.items()))
            response = upstream.getresponse()
            return response.status, list(_passed_on(response.getheaders()).items()), response.read()
        finally:
            upstream.close()


def _passed_on(headers: Any) -> dict[str, str]:
    return {name: value for name, value in headers if name.lower() not in OWN_TO_A_CONNECTION}
