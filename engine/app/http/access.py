"""Who may ask: bearer tokens with names, compared in a time that tells nothing."""

import hashlib
import hmac
from collections.abc import Mapping

import msgspec

from engine.app.config import TokenConfig
from engine.app.http.problems import Refusal


class Caller(msgspec.Struct, frozen=True):
    """Who asks, by the name of the token."""

    name: str
    may_submit: bool


class Tokens:
    """The tokens of the configuration, kept as digests only."""

    def __init__(self, tokens: Mapping[str, TokenConfig]) -> None:
        self._known = [
            (_digest(one.token.encode()), Caller(name, may_submit=one.may == "submit"))
            for name, one in sorted(tokens.items())
        ]

    def caller(self, header: str | None) -> Caller:
        """Whose token an `Authorization` header holds.

        Raises:
            Refusal: there is none, or it is unknown.
        """
        scheme, _, given = (header or "").partition(" ")
        asked = _digest(given.strip().encode("utf-8", "surrogateescape"))
        found: Caller | None = None
        for known, caller in self._known:
            # All are compared, whatever the first ones said.
            if hmac.compare_digest(known, asked):
                found = caller
        if scheme.lower() != "bearer" or found is None:
            cause = "the header holds no token that is known here" if header else "the header is missing"
            raise Refusal(
                401, "Authorization", cause, "send `Authorization: Bearer TOKEN` with a token of [http.tokens]"
            )
        return found


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
