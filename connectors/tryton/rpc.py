"""JSON-RPC with a Tryton server: one session, its errors, and the values on the wire.

Called by the write-back of this connector and by the demo's company and accountant. It promises that the
class of an error tells what has happened on the server: `Unreachable`, `LoginRefused`, `AccessRefused` and
`Busy` mean that nothing was done, an error that Tryton itself worded means that its transaction was rolled
back, and `NoAnswer` means that nobody here knows. No password and no session token occurs in a message.
"""

import base64
import datetime as dt
import itertools
import json
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

UNKNOWN_AFTER = frozenset({502, 504})
"""HTTP answers of something between us and the server: it may have handed the request on, or not."""


class RpcError(Exception):
    """A call to Tryton did not succeed; the subclass says what that means for its effect."""


class UserError(RpcError):
    """Tryton refused by a business rule, an access right or a field's domain; rolled back."""

    def __init__(self, message: str, description: str = "") -> None:
        super().__init__(f"{message} {description}".strip())
        self.message = message
        self.description = description


class WarningRaised(RpcError):
    """Tryton wants a confirmation first; rolled back. Confirm with `Session.acknowledge(name)`, then repeat."""

    def __init__(self, name: str, message: str, description: str = "") -> None:
        super().__init__(f"{name}: {message} {description}".strip())
        self.name = name
        self.message = message
        self.description = description


class Concurrency(RpcError):
    """A record is no longer the one whose `_timestamp` stood in the context; rolled back."""


class LoginRefused(RpcError):
    """User, password or database is not accepted; nothing was done."""


class AccessRefused(RpcError):
    """The server does not expose this method to remote callers (HTTP 403); nothing was done."""


class Busy(RpcError):
    """The server could not take its locks or limits its callers (HTTP 503, 429); nothing was done, try later."""


class InternalError(RpcError):
    """The server failed in its own code, or did not understand the request. Look before you repeat."""


class NoAnswer(RpcError):
    """The request may have left and no usable answer came back: the effect is unknown."""


class Unreachable(RpcError):
    """No connection was made, so nothing was done."""


def encode(value: Any) -> Any:
    """A Python value as Tryton's tagged JSON. Aware times become UTC; a type without a tag is a TypeError."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Decimal():
            return {"__class__": "Decimal", "decimal": str(value)}
        case dt.datetime():
            moment = value.astimezone(dt.UTC) if value.tzinfo else value
            names = ("year", "month", "day", "hour", "minute", "second", "microsecond")
            return {"__class__": "datetime"} | {name: getattr(moment, name) for name in names}
        case dt.date():
            return {"__class__": "date", "year": value.year, "month": value.month, "day": value.day}
        case dt.timedelta():
            return {"__class__": "timedelta", "seconds": value.total_seconds()}
        case bytes() | bytearray():
            return {"__class__": "bytes", "base64": base64.b64encode(value).decode("ascii")}
        case Mapping():
            return {str(key): encode(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [encode(item) for item in value]
    raise TypeError(f"Tryton's JSON has no form for {type(value).__name__}; convert it first")


def decode(value: dict[str, Any]) -> Any:
    """One JSON object as a Python value (`object_hook`); server times are UTC and come back aware."""
    match value.get("__class__"):
        case "Decimal":
            return Decimal(value["decimal"])
        case "date":
            return dt.date(value["year"], value["month"], value["day"])
        case "datetime":
            day = (value["year"], value["month"], value["day"])
            clock = (value["hour"], value["minute"], value["second"], value["microsecond"])
            return dt.datetime(*day, *clock, tzinfo=dt.UTC)
        case "timedelta":
            return dt.timedelta(seconds=value["seconds"])
        case "bytes":
            return base64.b64decode(value["base64"])
    return value


def _worded(method: str, error: Sequence[Any]) -> RpcError:
    """The error inside an HTTP 200 envelope."""
    match error:
        case ["UserError", [str(message), description, *_]]:
            return UserError(message, str(description or ""))
        case ["UserWarning", [str(name), str(message), description, *_]]:
            return WarningRaised(name, message, str(description or ""))
        case ["ConcurrencyException", *_]:
            return Concurrency(f"{method}: a record was changed by somebody else since it was read")
        case ["LoginException", [_, str(message), *_]]:
            return LoginRefused(f"Tryton asks for more than a password: {message}")
    text = str(error[0])[:300] if error else "no text"
    return InternalError(f"{method}: the server failed inside ({text}); its log has the trace")


def _refused(method: str, status: int) -> RpcError:
    """The error of an HTTP status other than 200 and 401."""
    if status == 403:
        return AccessRefused(f"{method} is not open to remote calls on this server (HTTP 403)")
    if status in {429, 503}:
        return Busy(f"{method}: the server is busy (HTTP {status}); nothing was done, repeat after a pause")
    if status in UNKNOWN_AFTER:
        return NoAnswer(f"{method}: no answer through the gateway (HTTP {status}); the effect is unknown")
    return InternalError(f"{method}: the server answered HTTP {status}")


class Wizard:
    """One running wizard on the server; made by `Session.wizard`."""

    def __init__(self, session: "Session", name: str, number: int, context: Mapping[str, Any]) -> None:
        self._session, self._name, self._number, self._context = session, name, number, context

    def execute(
        self,
        state: str,
        forms: Mapping[str, Any] | None = None,
        extra_context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Press the button that leads to `state`; `forms` are the filled views by state name.

        Gives what the wizard wants next: `view` (state, defaults), `actions`, or nothing when it is done.
        """
        context = {**self._context, **(extra_context or {})}
        answer = self._session.call(f"wizard.{self._name}.execute", self._number, forms or {}, state, context=context)
        return dict(answer or {})


class Session:
    """A user's session with one database; logs in at the first call. One thread at a time.

    `timeout` is seconds for one answer; a post of hundreds of documents takes longer than a minute.
    """

    def __init__(
        self,
        url: str,
        database: str,
        user: str,
        password: str,
        *,
        timeout: float = 60.0,
        verify: bool | ssl.SSLContext = True,
    ) -> None:
        self.url, self.database, self.user = url.rstrip("/"), database, user
        self._password = password
        self._timeout = timeout
        self._until: float | None = None
        self._http = httpx.Client(timeout=timeout, verify=verify, trust_env=False)
        self._numbers = itertools.count(1)
        self._authorization = ""
        self._preferences: dict[str, Any] = {}
        self.user_id = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def groups(self) -> frozenset[int]:
        """The ids of the groups that the user is in, as of the last login."""
        return frozenset(self._preferences.get("groups") or ())

    def close(self) -> None:
        """Drop the connection. The server forgets the session by its own time limit."""
        self._http.close()

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Bound all calls of a block together; one that would begin too late is `Unreachable`."""
        self._until = time.monotonic() + seconds
        try:
            yield
        finally:
            self._until = None

    def login(self) -> None:
        """Open a new session and read the user's preferences (company, groups, language)."""
        self._authorization = ""
        try:
            answer = self._exchange("common.db.login", [self.user, {"password": self._password}, "en"])
            self.user_id = int(answer[0])
            token = f"{self.user}:{self.user_id}:{answer[1]}"
            self._authorization = "Session " + base64.b64encode(token.encode()).decode("ascii")
            self._preferences = dict(self._exchange("model.res.user.get_preferences", [True, {}]))
        except _SessionRefused:
            self._authorization = ""
            raise LoginRefused(
                f"{self.url}/{self.database} refuses the user {self.user!r}; check name and password"
            ) from None
        except NoAnswer as error:
            # A login alone changes nothing, whatever became of it.
            self._authorization = ""
            raise Unreachable(f"{self.url}/{self.database} did not answer the login: {error}") from None
        except RpcError:
            self._authorization = ""
            raise

    def call(self, method: str, *params: Any, context: Mapping[str, Any] | None = None) -> Any:
        """Call `model.NAME.METHOD` or `wizard.NAME.METHOD`; the preferences are part of every context.

        Raises a subclass of `RpcError`. A session that has run out is opened again once: HTTP 401 comes
        before anything is done.
        """
        for last in (False, True):
            if not self._authorization:
                self.login()
            try:
                return self._exchange(method, [*params, {**self._preferences, **(context or {})}])
            except _SessionRefused:
                self._authorization = ""
                if last:
                    break
        raise LoginRefused(f"{method}: the server refuses a session that it has just opened for {self.user!r}")

    def acknowledge(self, name: str) -> None:
        """Answer yes to the warning of this name, for the next call only."""
        self.call("model.res.user.warning.skip", name, False)  # noqa: FBT003 - the wire's own argument

    @contextmanager
    def wizard(self, name: str, active_model: str, active_ids: Sequence[int]) -> Iterator[Wizard]:
        """Run a wizard on records; it is removed from the server at the end, whatever happened."""
        context: dict[str, Any] = {"active_model": active_model, "active_ids": list(active_ids)}
        context["active_id"] = active_ids[0] if active_ids else None
        number = int(self.call(f"wizard.{name}.create", context=context)[0])
        reachable = True
        try:
            yield Wizard(self, name, number, context)
        except (NoAnswer, Unreachable):
            reachable = False
            raise
        finally:
            if reachable:
                self._forget(name, number, context)

    def _forget(self, name: str, number: int, context: Mapping[str, Any]) -> None:
        # What the wizard did is committed: a failure to remove its memory must not look like a failure of it.
        try:
            self.call(f"wizard.{name}.delete", number, context=context)
        except RpcError:
            return

    def _exchange(self, method: str, params: list[Any]) -> Any:
        number = next(self._numbers)
        # Exactly these three keys: with any other Tryton answers errors as bare HTTP codes.
        body = json.dumps({"id": number, "method": method, "params": encode(params)})
        headers = {"Content-Type": "application/json"}
        if self._authorization:
            headers["Authorization"] = self._authorization
        address = f"{self.url}/{quote(self.database)}/rpc/"
        left = self._timeout if self._until is None else min(self._timeout, self._until - time.monotonic())
        if left <= 0:
            raise Unreachable(f"{method} was not sent: the time for all calls together is over")
        try:
            response = self._http.post(address, content=body, headers=headers, timeout=left)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise Unreachable(f"{self.url} cannot be reached ({type(error).__name__})") from None
        except httpx.HTTPError as error:
            raise NoAnswer(f"{method}: no answer from {self.url} ({type(error).__name__})") from None
        if response.status_code == 401:
            raise _SessionRefused
        if response.status_code == 404:
            raise LoginRefused(f"{self.url} knows no database {self.database!r} (HTTP 404)")
        if response.status_code != 200:
            raise _refused(method, response.status_code)
        return _opened(method, number, response)


def _opened(method: str, number: int, response: httpx.Response) -> Any:
    try:
        envelope = json.loads(response.text, object_hook=decode)
    except (ValueError, KeyError, TypeError):
        envelope = None
    if not isinstance(envelope, dict) or envelope.get("id") != number:
        raise NoAnswer(f"{method}: the answer is not Tryton's; what became of the request is unknown")
    if "error" in envelope:
        raise _worded(method, envelope["error"])
    return envelope.get("result")


class _SessionRefused(Exception):
    """HTTP 401; never leaves this module."""
