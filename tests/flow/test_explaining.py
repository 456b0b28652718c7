"""The three columns mark what is different and nothing else, and no secret is ever told."""

import datetime as dt

import pytest

from engine.flow.explaining import compare, without_secrets
from engine.model.records import ConflictKind, ConflictRecord

NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("login failed: password=hunter2 for user arsync", "hunter2"),
        ('{"token": "eyJhbGciOi", "detail": "expired"}', "eyJhbGciOi"),
        ("Authorization: Basic YXJzeW5jOng=", "YXJzeW5jOng="),
        ("header Bearer abc.def.ghi was refused", "abc.def.ghi"),
        ("cannot reach https://arsync:s3cret@erp.example/db", "s3cret"),
        ("session=0123456789abcdef is not valid", "0123456789abcdef"),
    ],
)
def test_what_looks_like_a_secret_is_taken_out_of_an_answer(text: str, hidden: str) -> None:
    shown = without_secrets(text)
    assert hidden not in shown
    assert "***" in shown


def test_an_answer_without_secrets_is_told_as_it_is() -> None:
    text = "The period 2026-11 is closed; post to 2026-12 or open it."
    assert without_secrets(text) == text


def test_the_columns_mark_what_differs_and_nothing_else() -> None:
    record = ConflictRecord(
        id="A", kind=ConflictKind.STALE_BASIS, state="held", sentence="", rule="plan.basis", default_choice="rebase",
        detected_at=NOW, fields=("content_version",),
        base={"open_amount": "100.00", "customer": "7", "content_version": "V1", "read_at": "1"},
        ar={"intent": "p", "amount": "60.00", "customer": "8"},
        erp={"open_amount": "90.00", "customer": "7", "content_version": "V2", "read_at": "2"},
    )  # fmt: skip
    shown = {one.name: one for one in compare(record)}
    assert [name for name, one in shown.items() if one.differs] == ["customer", "open_amount", "content_version"]
    assert (shown["open_amount"].base, shown["open_amount"].ar, shown["open_amount"].erp) == ("100.00", None, "90.00")
    assert "intent" not in shown
