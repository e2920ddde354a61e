"""The results pages show no table without its source, and no chart that is older than its numbers."""

from __future__ import annotations

import csv
import datetime
import re
import runpy
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from PIL import Image

from documented import REPOSITORY

DOCS = REPOSITORY / "docs"
MEASURED = DOCS / "results" / "measured"
STUDY_TABLES = REPOSITORY / "studies" / "subcortical" / "report" / "tables"
CHARTS = [
    "speed",
    "cost-of-methods",
    "gradient-shares",
    "dice-of-methods",
    "learning-curves",
    "differences-of-the-study",
    "found-and-outlined",
]


@pytest.fixture(scope="module")
def tables() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "measured_tables.py"))


@pytest.fixture(scope="module")
def charts() -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS))
        return runpy.run_path(str(DOCS / "draw_charts.py"))


def test_every_table_has_a_source(tables):
    sources = tables["sources"]()
    assert len(sources) > 10
    assert set(sources) == {file.stem for file in MEASURED.glob("*.csv")}
    for name, source in sources.items():
        assert "nndistill " in source.command or "python benchmarks/" in source.command, name
        assert source.processor, name
        assert re.fullmatch("[0-9a-f]{7}", source.commit), name
        assert isinstance(source.date, datetime.date), name


def test_every_table_is_on_one_page(tables):
    text = "\n".join(page.read_text(encoding="utf-8") for page in (DOCS / "results").glob("*.md"))
    for name in tables["sources"]():
        assert len(re.findall(rf"^\[Table\]\(measured/{name}\.csv\)$", text, re.MULTILINE)) == 1, name


def test_a_page_shows_the_table_and_its_source(tables):
    shown = tables["on_page_markdown"]("Before.\n\n[Table](measured/page-faults.csv)\n\nAfter.\n")
    before, table, source, after = shown.strip().split("\n\n")
    assert (before, after) == ("Before.", "After.")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    with (MEASURED / "page-faults.csv").open(encoding="utf-8") as file:
        assert [rows[0], *rows[2:]] == list(csv.reader(file))
    assert rows[1] == ["---", "---:", "---:"]
    for part in ("training_step.py --json", "AVX2", "commit 1f25779", "26 November 2026", "(measured/page-faults.csv)"):
        assert part in source


def test_a_table_without_its_commit_is_not_shown(tables, tmp_path, monkeypatch):
    (tmp_path / "some.csv").write_text("a\n1\n")
    (tmp_path / "sources.yaml").write_text("some: {command: make, processor: one core, date: 2026-11-23}\n")
    monkeypatch.setitem(tables["sources"].__globals__, "FOLDER", tmp_path)
    with pytest.raises(TypeError, match="commit"):
        tables["on_page_markdown"]("[Table](measured/some.csv)")


def test_ratios_of_times_follow_from_the_times(tables):
    """Up to rounding, and to medians of ratios, which are not ratios of medians."""
    for table, ratio in (
        ("deployment-patch", "speed, × teacher"),
        ("deployment-case", "speed, × stock with the teacher"),
        ("deployment-case-unmirrored", "speed, × stock with the teacher"),
    ):
        rows = tables["rows"](table)
        for row in rows:
            expected = float(rows[0]["seconds"]) / float(row["seconds"])
            assert float(row[ratio]) == pytest.approx(expected, rel=0.02), (table, row)


def test_the_sum_over_the_stages_is_that_of_the_stages(tables):
    *stages, total = tables["rows"]("dcd-stages")
    assert len(stages) == 6
    feature = sum(float(row["`feature`"]) for row in stages)
    for column in list(total)[1:]:
        assert float(total[column]) == pytest.approx(sum(float(row[column]) for row in stages) / feature, abs=0.006)


def test_seeds_have_the_mean_of_the_study_s_table(charts):
    scores = charts["seeds_of_rows"]()
    overall = _table(STUDY_TABLES / "overall.md") | _table(STUDY_TABLES / "ablations.md")
    assert len(overall) == 27
    for name, row in overall.items():
        seeds = scores[name].values()
        assert f"{mean(dice for dice, _ in seeds):.3f}" == row["Dice ↑"].strip("*").split()[0], name
        assert sum(folds for _, folds in seeds) == int(row["Trainings"].split()[0]), name


def test_learning_curves_end_where_the_study_s_table_does(charts):
    curves = charts["curves_of_rows"]()
    budget = _table(STUDY_TABLES / "budget.md")
    assert set(curves) == {"Teacher", *budget}
    epochs = min(map(len, curves.values()))  # all rows but one have no more
    for name, row in budget.items():
        assert f"{curves[name][epochs - 1]:.3f}" == row["100% of the batches"]


def test_the_chart_of_missed_labels_counts_them_as_the_table_does(charts):
    caption = (STUDY_TABLES / "missed.md").read_text(encoding="utf-8").splitlines()[-1]
    [labels] = re.findall(r", of (\d+);", caption)
    [found] = re.findall(r"of the (\d+ labels that no training)", caption)
    [axes] = charts["found_and_outlined"]().axes
    assert axes.get_xlabel().endswith(f", of {labels}")
    assert found in axes.get_ylabel()


@pytest.mark.parametrize("name", CHARTS)
def test_the_picture_was_drawn_from_the_committed_numbers(charts, name):
    chart = charts["CHARTS"][name]
    picture = DOCS / "figures" / f"{name}.png"
    with Image.open(picture) as image:
        assert image.text["Source"] == chart.digest(), (
            f"{name} is older than its numbers: run python docs/draw_charts.py"
        )
    assert picture.stat().st_size < 200_000
    assert all(axes.get_xlabel() for axes in chart.draw().axes)


def test_every_chart_is_checked(charts):
    assert set(CHARTS) == set(charts["CHARTS"])


def test_readme_has_the_numbers_of_the_study():
    overall, costs = _table(STUDY_TABLES / "overall.md"), _table(STUDY_TABLES / "costs.md")
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"^\| ([\w, -]+) \| ([\d.]+ M) \| (0\.\d+[^|]*) \| (0\.\d+[^|]*) \|$", readme, re.MULTILINE)
    assert len(shown) >= 5
    for name, parameters, dice, nsd in shown:
        row = overall[name]
        assert parameters == costs[name]["Parameters"]
        assert (dice, nsd) == tuple(re.sub(r"\*| \(\d\)", "", row[column]) for column in ("Dice ↑", "NSD ↑"))


def _table(file: Path) -> dict[str, dict[str, str]]:
    """The rows of a Markdown table by their first cell."""
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    headings, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return {row[0]: dict(zip(headings, row, strict=True)) for row in rows}
