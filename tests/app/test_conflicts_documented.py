"""docs/conflicts.md names every kind, in the order of precedence, with its real policy and a test that exists."""

import re
from pathlib import Path

from engine.model.records import ConflictKind
from engine.rules.policy import DEFAULT_CHOICES
from tests.demo.test_day import KINDS

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "conflicts.md").read_text(encoding="utf-8")


def rows() -> list[list[str]]:
    """The cells of the table of kinds."""
    lines = TEXT.split("| kind |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_every_kind_has_its_row_in_the_order_of_precedence() -> None:
    assert [row[0].strip("`") for row in rows()] == [str(kind) for kind in ConflictKind]
    assert all(len(row) == 6 and all(row) for row in rows())


def test_the_default_policies_are_those_of_the_rules() -> None:
    assert {row[0].strip("`"): row[3] for row in rows()} == {str(k): str(c) for k, c in DEFAULT_CHOICES.items()}


def test_every_row_names_a_test_that_exists() -> None:
    on_tryton = {row[0].strip("`") for row in rows() if "the demo's day" in row[5]}
    assert on_tryton == set(KINDS)
    for row in rows():
        named = re.findall(r"`(tests/[^`]+)`", row[5])
        assert named or row[0].strip("`") in on_tryton, row[0]
        for name in named:
            file, _, test = name.partition("::")
            source = (ROOT / file).read_text(encoding="utf-8")
            assert not test or f"def {test}(" in source, name


def test_every_rule_that_raises_conflicts_is_named() -> None:
    """A rule's name stands where it is raised; the table names it, or its family with a star."""
    named = re.findall(r"`((?:plan|erp|echo|outcome|lookup|reconcile|machine)\.[a-z_*]+)`", TEXT)
    patterns = [re.compile(name.replace(".", r"\.").replace("*", "[a-z_]*") + "$") for name in named]
    found = set()
    for file in (ROOT / "engine" / "rules").glob("*.py"):
        found |= set(re.findall(r'"((?:plan|erp|echo|outcome|lookup|reconcile)\.[a-z_]+)"', file.read_text()))
    assert found
    assert [rule for rule in sorted(found) if not any(p.match(rule) for p in patterns)] == []
