"""The tables that the documentation shows are those that the committed results give."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pandas as pd
import pytest

from nndistill.recipes import load_recipe
from nndistill.study import load_study, write_study_report
from nndistill.study.places import StudyPlaces

STUDIES = sorted((Path(__file__).parents[2] / "studies").glob("*/study.yaml"))


def test_there_is_a_study() -> None:
    assert STUDIES


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.parent.name)
def test_committed_tables_are_those_of_the_committed_results(file: Path, tmp_path: Path) -> None:
    committed = sorted((file.parent / "report" / "tables").glob("*.md"))
    assert committed
    folder = tmp_path / file.parent.name
    shutil.copytree(file.parent, folder, ignore=shutil.ignore_patterns("report", "work"))
    write_study_report(load_study(folder / file.name), StudyPlaces(folder / file.name))
    for table in committed:
        assert (folder / "report" / "tables" / table.name).read_text() == table.read_text()


@pytest.mark.parametrize("file", STUDIES, ids=lambda file: file.parent.name)
def test_results_are_small(file: Path) -> None:
    runs = [run for run in (file.parent / "results").iterdir() if run.is_dir()]
    assert runs
    for run in runs:
        assert sum(each.stat().st_size for each in run.rglob("*")) < 1_000_000


def test_readme_has_the_numbers_of_the_study() -> None:
    readme = (STUDIES[0].parents[2] / "README.md").read_text()
    section = readme.partition("## Does it work?")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len(rows) == 5
    tables = STUDIES[0].parents[1] / "subcortical" / "report" / "tables"
    overall, costs = (tables / "overall.md").read_text().replace("*", ""), (tables / "costs.md").read_text()
    for model, parameters, dice, nsd in rows:
        [scores] = [line for line in overall.splitlines() if line.startswith(f"| {model} |")]
        assert f"| {dice} " in scores
        assert f"| {nsd} " in scores
        assert any(line.startswith(f"| {model} | {parameters} |") for line in costs.splitlines())


def test_trainings_done_again_have_the_numbers_on_the_page() -> None:
    study = STUDIES[0].parents[1] / "subcortical"
    with (STUDIES[0].parents[2] / "docs" / "results" / "measured" / "subcortical-again.csv").open() as file:
        rows = {_again_in(row): row for row in csv.DictReader(file)}
    assert set(rows) == {f"{file.parts[-3]}/{file.parts[-2]}" for file in study.glob("again*/*/run.json")}
    assert {"again/dcd-release_f1_s1", "again/dcd_f3_s0", "again/teacher_f3"} <= set(rows)  # those that were drawn
    for name, row in rows.items():
        first, again = (_of_labels(study / each / "metrics.csv") for each in (f"results/{row['training']}", name))
        for column, heading in (("dice", "Dice"), ("nsd", "NSD")):
            assert f"{first[column].mean():.3f}" == row[heading], name
            assert f"{again[column].mean():.3f}" == row[f"{heading} again"], name
        largest = (first["dice"] - again["dice"]).abs().max()
        assert f"{largest:.3f}" == row["largest difference of a label (Dice)"], name


def test_recipe_best_is_the_row_of_the_study() -> None:
    file = STUDIES[0].parents[1] / "subcortical" / "study.yaml"
    row = load_study(file).student_recipe("none, from the teacher", 1234, folder=file.parent)
    assert load_recipe("best") == row.adjusted(description=load_recipe("best").description)


def test_weights_of_bands_are_those_of_the_spectrum_beside_the_study() -> None:
    folder = STUDIES[0].parents[1] / "subcortical-candidates"
    spectrum = pd.read_csv(folder / "spectrum-of-the-pilot.csv")
    carried = spectrum["snr"] / (1 + spectrum["snr"])
    row = load_study(folder / "study.yaml").methods["dcd, bands by SNR"]
    assert row.options["bands"] == carried.groupby(spectrum["band"]).mean().round(2).to_dict()


def _again_in(row: dict[str, str]) -> str:
    """Where the result is: teachers were trained again on a GPU, and for FreeKD on a processor."""
    for_freekd = row["training"].startswith("teacher") and row["again on"].startswith("Xeon")
    return f"{'again-for-freekd' if for_freekd else 'again'}/{row['training']}"


def _of_labels(metrics: Path) -> pd.DataFrame:
    return pd.read_csv(metrics).groupby("label")[["dice", "nsd"]].mean()
