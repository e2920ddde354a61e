"""The report's page and files are of this report alone, and name every row of the study."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from made_studies import made_result, made_study, write_study_file
from nndistill.errors import UserError
from nndistill.study import load_study, write_study_report

KEYS = {"folds": [0, 1], "seeds": [0, 3]}


def test_tables_and_figures_that_a_report_no_longer_has_are_deleted(tmp_path: Path) -> None:
    study, places, _ = made_study(tmp_path, **KEYS)
    report = places.report
    write_study_report(study, places)
    written = {file for file in report.rglob("*") if file.is_file()}
    outdated = [report / "tables" / f"missed.{ending}" for ending in ("md", "tex", "csv")]
    outdated += [report / "tables" / "differences-none-half.md"]
    others = [report / "tables" / "notes.md", report / "own.md"]
    for file in [*outdated, *others]:
        file.touch()

    write_study_report(study, places)

    assert {file for file in report.rglob("*") if file.is_file()} == written | set(others)


def test_the_differences_of_a_student_have_one_name_whatever_is_done(tmp_path: Path) -> None:
    study, places, _ = made_study(tmp_path, students={"quarter": {}, "half": {"reduction": 2}}, **KEYS)
    for result in places.results.glob("*_half_*"):
        shutil.move(result, tmp_path / result.name)

    tables = write_study_report(study, places).tables

    assert "differences-none-quarter" in tables
    assert "differences" not in tables


def test_a_row_of_which_nothing_is_done_is_named(tmp_path: Path) -> None:
    study, places, _ = made_study(tmp_path, students={"quarter": {}, "half": {"reduction": 2}}, **KEYS)
    for result in [*places.results.glob("dcd_half_*"), places.results / "none_half_f0_s0"]:
        shutil.rmtree(result)

    page = write_study_report(study, places).page.read_text()

    assert "No training is done of: dcd, half." in page
    assert "Not all trainings are done of: none, half." in page
    assert "5 runs have no result yet." in page


def test_one_of_a_kind_is_in_the_singular(tmp_path: Path) -> None:
    study, places, _ = made_study(tmp_path, folds=[0], seeds=[0])
    shutil.rmtree(places.results / "dcd_f0_s0")

    page = write_study_report(study, places).page.read_text()

    assert "2 of 3 runs, 1 seed, 1 fold, protocol" in page
    assert "1 run has no result yet." in page
    assert "2 runs on p, 2 cores" in page


def test_patients_that_one_machine_knew_are_those_of_all_results(tmp_path: Path) -> None:
    study, places, runs = made_study(tmp_path, seeds=[0, 1])
    expected = write_study_report(study, places).tables["differences"].records

    for run in runs:
        if run.seed == 1:
            file = places.results / run.name / "metrics.csv"
            pd.read_csv(file).drop(columns="patient").to_csv(file, index=False)

    assert expected[0]["Patients"] == "3"
    assert write_study_report(study, places).tables["differences"].records == expected


def test_a_row_that_cannot_be_compared_is_named(tmp_path: Path) -> None:
    rows = {"none": {}, "at": {"seeds": [1]}, "dcd": {}}
    study, places, _ = made_study(tmp_path, methods=rows, seeds=[0, 1])
    shutil.rmtree(places.results / "none_f0_s1")

    page = write_study_report(study, places).page.read_text()

    assert "Not compared with none, with which they share no case and seed: at." in page


def test_results_of_other_folds_are_not_reported_together(tmp_path: Path) -> None:
    study, places, _ = made_study(tmp_path, **KEYS)
    one, other = (places.results / f"dcd_f{fold}_s3" / "metrics.csv" for fold in (0, 1))
    content = one.read_text()
    one.write_text(other.read_text())
    other.write_text(content)

    with pytest.raises(UserError, match="teacher_f0 and dcd_f0_s3 have different validation cases in fold 0"):
        write_study_report(study, places)


def test_results_of_another_setup_are_named(tmp_path: Path) -> None:
    _, places, _ = made_study(tmp_path, **KEYS)
    changed = {"methods": {"none": {}, "dcd": {"changes": {"epochs": 7}}}, **KEYS}
    study = load_study(write_study_file(tmp_path, **changed).file)

    page = write_study_report(study, places).page.read_text()

    assert "4 results of another setup than this do not count: dcd_f0_s0, " in page


def test_an_interval_of_few_seeds_is_no_proof(tmp_path: Path) -> None:
    """The interval does not include zero, since three seeds cannot show how much seeds differ."""
    study, places, runs = made_study(tmp_path, folds=[0, 1, 2], seeds=[0, 1, 2])
    for run in runs:
        if run.method:
            made_result(places, run, dice=0.7 + (0.01, 0.02, 0.09)[run.seed] * (run.method == "dcd"))

    page = write_study_report(study, places).page.read_text()

    assert "(95 % interval +0.010 to +0.090); over seeds, none has been shown (p = 0.253)." in page


def test_nothing_is_marked_if_rows_lack_different_values(tmp_path: Path) -> None:
    study, places, runs = made_study(tmp_path, seeds=[0])
    for run, label in zip([run for run in runs if run.method], ("core", "rim"), strict=True):
        file = places.results / run.name / "metrics.csv"
        metrics = pd.read_csv(file)
        metrics.loc[metrics["label"] == label, "hd95_mm"] = float("nan")
        metrics.to_csv(file, index=False)

    rows = write_study_report(study, places).tables["overall"].rows

    assert not any(cells[1].best for _, cells in rows)
    assert any(cells[0].best for _, cells in rows)


def test_values_that_one_row_lacks_are_counted_and_nothing_is_marked(tmp_path: Path) -> None:
    """A distance is smaller without the labels that were missed."""
    study, places, runs = made_study(tmp_path, seeds=[0])
    [run] = [run for run in runs if run.method == "dcd"]
    file = places.results / run.name / "metrics.csv"
    metrics = pd.read_csv(file)
    before = write_study_report(study, places).tables["overall"].markdown()
    metrics.loc[metrics["label"] == "rim", "hd95_mm"] = float("nan")
    metrics.to_csv(file, index=False)

    written = write_study_report(study, places)

    assert "dcd: 4 values of HD95 (case, label and training) are defined in one row only, 4 in none" in (
        written.page.read_text()
    )
    marks = [[cell.best for cell in cells] for _, cells in written.tables["overall"].rows]
    assert "**" in before
    assert not any(row[1] for row in marks)
    assert any(row[0] for row in marks)
