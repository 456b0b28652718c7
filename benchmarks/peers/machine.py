"""What the peers do with each event: drop what was seen, then lead the invoice through the same states as arsync.

It stands by itself, for the peers run in an environment without arsync. They see single rows and no transactions, and
assemble no documents: the state follows the invoice's own row alone. That is less than arsync does, in their favour.
"""

import msgspec

NEXT = {
    ("new", "posted"): "open",
    ("new", "paid"): "posted",
    ("open", "paid"): "posted",
    ("posted", "posted"): "open",
    ("open", "cancelled"): "cleared",
    ("posted", "cancelled"): "cleared",
}
"""(state, Tryton's state) to state."""


class Source(msgspec.Struct, gc=False):
    """Where a change comes from."""

    table: str
    lsn: int


class Invoice(msgspec.Struct, gc=False):
    """The columns of an invoice's row that its state follows from."""

    id: int
    state: str | None = None


class Event(msgspec.Struct, gc=False):
    """A row change; a transaction's border has no source."""

    op: str | None = None
    source: Source | None = None
    after: Invoice | None = None


decode = msgspec.json.Decoder(Event).decode


def step(held: list[object] | None, event: Event) -> list[object]:
    """[position, state, steps] of a row after an event, given what was held before."""
    source = event.source
    if source is None:
        return held or [0, "new", 0]
    if held is None:
        held = [0, "new", 0]
    position, state, steps = held
    if source.lsn <= int(position):  # type: ignore[call-overload]
        return held
    told = event.after.state if event.after is not None else None
    to = NEXT.get((str(state), told)) if source.table == "account_invoice" and told is not None else None
    return [source.lsn, to or state, int(steps) + (to is not None)]  # type: ignore[call-overload]
