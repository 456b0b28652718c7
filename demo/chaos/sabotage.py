"""Runs arsync with one of its safeguards taken out, to see that a chaos finds the harm.

    python -m demo.chaos.sabotage find|fence|guard ARGUMENTS OF ARSYNC

`demo.engine` starts the daemon so when the demo was asked for it. Nothing of this is reachable from arsync itself.
"""

import sys
from collections.abc import Mapping
from typing import Any


def without_find() -> None:
    """A key is never found, so what was sent before is always sent again."""
    from connectors.tryton.target import TrytonTarget

    def found(_target: object, _key: str, _write: object) -> None:
        return None

    TrytonTarget.find = found  # type: ignore[method-assign,assignment]


def without_fence() -> None:
    """No lease is committed before a write leaves: a worker that dies on the way leaves no trace of it."""
    from engine.flow.dispatcher import Dispatcher, Errand
    from engine.model.events import OutcomeReceived

    claimed, keep = Dispatcher._claim, Dispatcher._keep
    early: dict[str, bool] = {}

    def claim(self: Any, *, sending: bool = True) -> Errand | None:
        connection = self._store()
        with connection.transaction(force_rollback=True):
            errand = claimed(self, sending=sending)
        if errand is None or errand.command.state != "sent":
            return claimed(self, sending=sending)
        early[errand.command.key] = sending
        return errand

    def kept(self: Any, command: Any, event: Any) -> None:
        if isinstance(event, OutcomeReceived) and command.key in early:
            # Only now it is written down that something was sent.
            errand = claimed(self, sending=early.pop(command.key))
            self._gate._trial = False  # this send has had its answer
            if errand is None or errand.command.key != command.key:
                return
            event = OutcomeReceived(command.key, errand.command.fence, event.outcome, event.at)
        keep(self, command, event)

    Dispatcher._claim = claim  # type: ignore[method-assign]
    Dispatcher._keep = kept  # type: ignore[method-assign]


def without_guard() -> None:
    """Nothing is compared with what was decided on: not before the write, not by Tryton, not when Tryton asks."""
    from connectors.tryton import looking, paying
    from connectors.tryton.rpc import Session

    exchange = Session._exchange

    def unguarded(self: Any, method: str, params: list[Any]) -> Any:
        if params and isinstance(params[-1], Mapping):
            params = [*params[:-1], {name: value for name, value in params[-1].items() if name != "_timestamp"}]
        return exchange(self, method, params)

    looking._moved = lambda *_: None
    paying._asks_what_was_decided = lambda *_: True
    Session._exchange = unguarded  # type: ignore[method-assign]


SAFEGUARDS = {"find": without_find, "fence": without_fence, "guard": without_guard}


def main() -> None:
    """Take the safeguard out, then be arsync."""
    from engine.app.cli import main as arsync

    SAFEGUARDS[sys.argv.pop(1)]()
    arsync()


if __name__ == "__main__":
    main()
