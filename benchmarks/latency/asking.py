"""The AR side of the benchmark: asks for credit limits over HTTP while the ERP is at work.

One kind of intent is about a customer whom arsync knows, so that it can be sent at once. The other is about one who
is not there yet: it waits, and only then the ERP writes the customer.
"""

import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import psycopg

from benchmarks.latency.target import NAME
from benchmarks.live.columns import statement
from benchmarks.live.erp import LiveErp
from benchmarks.workload.tables import customer

TOKEN_VARIABLE = "ARSYNC_BENCH_TOKEN"  # noqa: S105 - a variable's name
TOKEN = "only-for-a-benchmark-4711"  # noqa: S105 - of a server that lives as long as a benchmark
SECTIONS = f"""
[http]
port = 0
[http.tokens.{NAME}]
token_env = "{TOKEN_VARIABLE}"
"""
_KNOWN = 1_000
_NEW_FROM, _NEW_LIMIT = 1_000_001, 1_000


class Asked(msgspec.Struct, frozen=True):
    """An intent: when it was submitted, in seconds since 1970; for one that waited, the ERP's transaction that told
    of its customer."""

    id: str
    at: float
    tx: str | None = None


class AskingFailed(RuntimeError):
    """An intent was not taken as it should have been."""


class Asking:
    """Asks `per_second` times a second, both kinds in turn, for the time of a block."""

    def __init__(self, erp: LiveErp, url: str, per_second: float) -> None:
        self._erp, self._url, self._pause = erp, url, 1 / per_second
        self.asked: list[Asked] = []
        self._numbers = self._kinds()
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to ask."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Ask no more. AskingFailed when an intent was not taken."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self._failure is not None:
            raise AskingFailed(str(self._failure)) from self._failure

    def _kinds(self) -> Iterator[tuple[int, bool]]:
        """(customer, whether it is a new one); the customers with the fewest invoices come first."""
        for place in range(_KNOWN):
            yield _KNOWN - place, False
            yield _NEW_FROM + place, True

    def _run(self) -> None:
        due = time.monotonic()
        try:
            headers = {"Authorization": f"Bearer {TOKEN}"}
            with (
                httpx.Client(base_url=self._url, headers=headers, timeout=30) as client,
                psycopg.connect(self._erp.dsn, autocommit=True) as erp,
            ):
                while not self._stop.is_set() and (following := next(self._numbers, None)) is not None:
                    self.asked.append(self._ask(client, erp, *following))
                    due = max(due + self._pause, time.monotonic())
                    self._stop.wait(due - time.monotonic())
        except Exception as error:  # noqa: BLE001 - it is raised where the block ends
            self._failure = error

    def _ask(self, client: httpx.Client, erp: psycopg.Connection[Any], party: int, new: bool) -> Asked:  # noqa: FBT001
        limit = _NEW_LIMIT if new else 1_000 * (party % 50 + 1)
        name = f"{'new' if new else 'known'}-{party}"
        body = {"kind": "set_credit_limit", "id": name, "system": self._erp.name, "customer": str(party),
                "company": "1", "currency": "EUR", "limit": str(limit + 1), "replaces": str(limit)}  # fmt: skip
        at = time.time()
        answer = client.post("/v1/intents", json=body)
        state = answer.json().get("state") if answer.status_code == 201 else None
        if state != ("waiting" if new else "planned"):
            raise AskingFailed(f"intent {name} was answered with {answer.status_code}: {answer.text[:500]}")
        return Asked(name, at, _write_customer(erp, party) if new else None)


def _write_customer(erp: psycopg.Connection[Any], party: int) -> str:
    with erp.transaction():
        for table, row in customer(party, _NEW_LIMIT):
            erp.execute(*statement((table, "c", None, row)))
        found = erp.execute("SELECT pg_current_xact_id()::text").fetchone()
    return str(found[0]) if found else ""
