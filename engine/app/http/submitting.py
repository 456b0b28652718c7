"""Takes intents that come over HTTP: one, or several in their order."""

from collections.abc import Mapping

import msgspec

from engine.app.http import shapes
from engine.app.http.access import Caller
from engine.app.http.problems import Refusal
from engine.app.wiring import now
from engine.flow.intake import Door, NotTaken, Taken, submit_all
from engine.store.unit import Connection

MOST = 500
"""Intents in one request."""


def submit_one(
    connection: Connection, doors: Mapping[str, Door], body: bytes, caller: Caller
) -> tuple[int, shapes.Taken]:
    """Take the intent that a body holds: 201 when it is new, 200 when the same one was known.

    Raises:
        Refusal: it is none, cannot be taken, or its id belongs to another one.
    """
    (result,) = submit_all(connection, doors, [body], now, _who(caller))
    if isinstance(result, NotTaken):
        raise _not_taken(result)
    if result.trouble is not None:
        cause = "it was submitted before with other content"
        raise Refusal(409, f"intent {result.id}", cause, "give the new one an id of its own")
    return (200 if result.known else 201), _taken(result)


def submit_batch(
    connection: Connection, doors: Mapping[str, Door], body: bytes, caller: Caller
) -> tuple[int, shapes.BatchResults]:
    """Take the intents of a list; what cannot be taken is named in its place.

    Raises:
        Refusal: the body is no list, or too long a one.
    """
    try:
        raws = [bytes(one) for one in msgspec.json.decode(body, type=list[msgspec.Raw])]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(400, "the body", str(error), "send a JSON list of intents") from None
    if not 0 < len(raws) <= MOST:
        raise Refusal(400, "the body", f"it holds {len(raws)} intents", f"send 1 to {MOST} at once")
    results = submit_all(connection, doors, raws, now, _who(caller))
    return 200, shapes.BatchResults([_result(one) for one in results])


def _result(result: Taken | NotTaken) -> shapes.BatchResult:
    if isinstance(result, NotTaken):
        refusal = _not_taken(result)
        return shapes.BatchResult(refusal.problem.status, None, refusal.problem.detail)
    if result.trouble is not None:
        return shapes.BatchResult(409, None, result.trouble)
    return shapes.BatchResult(200 if result.known else 201, _taken(result), None)


def _taken(result: Taken) -> shapes.Taken:
    return shapes.Taken(result.system, result.id, result.state, result.reason, result.known)


def _not_taken(result: NotTaken) -> Refusal:
    thing = f"intent {result.id}" if result.id else "the intent"
    cause = result.reason.removeprefix(f"{thing}: ").removeprefix(f"{thing} ")
    cause = cause.removesuffix("; `arsync intents schema` prints what an intent must look like")
    code = 422 if result.understood else 400
    return Refusal(code, thing, cause, "GET /openapi.json says what an intent must look like")


def _who(caller: Caller) -> str:
    return f"token {caller.name}"
