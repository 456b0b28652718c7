"""The proxy stages what seldom happens, so it must hold, release and drop exactly what it was told to."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from connectors.tryton.rpc import NoAnswer, Session
from demo.holding_proxy import Call, HoldingProxy


class Upstream(ThreadingHTTPServer):
    """Answers every call with its own parameters, and keeps a list of the methods that it carried out."""

    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.done: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Answering(BaseHTTPRequestHandler):
    server: Upstream

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            call = json.loads(body)
        except ValueError:
            call = {"id": None, "method": "none", "params": None}
        self.server.done.append(call["method"])
        result = [1, "token", None] if call["method"] == "common.db.login" else call["params"]
        if call["method"] == "model.res.user.get_preferences":
            result = {"company": 1}
        answer = json.dumps({"id": call["id"], "result": result}).encode()
        self.send_response_only(200)
        self.send_header("X-Path", self.path)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        pass


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    server = Upstream()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def proxy(upstream: Upstream) -> Iterator[HoldingProxy]:
    with HoldingProxy(upstream.url) as running:
        yield running


@pytest.fixture
def session(proxy: HoldingProxy) -> Iterator[Session]:
    with Session(proxy.url, "books", "bot", "secret", timeout=10.0) as opened:
        yield opened


def of(method: str) -> Any:
    return lambda call: call.method == method


def test_forwards_calls_unchanged(session: Session, upstream: Upstream) -> None:
    answer = session.call("model.party.read", [3], ["name"], context={"_timestamp": {"party,3": "1"}})
    assert answer == [[3], ["name"], {"company": 1, "_timestamp": {"party,3": "1"}}]
    assert upstream.done == ["common.db.login", "model.res.user.get_preferences", "model.party.read"]


def test_forwards_what_it_does_not_understand(proxy: HoldingProxy) -> None:
    proxy.hold(bool)
    answer = httpx.post(f"{proxy.url}/a/b", content=b"no json", timeout=5.0, trust_env=False)
    assert (answer.status_code, answer.headers["X-Path"]) == (200, "/a/b")


def test_holds_the_matching_request_until_it_is_released(
    session: Session, proxy: HoldingProxy, upstream: Upstream
) -> None:
    seen: list[Call] = []

    def match(call: Call) -> bool:
        if call.method == "model.pay":
            seen.append(call)
        return call.method == "model.pay" and call.context.get("active_id") == 5

    hold = proxy.hold(match)
    with ThreadPoolExecutor(1) as pool:
        assert session.call("model.pay", context={"active_id": 4})
        assert not hold.arrived.is_set()
        answer = pool.submit(session.call, "model.pay", context={"active_id": 5})
        assert hold.arrived.wait(5.0)
        with Session(proxy.url, "books", "other", "secret") as other:
            other.call("model.pay", context={"active_id": 5})
        assert not answer.done()
        assert upstream.done.count("model.pay") == 2
        hold.release()
        assert answer.result(5.0)
    assert upstream.done.count("model.pay") == 3
    assert [call.context["active_id"] for call in seen] == [4, 5]


def test_a_hold_that_was_released_before_holds_nothing(session: Session, proxy: HoldingProxy) -> None:
    proxy.hold(of("model.pay")).release()
    assert session.call("model.pay")


def test_two_holds_wait_side_by_side(proxy: HoldingProxy) -> None:
    first, second = proxy.hold(of("model.one")), proxy.hold(of("model.two"))
    with (
        ThreadPoolExecutor(2) as pool,
        Session(proxy.url, "b", "x", "s") as x,
        Session(proxy.url, "b", "y", "s") as y,
    ):
        one, two = pool.submit(x.call, "model.one"), pool.submit(y.call, "model.two")
        assert first.arrived.wait(5.0)
        assert second.arrived.wait(5.0)
        second.release()
        assert two.result(5.0)
        assert not one.done()
        first.release()
        assert one.result(5.0)


def test_drops_one_answer_of_a_request_that_was_carried_out(
    session: Session, proxy: HoldingProxy, upstream: Upstream
) -> None:
    drop = proxy.drop_answer(of("model.pay"))
    with pytest.raises(NoAnswer):
        session.call("model.pay")
    assert drop.dropped.is_set()
    assert upstream.done.count("model.pay") == 1
    assert session.call("model.pay")
    assert upstream.done.count("model.pay") == 2


def test_closing_lets_go_of_what_is_held(upstream: Upstream) -> None:
    before = threading.active_count()
    proxy = HoldingProxy(upstream.url)
    with proxy:
        hold = proxy.hold(of("model.pay"))
        with ThreadPoolExecutor(1) as pool, Session(proxy.url, "b", "x", "s") as opened:
            pending = pool.submit(opened.call, "model.pay")
            assert hold.arrived.wait(5.0)
            proxy.close()
            assert pending.exception(5.0) is None or isinstance(pending.exception(), NoAnswer)
    assert hold.released.is_set()
    assert threading.active_count() <= before


def test_an_upstream_that_is_gone_gives_no_answer(upstream: Upstream) -> None:
    gone = Upstream()
    gone.server_close()
    with HoldingProxy(gone.url) as proxy, pytest.raises(httpx.RemoteProtocolError):
        httpx.post(proxy.url, json={"id": 1, "method": "m", "params": []}, timeout=5.0, trust_env=False)
