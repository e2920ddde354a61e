"""The report's page and files are of this report alone, and name every row of the study."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd

from made_studies import made_study
from nndistill.study import write_study_report

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
    study, places, runs = made_study(tmp_path, methods={"none": {}, "at": {}, "dcd": {}}, seeds=[0])
    [run] = [run for run in runs if run.method == "at"]
    file = places.results / run.name / "metrics.csv"
    metrics = pd.read_csv(file)
    metrics.assign(case="other " + metrics["case"], patient="other " + metrics["patient"]).to_csv(file, index=False)

    page = write_study_report(study, places).page.read_text()

    assert "Not compared with none, with which they share no case and seed: at." in page
