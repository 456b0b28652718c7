"""What must meet at one moment in the day: requests of arsync that are held, and answers that are lost.

`demo.day` asks for it by invoice. It promises to tell what was to be staged and did not come about, for then the
day has not shown what it claims.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from demo.holding_proxy import Call, Drop, Hold, HoldingProxy, Match

PAY = "wizard.account.invoice.pay.execute"
VALIDATE = "model.account.statement.validate_statement"
LOOK_SECONDS = 0.02

Scene = tuple[Hold, Callable[[], None]]
"""A request that is held, and what happens before it is let go."""


@dataclass(slots=True)
class Stage:
    """`patience` is how many seconds it waits for a request; `check` raises when no request can come any more."""

    proxy: HoldingProxy
    patience: float
    check: Callable[[], None]
    _late: int = 0
    _drops: list[Drop] = field(default_factory=list)

    def hold(self, invoice: int, *, last: bool = False) -> Hold:
        """Hold the request by which arsync pays this invoice; `last` is the second step of a part payment."""
        return self.proxy.hold(writes(invoice, last=last))

    def drop_answer(self, invoice: int) -> None:
        """Lose the answer to the request by which arsync pays this invoice."""
        self._drops.append(self.proxy.drop_answer(writes(invoice)))

    def play(self, scenes: Sequence[Scene]) -> None:
        """Play each scene as its request arrives; one whose request does not come is played all the same."""
        waiting = list(scenes)
        since = time.monotonic()
        while waiting:
            scene = next((scene for scene in waiting if scene[0].arrived.is_set()), None)
            if scene is None and time.monotonic() - since < self.patience:
                self.check()
                time.sleep(LOOK_SECONDS)
                continue
            if scene is None:
                self._late += 1
                scene = waiting[0]
            waiting.remove(scene)
            hold, act = scene
            try:
                act()
            finally:
                hold.release()
            since = time.monotonic()

    def missed(self) -> list[str]:
        """What was to be staged and did not come about, at the end of the day."""
        lost = sum(not drop.dropped.is_set() for drop in self._drops)
        return ["a request to be held"] * self._late + ["an answer to be lost"] * lost


def writes(invoice: int, *, last: bool = False) -> Match:
    """Requests by which arsync pays this invoice."""
    steps = {"pay"} if last else {"choice", "pay"}

    def match(call: Call) -> bool:
        if call.method == PAY:
            return call.context.get("active_id") == invoice and bool(steps & set(call.params[2:3]))
        guard = call.context.get("_timestamp") or {}
        return call.method == VALIDATE and f"account.invoice,{invoice}" in guard

    return match
