"""What the benches print: medians, ranges, and ours divided by theirs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.report import Figure, Report, number, spread

FIGURES = [Figure("rate", "messages/s", ratio=True), Figure("cpu", "CPU ms", ratio=True), Figure("peak", "peak MiB")]


@pytest.fixture
def report(tmp_path: Path) -> Report:
    report = Report("how fast", tmp_path, [], {"exim": "not installed"})
    for rate, cpu in ((100.0, 1.0), (300.0, 0.5), (200.0, 0.7)):
        report.add("case", "postroom", {"rate": rate, "cpu": cpu})
    report.add("case", "postfix", {"rate": 50.0, "cpu": 2.8})
    return report


def test_a_row_is_the_median_with_its_range(report: Report) -> None:
    (row,) = [line for line in report.text(FIGURES).splitlines() if line.startswith("| postroom")]
    assert [cell.strip() for cell in row.strip("|").split("|")] == ["postroom", "3", "200 (100-300)", "0.7 (0.5-1)"]


def test_the_ratio_is_of_medians(report: Report) -> None:
    assert "postroom / postfix: messages/s x 4, CPU ms x 0.25" in report.text(FIGURES)


def test_a_figure_nobody_measured_has_no_column(report: Report) -> None:
    assert "peak" not in report.text(FIGURES)


def test_who_is_left_out_is_told_with_the_reason(report: Report) -> None:
    assert "left out: exim: not installed" in report.text(FIGURES)
    assert json.loads(report.json())["left_out"] == {"exim": "not installed"}


def test_json_has_every_run(report: Report) -> None:
    assert [run["rate"] for run in json.loads(report.json())["runs"]["case"]["postroom"]] == [100, 300, 200]


@pytest.mark.parametrize(("value", "shown"), [(0.4567, "0.457"), (12.345, "12.3"), (1234.5, "1,234"), (0.0, "0")])
def test_numbers(value: float, shown: str) -> None:
    assert number(value) == shown


def test_one_run_has_no_range() -> None:
    assert spread([2.0]) == "2"
