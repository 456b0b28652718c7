"""The AR side over HTTP, against a real server: what is taken, what is told, what is refused and with which words."""

import json
import threading
import time
from decimal import Decimal
from typing import Any

import httpx
import pytest

from engine.store.unit import Connection
from tests.http.conftest import READER, TOKEN, Site


def journalled(site: Site) -> list[Any]:
    rows = site.house.connection.execute(
        "SELECT body FROM journal WHERE stream = %s ORDER BY seq", (f"{site.system}/intents",)
    ).fetchall()
    return [json.loads(body)["input"] for (body,) in rows]


def test_an_intent_goes_its_whole_way(site: Site) -> None:
    site.house.invoice("1")
    end = site.get("invoices").json()["events_after"]
    first = site.submit(site.intent("rcpt-1", "1"))
    assert (first.status_code, first.json()["state"], first.json()["known"]) == (201, "planned", False)
    site.house.steps()
    site.house.erp.tell(site.house.connection, site.house.clock, "1")
    told = site.get("intents/rcpt-1").json()
    assert (told["state"], told["intent"]["amount"], told["conflicts"]) == ("done", "100.00", [])
    assert [(c["state"], c["answer"], c["reference"]) for c in told["commands"]] == [("confirmed", "accepted", "M1")]
    events = site.events(after=end)["events"]
    ends = [e["data"] for e in events if e["kind"] == "intent.moved"][-1]
    assert (ends["intent"], ends["destination"]) == ("rcpt-1", "done")
    assert site.get("invoices/1").json()["state"] == "posted"


def test_the_same_intent_again_changes_nothing(site: Site) -> None:
    site.house.invoice("1")
    intent = site.intent("rcpt-1", "1")
    assert site.submit(intent).status_code == 201
    end = site.events()["next"]
    again = site.submit(intent)
    assert (again.status_code, again.json()["known"], again.json()["state"]) == (200, True, "planned")
    assert site.events(after=end)["events"] == []
    assert len(journalled(site)) == 1


def test_other_content_under_a_known_id_is_refused(site: Site) -> None:
    site.house.invoice("1")
    intent = site.intent("rcpt-1", "1")
    site.submit(intent)
    other = site.submit({**intent, "reference": "another"})
    assert other.status_code == 409
    assert other.headers["content-type"] == "application/problem+json"
    assert other.json()["thing"] == "intent rcpt-1"
    assert other.json()["next_step"] == "give the new one an id of its own"
    assert len(journalled(site)) == 1


def test_the_journal_says_who_submitted(site: Site) -> None:
    site.house.invoice("1")
    site.submit(site.intent("rcpt-1", "1"))
    assert [one["by"] for one in journalled(site)] == ["token cash-app"]


def test_of_several_intents_a_bad_one_holds_up_no_other(site: Site) -> None:
    site.house.invoice("1")
    good = site.intent("rcpt-1", "1")
    sent = [good, {**good, "id": "sum", "amount": "99.00"}, "no intent", {**good, "id": "far", "system": "nowhere"},
            good, {**good, "reference": "other"}, {**good, "id": "odd\x00"}]  # fmt: skip
    answered = site.submit(sent, "/v1/intents/batch")
    assert answered.status_code == 200
    results = answered.json()["results"]
    assert [one["status"] for one in results] == [201, 422, 400, 422, 200, 409, 400]
    assert results[0]["taken"] == {
        "system": site.system, "id": "rcpt-1", "state": "planned", "reason": None, "known": False
    }  # fmt: skip
    assert "add up to 100.00" in results[1]["refused"]
    assert "configured are" in results[3]["refused"]
    assert [one["id"] for one in site.get("intents").json()["intents"]] == ["rcpt-1"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"no json", 400, "malformed"),
        (b'{"kind": "pay"}', 400, "pay"),
        (b"\xff\xfe", 400, "the intent"),
        (b"[]", 400, "object"),
        (b"", 400, "truncated"),
        (b"x" * 600_000, 413, "larger than 500000 bytes"),
    ],
)
def test_a_body_that_is_no_intent_is_a_problem(site: Site, body: bytes, status: int, said: str) -> None:
    answer = site.client.post("/v1/intents", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    problem = answer.json()
    assert said in problem["cause"] + problem["thing"]
    assert problem["detail"] == f"{problem['thing']}: {problem['cause']}; {problem['next_step']}"


def test_a_large_body_is_refused_while_it_comes(site: Site) -> None:
    def endless() -> Any:
        for _ in range(10_000):
            yield b" " * 1000

    headers = {"Content-Type": "application/json"}
    assert site.client.post("/v1/intents", content=endless(), headers=headers).status_code == 413


def test_a_body_of_another_type_is_refused(site: Site) -> None:
    answer = site.client.post("/v1/intents", content=b"{}", headers={"Content-Type": "text/plain"})
    assert (answer.status_code, answer.json()["cause"]) == (415, "its type is text/plain")


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        f"Basic {TOKEN}",
        "Bearer another-token-altogether",
        f"Bearer {TOKEN}x",
        f"bearer {TOKEN[:-1]}",
    ],
)
def test_nobody_without_a_token_gets_in(site: Site, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    for method, path in (
        ("GET", "/v1/systems"),
        ("POST", "/v1/intents"),
        ("GET", f"/v1/systems/{site.system}/events"),
    ):
        answer = httpx.request(method, site.url + path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert TOKEN not in answer.text


def test_a_token_that_may_read_may_not_submit(site: Site) -> None:
    site.house.invoice("1")
    intent = site.intent("rcpt-1", "1")
    site.client.headers["Authorization"] = f"Bearer {READER}"
    assert site.get("invoices/1").status_code == 200
    answer = site.submit(intent)
    assert (answer.status_code, answer.json()["thing"]) == (403, "token dashboard")
    assert site.get("intents").json()["intents"] == []


def test_health_and_the_description_need_no_token(site: Site) -> None:
    assert httpx.get(f"{site.url}/health").json() == {"well": True}
    described = httpx.get(f"{site.url}/openapi.json").json()
    assert described["openapi"] == "3.1.0"
    assert set(described["components"]["securitySchemes"]) == {"token"}


def test_pages_join_without_a_gap(site: Site) -> None:
    for number in range(1, 8):
        site.house.invoice(str(number), f"{number}0.00", customer=str(number % 2))
    for path, field in (("invoices", "invoices"), ("events", "events")):
        whole = site.get(path, limit=500).json()[field]
        joined: list[Any] = []
        after = ""
        while True:
            page = site.get(path, limit=2, **({"after": after} if after else {})).json()
            joined += page[field]
            after = page["next"]
            if not page[field] or after is None:
                break
        assert joined == whole
    odd = site.get("invoices", customer="1").json()["invoices"]
    assert [one["key"] for one in odd] == ["1", "3", "5", "7"]
    assert [one["key"] for one in site.get("invoices", number="INV2").json()["invoices"]] == ["2"]
    assert site.get("invoices", state="matched").json()["invoices"] == []


def test_a_document_is_whole_and_names_its_content_version(site: Site) -> None:
    site.house.invoice("1", "120.50")
    told = site.get("invoices/1").json()
    assert (told["document"], told["number"], Decimal(told["open_amount"])) == ("invoice", "INV1", Decimal("120.50"))
    assert len(told["content_version"]) == 16
    for path in ("invoices/2", "customers/2", "conflicts/2", "intents/a/b"):
        missing = site.get(path)
        assert missing.status_code == 404
        assert "lists those that are known" in missing.json()["next_step"]


def test_an_id_may_hold_what_addresses_are_made_of(site: Site) -> None:
    site.house.invoice("1")
    name = "2026/11 ä?#%"
    assert site.submit(site.intent(name, "1")).status_code == 201
    quoted = "2026%2F11%20%C3%A4%3F%23%25"
    assert site.get(f"intents/{quoted}").json()["id"] == name


def test_conflicts_are_listed_and_shown(site: Site) -> None:
    site.house.invoice("1")
    site.house.erp.faults = ["rejected"]
    site.submit(site.intent("rcpt-1", "1"))
    site.house.steps()
    (listed,) = site.get("conflicts").json()["conflicts"]
    assert (listed["kind"], listed["intent"]) == ("erp_rejected", "rcpt-1")
    assert site.get(f"conflicts/{listed['id']}").json() == listed
    assert site.get("conflicts", state="dismissed").json()["conflicts"] == []
    assert [one["id"] for one in site.get("intents/rcpt-1").json()["conflicts"]] == [listed["id"]]


def test_a_feed_waits_for_the_first_event(site: Site) -> None:
    end = site.events()["next"]
    began = time.monotonic()
    assert site.events(after=end, wait=1)["events"] == []
    assert time.monotonic() - began >= 1
    later = threading.Timer(0.5, lambda: site.house.invoice("1"))
    later.start()
    told = site.events(after=end, wait=30)
    later.join()
    assert time.monotonic() - began < 20
    assert [event["subject"] for event in told["events"]] == ["invoice/1", "invoice/1"]


def test_a_feed_goes_on_from_an_events_id(site: Site) -> None:
    site.house.invoice("1")
    site.house.invoice("2")
    events = site.events()["events"]
    assert site.events(after=events[1]["id"])["events"] == events[2:]


@pytest.mark.parametrize("place", ["0.0.0", "7.1.1", "nonsense", "x/y/1/2", "0.99999.0"])
def test_a_place_that_is_not_kept_is_said(site: Site, place: str) -> None:
    site.house.invoice("1")
    lost = site.get("events", after=place)
    assert lost.status_code == 410
    assert "read the documents anew" in lost.json()["next_step"]


@pytest.mark.parametrize(
    ("path", "status"),
    [("invoices?limit=0", 400), ("invoices?limit=x", 400), ("invoices?page=2", 400), ("events?wait=99", 400),
     ("invoices?after=%00", 400), ("invoices?state=opened", 400), ("intents?state=paid", 400),
     ("conflicts?state=new", 400), ("invoices/%00", 404), ("nothing", 404)],
)  # fmt: skip
def test_what_is_asked_for_wrongly_is_a_problem(site: Site, path: str, status: int) -> None:
    answer = site.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


def test_a_method_that_an_address_does_not_take(site: Site) -> None:
    answer = site.client.delete("/v1/systems")
    assert (answer.status_code, sorted(answer.headers["allow"].split(", "))) == (405, ["GET", "HEAD"])


def test_a_system_that_is_not_configured(site: Site) -> None:
    answer = site.client.get("/v1/systems/nowhere/invoices")
    assert (answer.status_code, answer.json()["thing"]) == (404, "system nowhere")
    (known,) = site.client.get("/v1/systems").json()["systems"]
    assert (known["system"], known["paused"]) == (site.system, False)


def test_where_no_log_is_kept_the_feed_says_so(site: Site, connection: Connection) -> None:
    connection.execute("UPDATE system SET outbound_from = NULL WHERE name = %s", (site.system,))
    answer = site.get("events")
    assert (answer.status_code, answer.json()["thing"]) == (503, f"system {site.system}")
