"""The JSON-RPC client against a server that fails on purpose; the real server is met in tests/demo."""

import base64
import datetime as dt
import json
import socket
import threading
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from connectors.tryton import rpc

PASSWORD = "pass-word-of-the-test"
TOKEN = "token-of-the-test"
Answer = tuple[int, Any]


class FakeServer:
    """Answers from a list of scripted answers; keeps what was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.authorizations: list[str] = []
        self.script: list[Answer] = []
        self.login: Answer = (200, [7, TOKEN, None])
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.asked.append(body)
                server.authorizations.append(self.headers.get("Authorization", ""))
                status, content = server.answer(body["method"])
                if status == 0:
                    self.close_connection = True
                    return
                if status == 200 and not isinstance(content, bytes):
                    key = "error" if isinstance(content, dict) and "error" in content else "result"
                    value = content["error"] if key == "error" else content
                    content = json.dumps({"id": body["id"], key: value}).encode()
                payload = content if isinstance(content, bytes) else b"refused"
                self.send_response(status)
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
                """Say nothing: the default writes each request to standard error."""

        self.httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.httpd.serve_forever, args=(0.02,))
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.httpd.server_address[1]}"

    def answer(self, method: str) -> Answer:
        if method == "common.db.login":
            return self.login
        if method == "model.res.user.get_preferences":
            return 200, {"company": 1, "language": "en"}
        return self.script.pop(0) if self.script else (200, None)

    def stop(self) -> None:
        self.httpd.shutdown()
        self.thread.join()
        self.httpd.server_close()


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    yield fake
    fake.stop()


@pytest.fixture
def session(server: FakeServer) -> Iterator[rpc.Session]:
    with rpc.Session(server.url, "books", "ar_bot", PASSWORD, timeout=5) as opened:
        yield opened


def test_values_survive_the_wire() -> None:
    values = {
        "money": Decimal("100.00"),
        "day": dt.date(2026, 11, 21),
        "moment": dt.datetime(2026, 11, 21, 10, 30, 5, 123456, tzinfo=dt.UTC),
        "span": dt.timedelta(seconds=90.5),
        "blob": b"\x00\xff",
        "rows": [1, None, True, {"text": "x"}],
    }
    wire = json.dumps(rpc.encode(values))
    assert json.loads(wire, object_hook=rpc.decode) == values
    assert rpc.encode(Decimal("100.00")) == {"__class__": "Decimal", "decimal": "100.00"}


def test_aware_times_are_sent_in_utc_and_unknown_types_are_refused() -> None:
    east = dt.timezone(dt.timedelta(hours=2))
    assert rpc.encode(dt.datetime(2026, 1, 1, 1, tzinfo=east))["hour"] == 23
    with pytest.raises(TypeError, match="object"):
        rpc.encode({"x": object()})


def test_logs_in_once_and_merges_preferences_into_the_context(server: FakeServer, session: rpc.Session) -> None:
    server.script = [(200, [1]), (200, [2])]
    assert session.call("model.party.party.read", [1], context={"_timestamp": {"a,1": "2"}}) == [1]
    assert session.call("model.party.party.read", [2]) == [2]
    assert [body["method"] for body in server.asked].count("common.db.login") == 1
    assert server.asked[2]["params"] == [[1], {"company": 1, "language": "en", "_timestamp": {"a,1": "2"}}]
    assert set(server.asked[2]) == {"id", "method", "params"}
    scheme, value = server.authorizations[2].split()
    assert (scheme, base64.b64decode(value).decode()) == ("Session", f"ar_bot:7:{TOKEN}")
    assert session.user_id == 7


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((200, {"error": ["UserError", ["no", "because", None]]}), rpc.UserError),
        ((200, {"error": ["UserWarning", ["name.1", "sure?", ""]]}), rpc.WarningRaised),
        ((200, {"error": ["ConcurrencyException", "modified"]}), rpc.Concurrency),
        ((200, {"error": ["LoginException", ["password", "Password for x", "password"]]}), rpc.LoginRefused),
        ((200, {"error": ["'nope'", ""]}), rpc.InternalError),
        ((200, {"error": []}), rpc.InternalError),
        ((403, None), rpc.AccessRefused),
        ((404, None), rpc.LoginRefused),
        ((422, None), rpc.InternalError),
        ((500, None), rpc.InternalError),
        ((503, None), rpc.Busy),
        ((429, None), rpc.Busy),
        ((504, None), rpc.NoAnswer),
        ((502, None), rpc.NoAnswer),
        ((0, None), rpc.NoAnswer),
        ((200, b"<html>hello</html>"), rpc.NoAnswer),
        ((200, b'{"id": 999, "result": 1}'), rpc.NoAnswer),
        ((200, b'{"id": 3, "result": {"__class__": "Decimal"}}'), rpc.NoAnswer),
    ],
)
def test_each_failure_has_its_class(
    server: FakeServer, session: rpc.Session, answer: Answer, kind: type[rpc.RpcError]
) -> None:
    server.script = [answer]
    with pytest.raises(rpc.RpcError) as caught:
        session.call("model.account.invoice.post", [1])
    assert type(caught.value) is kind
    assert PASSWORD not in str(caught.value)
    assert TOKEN not in str(caught.value)
    posts = [body for body in server.asked if body["method"].endswith(".post")]
    assert len(posts) == 1, "a failed call must not be repeated by itself"


def test_texts_of_errors_are_kept(server: FakeServer, session: rpc.Session) -> None:
    server.script = [
        (200, {"error": ["UserError", ["no", "because", None]]}),
        (200, {"error": ["UserWarning", ["name.1", "sure?", "really"]]}),
    ]
    with pytest.raises(rpc.UserError) as refused:
        session.call("model.x.y")
    assert (refused.value.message, refused.value.description) == ("no", "because")
    with pytest.raises(rpc.WarningRaised) as warned:
        session.call("model.x.y")
    assert (warned.value.name, warned.value.message, warned.value.description) == (
        "name.1",
        "sure?",
        "really",
    )


def test_a_run_out_session_is_opened_again_once(server: FakeServer, session: rpc.Session) -> None:
    server.script = [(200, 1), (401, None), (200, 2)]
    assert session.call("model.x.y") == 1
    assert session.call("model.x.y") == 2
    assert [body["method"] for body in server.asked].count("common.db.login") == 2
    server.script = [(401, None), (401, None), (200, 3)]
    with pytest.raises(rpc.LoginRefused):
        session.call("model.x.y")
    assert session.call("model.x.y") == 3


@pytest.mark.parametrize(
    ("login", "kind"),
    [((401, None), rpc.LoginRefused), ((429, None), rpc.Busy), ((0, None), rpc.Unreachable)],
)
def test_a_failed_login_is_never_an_unknown_effect(
    server: FakeServer, session: rpc.Session, login: Answer, kind: type[rpc.RpcError]
) -> None:
    server.login = login
    with pytest.raises(rpc.RpcError) as caught:
        session.call("model.x.y")
    assert type(caught.value) is kind
    assert PASSWORD not in str(caught.value)


def test_no_listener_is_unreachable_and_silence_is_no_answer() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    with rpc.Session(address, "books", "u", PASSWORD) as nobody, pytest.raises(rpc.Unreachable):
        nobody.call("model.x.y")


def test_a_slow_answer_is_an_unknown_effect(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    quick = server.answer

    def slow(method: str) -> Answer:
        if method == "model.x.y":
            released.wait(5)
        return quick(method)

    monkeypatch.setattr(server, "answer", slow)
    with rpc.Session(server.url, "books", "u", PASSWORD, timeout=0.2) as session:
        with pytest.raises(rpc.NoAnswer):
            session.call("model.x.y")
        released.set()


def test_a_wizard_is_removed_even_when_its_step_is_refused(server: FakeServer, session: rpc.Session) -> None:
    server.script = [(200, [12, "start", "end"]), (200, {"error": ["UserError", ["no", "", None]]})]
    with pytest.raises(rpc.UserError), session.wizard("account.invoice.pay", "account.invoice", [5]) as wizard:
        wizard.execute("choice", {"start": {"amount": Decimal(1)}}, {"_timestamp": {"account.invoice,5": "1"}})
    create, execute, delete = server.asked[2:]
    assert [body["method"].rsplit(".", 1)[1] for body in server.asked[2:]] == ["create", "execute", "delete"]
    assert create["params"][0]["active_ids"] == [5]
    assert create["params"][0]["active_id"] == 5
    assert execute["params"][0] == 12
    assert execute["params"][2] == "choice"
    assert execute["params"][3]["_timestamp"] == {"account.invoice,5": "1"}
    assert delete["params"][0] == 12


def test_a_wizard_that_cannot_be_removed_has_still_done_its_work(server: FakeServer, session: rpc.Session) -> None:
    server.script = [(200, [12, "start", "end"]), (200, {}), (500, None)]
    with session.wizard("account.move.cancel", "account.move", [1]) as wizard:
        assert wizard.execute("cancel") == {}


def test_a_lost_wizard_step_stays_lost(server: FakeServer, session: rpc.Session) -> None:
    server.script = [(200, [12, "start", "end"]), (0, None)]
    with pytest.raises(rpc.NoAnswer), session.wizard("a.b", "a", [1]) as wizard:
        wizard.execute("pay")
    assert len(server.asked) == 4


def test_acknowledging_goes_through_skip(server: FakeServer, session: rpc.Session) -> None:
    session.acknowledge("name.1")
    assert server.asked[-1]["method"] == "model.res.user.warning.skip"
    assert server.asked[-1]["params"][:2] == ["name.1", False]
