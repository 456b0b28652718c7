"""What the target makes of a payment, a setting or an error before a real Tryton has any part in it."""

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from connectors.tryton import rpc
from connectors.tryton.target import TrytonTarget, open_target
from connectors.tryton.writing import Attempt, outcome_of
from engine.model.commands import (
    EntryLine,
    OutcomeKind,
    PostEntry,
    PostPayment,
    PromisedAllocation,
    ReleaseOrder,
    ReverseApplication,
    SetCreditLimit,
    Write,
)
from engine.ports.errors import ConfigError, Unavailable
from tests.tryton.bench import PAYMENT
from tests.tryton.test_rpc import FakeServer

KEY = "ABCDEFGHIJ234567"
GUARD = {"account.invoice,5": "1.000001", "account.invoice,6": "1.000002"}
SECTION = {"database": "books", "user": "ar_bot", "password": "not-to-be-told"}


def payment(amount: str, *allocations: tuple[str, str], **changes: str) -> PostPayment:
    promised = tuple(PromisedAllocation(invoice, Decimal(part), None, "v") for invoice, part in allocations)
    ids = {"company": "1", "customer": "3"} | changes
    return PostPayment(
        company=ids["company"], customer=ids["customer"], currency="EUR", amount=Decimal(amount),
        date=dt.date(2026, 11, 20), allocations=promised,
    )  # fmt: skip


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()
    yield fake
    fake.stop()


@pytest.fixture
def target(server: FakeServer) -> Iterator[TrytonTarget]:
    opened = open_target(SECTION | {"url": server.url})
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (payment("0", ("5", "0")), "above zero"),
        (payment("-5", ("5", "-5")), "above zero"),
        (payment("0", ("5", "5"), ("6", "-5")), "above zero"),
        (payment("10", ("5", "4"), ("5", "6")), "twice"),
        (payment("100", ("5", "4")), "not applied"),
        (payment("4", ("5", "3"), ("6", "2")), "applies 5"),
        (payment("4", ("7", "4")), "without the token"),
        (payment("0"), "no invoices"),
        (payment("4", ("five", "4")), "ids"),
        (payment("4", ("5", "4"), customer="three"), "no id"),
        (payment("4", ("5", "4"), company="-1"), "ids"),
    ],
)
def test_what_cannot_be_written_soundly_is_refused_without_a_call(
    server: FakeServer, target: TrytonTarget, write: PostPayment, said: str
) -> None:
    outcome = target.send(KEY, write, GUARD)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.REJECTED, "precondition_failed")
    assert said in outcome.detail
    assert server.asked == []


SIDES = (EntryLine("1.2.1", Decimal(3), Decimal(0), "C-100"), EntryLine("1.1.1", Decimal(0), Decimal(3)))


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (PostEntry(company="1", customer="-", currency="EUR", amount=Decimal(3), date=dt.date(2026, 11, 20),
                   lines=SIDES), "customer C-100"),
        (ReleaseOrder(company="1", customer="C-100", currency="EUR", amount=Decimal(0), order="7"), "customer C-100"),
        (SetCreditLimit(company="1", customer="C-100", currency="EUR", amount=Decimal(0), limit=None,
                        replaces=Decimal(5)), "customer C-100"),
        (ReverseApplication(company="1", customer="3", currency="EUR", amount=Decimal(4), item="key",
                            allocations=(PromisedAllocation("5", Decimal(4), None, "v"),)), "no line of Tryton's"),
    ],
)  # fmt: skip
def test_a_name_that_is_no_id_is_refused_and_found_nowhere_without_a_call(
    server: FakeServer, target: TrytonTarget, write: Write, said: str
) -> None:
    outcome = target.send(KEY, write, GUARD)
    assert (outcome.kind, outcome.reason) == (OutcomeKind.REJECTED, "precondition_failed")
    assert said in outcome.detail
    assert target.find(KEY, write) is None
    assert server.asked == []


ERRORS = {
    "no answer": (rpc.NoAnswer("x"), OutcomeKind.THROTTLED, OutcomeKind.UNKNOWN),
    "busy": (rpc.Busy("x"), OutcomeKind.THROTTLED, OutcomeKind.THROTTLED),
    "inside": (rpc.InternalError("x"), OutcomeKind.THROTTLED, OutcomeKind.UNKNOWN),
    "away": (rpc.Unreachable("x"), OutcomeKind.THROTTLED, OutcomeKind.THROTTLED),
    "login": (rpc.LoginRefused("x"), OutcomeKind.THROTTLED, OutcomeKind.THROTTLED),
    "moved": (rpc.Concurrency("x"), OutcomeKind.STALE, OutcomeKind.STALE),
    "rule": (rpc.UserError("x"), OutcomeKind.REJECTED, OutcomeKind.REJECTED),
    "access": (rpc.AccessRefused("x"), OutcomeKind.REJECTED, OutcomeKind.REJECTED),
    "warning": (rpc.WarningRaised("11_12", "x"), OutcomeKind.REJECTED, OutcomeKind.REJECTED),
}


@pytest.mark.parametrize(("error", "before", "after"), ERRORS.values(), ids=ERRORS)
def test_an_error_means_what_it_can_prove(error: rpc.RpcError, before: OutcomeKind, after: OutcomeKind) -> None:
    attempt = Attempt()
    assert outcome_of(error, attempt).kind is before
    attempt.writes()
    assert outcome_of(error, attempt).kind is after
    attempt.has_not_written()
    assert outcome_of(error, attempt).kind is before


def test_without_the_module_of_statements_a_key_is_still_proven_absent(
    server: FakeServer, target: TrytonTarget
) -> None:
    server.script = [(200, []), (200, [])]
    assert target.find(KEY, PAYMENT) is None
    asked = [body["method"] for body in server.asked[2:]]
    assert asked == ["model.ir.module.search_read", "model.account.move.search_read"]


def test_who_may_not_ask_for_modules_has_the_statements_searched(server: FakeServer, target: TrytonTarget) -> None:
    refused: dict[str, Any] = {"error": ["UserError", ["You are not allowed to access", "", None]]}
    server.script = [(200, refused), (200, []), (200, refused)]
    with pytest.raises(Unavailable):
        target.find(KEY, PAYMENT)
    assert server.asked[-1]["method"] == "model.account.statement.line.search_read"


def test_a_password_in_the_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError, match="url") as raised:
        open_target(SECTION | {"url": "http://ar_bot:hidden-here@127.0.0.1:1"})
    assert "hidden-here" not in str(raised.value)
