"""The ASGI application: reads requests by their shapes, asks an endpoint, and answers in JSON.

`engine.app.http.serving` runs it. Each request has a connection to the store for itself, out of a few that are kept
open; a request that waits for events holds none meanwhile.
"""

import asyncio
import queue
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec
import psycopg
import structlog
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from engine.app.config import HttpConfig
from engine.app.http import openapi, shapes
from engine.app.http.access import Caller, Tokens
from engine.app.http.endpoints import ENDPOINTS, Asked, Endpoint
from engine.app.http.problems import MEDIA_TYPE, Problem, Refusal, problem
from engine.flow.intake import Door
from engine.store.unit import Connection

log = structlog.get_logger()
_PAUSE = 0.2
"""Seconds between two looks for an event that is waited for."""
_KEPT_OPEN = 8
_NOBODY = Caller("", may_submit=False)


class Connections:
    """A few connections to the store, kept open between requests. Safe to use from several threads."""

    def __init__(self, connect: Callable[[], Connection]) -> None:
        self._connect = connect
        self._idle: queue.LifoQueue[Connection] = queue.LifoQueue(_KEPT_OPEN)

    @contextmanager
    def one(self) -> Iterator[Connection]:
        """A connection for the time of the block; one that broke is not used again."""
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = self._connect()
        try:
            yield connection
        except psycopg.OperationalError:
            connection.close()
            raise
        finally:
            self._give_back(connection)

    def _give_back(self, connection: Connection) -> None:
        if connection.closed or connection.broken:
            return
        try:
            self._idle.put_nowait(connection)
        except queue.Full:
            connection.close()

    def close(self) -> None:
        """Close those that are kept open."""
        while not self._idle.empty():
            self._idle.get_nowait().close()


class Site:
    """All endpoints over one store."""

    def __init__(self, connect: Callable[[], Connection], doors: Mapping[str, Door], config: HttpConfig) -> None:
        self._doors = doors
        self._config = config
        self._tokens = Tokens(config.tokens)
        self.connections = Connections(connect)
        # Intents whose ids hold a slash have an address too.
        routes = [
            Route(one.path.replace("{key}", "{key:path}"), self._answering(one), methods=[one.method], name=one.name)
            for one in ENDPOINTS
        ]
        document = msgspec.json.encode(openapi.document())
        routes.append(Route("/openapi.json", lambda _request: Response(document, media_type="application/json")))
        handlers: dict[Any, Any] = {HTTPException: _no_such_address, Exception: _defect}
        self.application = Starlette(routes=routes, exception_handlers=handlers)
        self.application.router.redirect_slashes = False

    def _answering(self, endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                status, value = await self._asked(endpoint, request)
            except Refusal as refusal:
                return _refused(refusal.problem)
            except psycopg.OperationalError as error:
                log.warning("a request failed while the store was away", error=str(error).strip())
                cause, further = "its server does not answer", "try again in a moment; /health says when it is back"
                return _refused(problem(503, "the store", cause, further), {"Retry-After": "1"})
            return Response(msgspec.json.encode(value), status, media_type="application/json")

        return answer

    async def _asked(self, endpoint: Endpoint, request: Request) -> tuple[int, object]:
        caller = _NOBODY if endpoint.is_open else self._tokens.caller(request.headers.get("authorization"))
        if endpoint.body is not None and not caller.may_submit:
            raise Refusal(403, f"token {caller.name}", "it may read only", 'use a token with may = "submit"')
        path = _converted(dict(request.path_params), endpoint.path_shape, 404, "the address")
        query = _converted(dict(request.query_params), endpoint.query_shape, 400, "the parameters")
        body = await self._body(request) if endpoint.body is not None else b""
        until = time.monotonic() + (query.wait if isinstance(query, shapes.EventQuery) else 0)

        def ask() -> tuple[int, object]:
            # Connections that were kept open break with the store; reading twice, or submitting twice, does no harm.
            for attempt in (1, 2):
                try:
                    with self.connections.one() as connection:
                        return endpoint.handle(Asked(connection, self._doors, caller, path, query, body))
                except psycopg.OperationalError:
                    if attempt == 2:
                        raise
                    self.connections.close()
            raise AssertionError("unreachable")

        while True:
            status, value = await run_in_threadpool(ask)
            waits = isinstance(value, shapes.EventPage) and not value.events and time.monotonic() < until
            if not waits or await request.is_disconnected():
                return status, value
            await asyncio.sleep(_PAUSE)

    async def _body(self, request: Request) -> bytes:
        """The whole body, read no further than allowed."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            cause = f"its type is {kind or 'not given'}"
            raise Refusal(415, "the body", cause, "send it with `Content-Type: application/json`")
        most = self._config.max_body
        parts: list[bytes] = []
        size = 0
        try:
            async for part in request.stream():
                size += len(part)
                if size > most:
                    raise Refusal(413, "the body", f"it is larger than {most} bytes", "send fewer intents at once")
                parts.append(part)
        except ClientDisconnect:
            raise Refusal(400, "the body", "it broke off", "send it again: the same intent changes nothing") from None
        return b"".join(parts)


def _converted(values: dict[str, str], shape: type[msgspec.Struct], status: int, thing: str) -> Any:
    try:
        return msgspec.convert(values, shape, strict=False)
    except msgspec.ValidationError as error:
        raise Refusal(status, thing, str(error), "GET /openapi.json says what is allowed") from None


def _refused(refusal: Problem, headers: Mapping[str, str] | None = None) -> Response:
    further = dict(headers or {})
    if refusal.status == 401:
        further["WWW-Authenticate"] = "Bearer"
    return Response(msgspec.json.encode(refusal), refusal.status, further, media_type=MEDIA_TYPE)


async def _no_such_address(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    headers = error.headers if isinstance(error, HTTPException) else None
    thing = f"{request.method} {request.url.path}"
    cause = "the address is known, the method is not" if status == 405 else "there is no such address"
    return _refused(problem(status, thing, cause, "GET /openapi.json lists what there is"), headers)


async def _defect(request: Request, error: Exception) -> Response:
    log.error("a request failed by a defect", path=request.url.path, error=f"{type(error).__name__}: {error}")
    thing = f"{request.method} {request.url.path}"
    return _refused(problem(500, thing, "arsync has a defect here", "the log says more; please report it"))
