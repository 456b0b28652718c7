"""The plots in the documentation are those of the results that are kept beside them."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import click
import pytest

from benchmarks.plots.drawing import Bar, bars, lines
from benchmarks.plots.verb import FOLDER, drawn


def widths(text: str) -> list[float]:
    """Of the bars, from the top; the first rectangle is the paper."""
    return [float(one) for one in re.findall(r'<rect x="210"[^>]*width="([\d.]+)"', text)]


def test_every_plot_is_that_of_its_result() -> None:
    there = {path: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.svg"))}
    assert there == dict(sorted(drawn(FOLDER).items())), "run `python -m benchmarks plots`"


def test_bars_are_as_long_as_their_values() -> None:
    text = bars("Rates", "events a second", [Bar("a & b", 50, 40, 100), Bar("c", 25)])
    ET.fromstring(text)  # noqa: S314 - our own text
    one, other = widths(text)
    assert one == pytest.approx(2 * other, abs=0.2)
    assert "a &amp; b" in text


def test_a_line_ends_where_its_last_value_is() -> None:
    text = lines("Memory", "MiB", "million events", {"worker": [(1, 100), (10, 200)]})
    ET.fromstring(text)  # noqa: S314 - our own text
    (way,) = re.findall(r'd="M([^"]*)" stroke="#4c78a8"', text)
    begin, end = [[float(part) for part in point.split()] for point in way.split("L")]
    assert begin[0] < end[0]
    assert end[1] == pytest.approx(44)
    assert begin[1] == pytest.approx(44 + 110)


@pytest.mark.parametrize("text", ["no json", "[]", json.dumps({"arsync": {"median": 1}})])
def test_a_result_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "ingest.json").write_text(text, encoding="utf-8")
    with pytest.raises(click.ClickException, match=r"ingest\.json is not the last line"):
        drawn(tmp_path)
