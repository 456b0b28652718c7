"""How a refusal looks: one JSON object that names the thing, the cause and the next step (RFC 9457)."""

from collections.abc import Mapping

import msgspec

TITLES: Mapping[int, str] = {
    400: "The request cannot be read",
    401: "No token that is known here",
    403: "This token may not do that",
    404: "There is no such thing",
    405: "This address does not take that method",
    409: "This id belongs to another intent",
    410: "What was asked for is no longer kept",
    413: "The body is too large",
    415: "The body must be JSON",
    422: "The intent cannot be taken",
    500: "A defect of arsync",
    503: "The store does not answer now",
}
MEDIA_TYPE = "application/problem+json"


class Problem(msgspec.Struct, frozen=True):
    """What was refused. `detail` says it in one sentence; `thing`, `cause` and `next_step` are its parts."""

    status: int
    title: str
    detail: str
    thing: str
    cause: str
    next_step: str
    type: str = "about:blank"


class Refusal(Exception):
    """Raised by an endpoint; answered as a problem."""

    def __init__(self, status: int, thing: str, cause: str, next_step: str) -> None:
        super().__init__(f"{thing}: {cause}; {next_step}")
        self.problem = problem(status, thing, cause, next_step)


def problem(status: int, thing: str, cause: str, next_step: str) -> Problem:
    """A problem out of its parts."""
    title = TITLES.get(status, "The request was refused")
    return Problem(status, title, f"{thing}: {cause}; {next_step}", thing, cause, next_step)
