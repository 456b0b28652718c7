"""What a connector offers besides its change stream: verbs to write and to read, and what it is able to do.

The dispatcher in `engine.flow` writes through it, `engine.flow.reconciling` reads. The dispatcher never holds a
database transaction during a call, gives each call a deadline, and turns every answer into an outcome that is
journalled before anything follows from it.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Protocol

import msgspec

from engine.model.commands import Found, Outcome, Write
from engine.model.documents import DocumentKind
from engine.ports.finding import Finding

Guard = Mapping[str, str]
"""The ERP's record names and the version tokens that they must still have."""


class Capabilities(msgspec.Struct, frozen=True):
    """What the engine may rely on.

    `in_doubt_for`: how long after a lost answer the ERP may still commit; only after it does a `find` that finds
    nothing prove absence. `settle_time`: how long after an accepted answer the echo may take. `deadline`: how long
    one `send` may take; the lease is more than twice that. `concurrency`: how many sends may run side by side.
    """

    compare_and_set: bool
    find_by_key: bool
    in_doubt_for: timedelta
    settle_time: timedelta
    deadline: timedelta
    concurrency: int = 1


class Reading(msgspec.Struct, frozen=True):
    """What the ERP's API says of one document now. It carries no position, so it is compared and never kept.

    `facts` has, of an invoice, some of: number, customer, currency, total_amount, open_amount, erp_state; of a
    customer: active, and for each company `receivable/<company>` and `credit_limit/<company>`.
    """

    key: str
    facts: Mapping[str, object]


class Target(Protocol):
    """One ERP instance to write to."""

    @property
    def capabilities(self) -> Capabilities: ...

    def send(self, key: str, write: Write, guard: Guard) -> Outcome:
        """Write once, carrying `key`. Never raises for what the ERP or the network does: that is an outcome.

        `unknown` whenever the request may have been carried out and no answer said so. A guard that no longer
        holds is `stale` and nothing was written.
        """

    def find(self, key: str, write: Write) -> Found | None:
        """Look the key up in the ERP; a write that has no place for a key is known by its value.

        Raises `Unavailable` when it cannot be looked up now.
        """

    def resume(self, key: str, write: Write, found: Found) -> Outcome:
        """Bring a write of several steps that was found incomplete to its end; the steps done are not done again."""

    def read(
        self, kind: DocumentKind, *, after: str | None = None, keys: Sequence[str] | None = None
    ) -> list[Reading]:
        """A page of documents of one kind, in an order of the ERP's own that goes on `after` a key; the last page is
        empty. With `keys`, just these. Raises `Unavailable` when they cannot be read now.
        """

    def check(self) -> list[Finding]:
        """Look at all that writing needs of the set-up. Never raises; what cannot be looked at is a finding too."""

    def close(self) -> None: ...
