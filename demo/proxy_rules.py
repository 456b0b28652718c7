"""The rules of `demo.holding_proxy`: which request is held, and which answer is dropped, each of them once."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

MOST_SECONDS_HELD = 60.0


@dataclass(frozen=True, slots=True)
class Call:
    """A JSON-RPC request; `context` is its last parameter, which Tryton's clients always send."""

    method: str
    params: list[Any]
    context: dict[str, Any]


Match = Callable[[Call], bool]


@dataclass(slots=True)
class Hold:
    """One request that waits at the proxy: `arrived` is set while it does, `release` lets it go on."""

    match: Match
    arrived: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def release(self) -> None:
        """Let the request go on; one that comes later is not held at all."""
        self.released.set()


@dataclass(slots=True)
class Drop:
    """One answer that never comes back: `dropped` is set once Tryton has carried the request out."""

    match: Match
    taken: bool = False
    dropped: threading.Event = field(default_factory=threading.Event)


Rule = TypeVar("Rule", Hold, Drop)


class Rules:
    """All rules of one proxy; its connections ask from threads of their own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holds: list[Hold] = []
        self._drops: list[Drop] = []
        self.listener: Callable[[Call, bool], None] | None = None
        """Hears of every request as it arrives, and once more when its answer is there and not yet passed on."""

    def add(self, rule: Rule) -> Rule:
        """From now on this rule holds."""
        with self._lock:
            if isinstance(rule, Hold):
                self._holds.append(rule)
            else:
                self._drops.append(rule)
        return rule

    def release_all(self) -> None:
        """Let go of whatever is held."""
        for hold in self._holds:
            hold.release()

    def wait_if_held(self, call: Call) -> None:
        """Return when the request may go on."""
        with self._lock:
            free = (h for h in self._holds if not h.arrived.is_set() and not h.released.is_set())
            hold = next((h for h in free if h.match(call)), None)
            if hold is not None:
                hold.arrived.set()
        if hold is not None:
            hold.released.wait(MOST_SECONDS_HELD)

    def take_drop(self, call: Call) -> Drop | None:
        """The rule by which the answer to this request is dropped, if there is one."""
        with self._lock:
            drop = next((d for d in self._drops if not d.taken and d.match(call)), None)
            if drop is not None:
                drop.taken = True
            return drop


def understood(body: bytes) -> Call | None:
    """The call, or None when this is no JSON-RPC: then no rule can mean it."""
    try:
        raw = json.loads(body)
        method, params = raw["method"], raw["params"]
    except (ValueError, KeyError, TypeError):
        return None
    context = params[-1] if isinstance(params, list) and params and isinstance(params[-1], dict) else {}
    return Call(str(method), list(params), context)
