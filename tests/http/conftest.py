"""A real server on a free port, over the session's store, with an ERP in memory behind it."""

import datetime as dt
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from engine.app.config import HttpConfig, TokenConfig
from engine.app.http.serving import served
from engine.app.wiring import now
from engine.flow.intake import Door
from engine.rules.policy import Policy
from engine.store import outbound
from engine.store.unit import Connection
from tests.flow.test_dispatcher import House

TOKEN = "the-token-of-cash-application"
READER = "the-token-of-a-dashboard"


class Site:
    """What a test talks to."""

    def __init__(self, house: House, url: str) -> None:
        self.house = house
        self.system = house.system
        self.url = url
        self.client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=40)

    def get(self, path: str, **query: Any) -> httpx.Response:
        return self.client.get(f"/v1/systems/{self.system}/{path}", params=query or None)

    def intent(self, name: str, key: str, amount: str = "100.00", **changes: Any) -> dict[str, Any]:
        """A payment of one invoice, on what the site says of it now."""
        basis = self.get(f"invoices/{key}").json()["content_version"]
        allocation = {"invoice": key, "amount": amount, "basis": basis}
        return {"kind": "apply_payment", "id": name, "system": self.system, "customer": "7", "currency": "EUR",
                "amount": amount, "date": "2026-11-23", "allocations": [allocation], **changes}  # fmt: skip

    def submit(self, intent: Any, path: str = "/v1/intents") -> httpx.Response:
        return self.client.post(path, json=intent)

    def events(self, **query: Any) -> Any:
        return self.get("events", **query).json()


@pytest.fixture
def site(connection: Connection, store_dsn: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    def connect() -> Connection:
        return psycopg.connect(store_dsn, autocommit=True)

    opened: list[Connection] = []

    def connect_house() -> Connection:
        opened.append(connect())
        return opened[-1]

    house = House(connection, connect_house, "http-" + re.sub("[^a-z0-9]+", "-", request.node.name))
    # HTTP's clock is the real one: what it has taken is due for this house.
    house.clock.now = now() + dt.timedelta(hours=1)
    with connection.cursor() as cursor:
        outbound.keep_log(cursor, house.system, wanted=True)
    tokens = {"cash-app": TokenConfig(TOKEN), "dashboard": TokenConfig(READER, "read")}
    config = HttpConfig(port=0, max_body=500_000, tokens=tokens)
    with served(connect, {house.system: Door(Policy(), {})}, config, tmp_path) as port:
        made = Site(house, f"http://127.0.0.1:{port}")
        yield made
        made.client.close()
    for one in opened:
        one.close()
