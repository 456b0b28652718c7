"""A connector for the time of a benchmark: Tryton's own mapping, and a target that is the ERP's database itself.

Between the engine and a Tryton stands the Tryton, which takes a second for a payment: here a write is one UPDATE, and
the moment at which the engine handed it over is kept. `installed` makes it known to arsync as an entry point.
"""

import datetime as dt
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from connectors.tryton.mapping import TrytonMapping
from engine.model.commands import Found, Outcome, OutcomeKind, SetCreditLimit, Write
from engine.model.documents import DocumentKind
from engine.ports.finding import Finding
from engine.ports.target import Capabilities, Guard, Reading

NAME = "bench"
_SET = "UPDATE party_party_credit_limit_amount SET credit_limit_amount = %s WHERE party = %s"


class Sent(msgspec.Struct, frozen=True):
    """The command `key` was handed to the target at `at`, in seconds since 1970: its first byte leaves now."""

    key: str
    at: float


class DirectTarget:
    """Writes credit limits into the ERP's database; refuses everything else."""

    def __init__(self, dsn: str, file: str) -> None:
        self._dsn = dsn
        self._connection: psycopg.Connection[Any] | None = None
        self._file = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    @property
    def capabilities(self) -> Capabilities:
        """As Tryton's: one send at a time."""
        return Capabilities(
            compare_and_set=True, find_by_key=True, in_doubt_for=dt.timedelta(seconds=60),
            settle_time=dt.timedelta(seconds=120), deadline=dt.timedelta(seconds=30), concurrency=1,
        )  # fmt: skip

    def send(self, key: str, write: Write, guard: Guard) -> Outcome:  # noqa: ARG002 - the port's signature
        """Write it, and note when it came."""
        os.write(self._file, msgspec.json.encode(Sent(key, time.time())) + b"\n")
        if not isinstance(write, SetCreditLimit):
            return Outcome(OutcomeKind.REJECTED, "this target sets credit limits only")
        if self._connection is None:
            self._connection = psycopg.connect(self._dsn, autocommit=True)
        self._connection.execute(_SET, (write.limit, int(write.customer)))
        return Outcome(OutcomeKind.ACCEPTED, "", key)

    def find(self, key: str, write: Write) -> Found | None:  # noqa: ARG002 - the port's signature
        """Nothing is ever in doubt here."""
        return None

    def resume(self, key: str, write: Write, found: Found) -> Outcome:  # noqa: ARG002 - the port's signature
        """Every write is one step."""
        return Outcome(OutcomeKind.REJECTED, "there is nothing to resume")

    def read(
        self,
        kind: DocumentKind,  # noqa: ARG002
        *,
        after: str | None = None,  # noqa: ARG002
        keys: Sequence[str] | None = None,  # noqa: ARG002
    ) -> list[Reading]:
        """Nobody reconciles here."""
        return []

    def check(self) -> list[Finding]:
        """All that is needed is the database, which is there."""
        return []

    def close(self) -> None:
        """Drop the connection."""
        if self._connection is not None:
            self._connection.close()


class _Connector:
    mapping = TrytonMapping()
    example = ""

    def open_target(self, options: Mapping[str, Any]) -> DirectTarget:
        """`options` are `dsn` and `file`."""
        return DirectTarget(options["dsn"], options["file"])


CONNECTOR = _Connector()


def installed(folder: Path) -> dict[str, str]:
    """Make the connector known: a distribution in `folder`; gives the environment in which arsync finds it."""
    place = folder / "arsync_bench-0.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text("Metadata-Version: 2.1\nName: arsync-bench\nVersion: 0\n", encoding="utf-8")
    (place / "entry_points.txt").write_text(f"[arsync.connectors]\n{NAME} = {__name__}:CONNECTOR\n", encoding="utf-8")
    return {"PYTHONPATH": str(folder)}
