"""Tables and sentences of a study's report: every seed, what differs between seeds, and which way."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from made_studies import made_result, made_study, write_study_file
from nndistill.reporting.metrics import DICE, HD95
from nndistill.study import Study, load_study, study_runs, write_study_report
from nndistill.study.places import StudyPlaces
from nndistill.study.report import _sentence
from nndistill.study.results import read_results
from nndistill.study.rows import StudyRow, study_rows
from nndistill.study.tables import budget_table, class_table, direction, results_table, seed_table

KEYS = {"folds": [0, 1], "seeds": [0, 3]}


def rows_of(study: Study, places: StudyPlaces) -> list[StudyRow]:
    runs = study_runs(study, folder=places.folder)
    return study_rows(study, runs, read_results([places.results], runs))


def test_every_seed_has_its_mean_of_labels_over_all_folds(tmp_path: Path) -> None:
    study, places, _ = made_study(tmp_path, **KEYS)
    expected = {}
    for seed in (0, 3):
        frames = [pd.read_csv(places.results / f"dcd_f{fold}_s{seed}" / "metrics.csv") for fold in (0, 1)]
        expected[seed] = pd.concat(frames).groupby("label")["dice"].mean().mean()

    table = seed_table(rows_of(study, places))

    assert table is not None
    rows = {record["Model"]: record for record in table.records}
    assert set(rows) == {"none", "dcd"}
    assert rows["dcd"]["Seed 0"] == pytest.approx(expected[0])
    assert rows["dcd"]["Seed 3"] == pytest.approx(expected[3])


def test_a_seed_without_all_folds_says_so(tmp_path: Path) -> None:
    study, places, _ = made_study(tmp_path, **KEYS)
    for run in ("dcd_f1_s3", "none_f0_s0", "none_f1_s0"):
        shutil.rmtree(places.results / run)

    table = seed_table(rows_of(study, places))

    assert table is not None
    assert table.texts.loc["dcd", "Seed 3"].endswith(" (1)")
    assert "(" not in table.texts.loc["dcd", "Seed 0"]
    assert table.texts.loc["none", "Seed 0"] == "–"


def test_one_seed_has_no_table_of_seeds(tmp_path: Path) -> None:
    study, places, _ = made_study(tmp_path, seeds=[0])

    assert seed_table(rows_of(study, places)) is None


def test_more_seeds_of_a_teacher_are_no_lack_of_students_seeds(tmp_path: Path) -> None:
    rows = {"none": {}, "both": {"method": "dcd", "teacher_seeds": [0, 1]}}
    study, places, _ = made_study(tmp_path, methods=rows, seeds=[0])

    tables = [results_table(rows_of(study, places), "overall", "Overall"), class_table(rows_of(study, places))]

    for table in tables:
        assert table is not None
        assert "±" in " ".join(table.texts.loc["Teacher"])
        assert not any("(" in text for name in rows for text in table.texts.loc[name])
        assert "over all of its trainings, with the seeds 0, 1" in table.caption
        assert "with one seed" not in table.caption


def test_a_teacher_has_no_number_of_seeds_in_any_column(tmp_path: Path) -> None:
    study, places, _ = made_study(tmp_path, **KEYS)

    table = results_table(rows_of(study, places), "overall", "Overall")

    assert table is not None
    assert not table.texts.loc["Teacher"].str.contains(r"\(").any()
    assert table.texts.loc["Teacher", "Dice, mean of cases ↑"] != "–"


@pytest.mark.parametrize(
    ("difference", "metric", "said"),
    [(0.1, DICE, "better in 1 of 2"), (-0.1, DICE, "worse in 1 of 2"), (-0.1, HD95, "better in 1 of 2")],
)
def test_direction_of_a_difference(difference, metric, said) -> None:
    assert direction(pd.Series({"difference": difference, "seeds_in_favour": 1.0, "seeds": 2.0}), metric) == said


@pytest.mark.parametrize("patients", [5, 6])
def test_few_patients_allow_no_conclusion(patients: int) -> None:
    found = {"difference": 0.1, "low": 0.05, "high": 0.2, "seeds_in_favour": 2, "seeds": 2, "patients": patients}
    found |= {"p_seeds_holm": 0.01}

    sentence = _sentence("dcd", "none", pd.Series(found, dtype=float))

    assert sentence == "dcd: Dice +0.100 against none, better in 2 of 2 seeds " + (
        "(95 % interval +0.050 to +0.200)." if patients == 6 else "(5 patients are too few for a conclusion)."
    )


def test_seeds_that_disagree_are_not_said_to_agree(tmp_path: Path) -> None:
    """One seed is better by 0.3, the other one worse by 0.1, in every case of two folds of three patients."""
    places = write_study_file(tmp_path, **KEYS)
    study = load_study(places.file)
    for run in study_runs(study, folder=tmp_path):
        made_result(places, run, dice=0.5 if run.method != "dcd" else 0.8 if run.seed else 0.4)

    report = write_study_report(study, places)

    page = " ".join(report.page.read_text().split())
    assert (
        "dcd: Dice +0.100 against none, better in 1 of 2 seeds (95 % interval −0.100 to +0.300); no difference" in page
    )
    assert "Dice with every seed" in page
    [row] = [record for record in report.tables["differences"].records if record["Metric"] == "Dice"]
    assert row["Seeds"] == "better in 1 of 2"
    assert row["SD of the difference between seeds"] == pytest.approx(0.4 / 2**0.5)
    for ending in ("csv", "md", "tex"):
        assert (places.report / "tables" / f"seeds.{ending}").is_file()


def test_each_student_has_files_of_its_differences(tmp_path: Path) -> None:
    study, places, _ = made_study(tmp_path, students={"quarter": {}, "half": {"reduction": 2}}, **KEYS)

    write_study_report(study, places)

    for student in ("quarter", "half"):
        [file] = places.report.glob(f"tables/differences-none-{student}.csv")
        assert set(pd.read_csv(file)["Model"]) == {f"dcd, {student}"}


def test_only_rows_with_all_trainings_are_marked_as_the_best(tmp_path: Path) -> None:
    places = write_study_file(tmp_path, methods={"none": {}, "dcd": {}, "at": {"seeds": [3]}}, **KEYS)
    study = load_study(places.file)
    for run in study_runs(study, folder=tmp_path):
        made_result(places, run, dice={"none": 0.5, "dcd": 0.6, "at": 0.9}.get(run.method or "", 0.95))

    table = results_table(rows_of(study, places), "overall", "Overall")

    assert table is not None
    best = {names[0]: cells[0].best for names, cells in table.rows}
    assert best == {"Teacher": False, "none": False, "dcd": True, "at": False}
    assert table.texts.loc["at", "Dice ↑"].endswith("(1)")


def test_a_row_with_some_of_its_trainings_says_of_how_many(tmp_path: Path) -> None:
    places = write_study_file(tmp_path, methods={"none": {}, "dcd": {}}, **KEYS)
    study = load_study(places.file)
    runs = study_runs(study, folder=tmp_path)
    for run in runs:
        made_result(places, run)
    whole = results_table(rows_of(study, places), "overall", "Overall")
    shutil.rmtree(places.results / next(run.name for run in runs if run.method == "dcd"))
    partial = results_table(rows_of(study, places), "overall", "Overall")

    assert whole is not None
    assert partial is not None
    of_dcd = int(whole.texts.loc["dcd", "Trainings"])
    assert partial.texts.loc["dcd", "Trainings"] == f"{of_dcd - 1} of {of_dcd}"
    assert partial.texts.loc["none", "Trainings"] == whole.texts.loc["none", "Trainings"]
    assert "over other patients" in partial.caption
    assert "over other patients" not in whole.caption


def test_files_name_the_deviation_and_the_seeds_and_count_no_seed_that_a_row_lacks(tmp_path: Path) -> None:
    places = write_study_file(tmp_path, methods={"none": {}, "at": {"seeds": [3]}}, **KEYS)
    study = load_study(places.file)
    for run in study_runs(study, folder=tmp_path):
        made_result(places, run)

    tables = write_study_report(study, places).tables

    overall, seeds = (
        pd.read_csv(places.report / "tables" / f"{name}.csv", index_col="Model")
        for name in tables
        if name in ("overall", "seeds")
    )
    assert list(overall.columns[:3]) == ["Dice", "Dice SD", "Dice seeds"]
    assert overall.loc["none", "Dice seeds"] == 2
    assert seeds.loc["none", "Seed 0 folds"] == 2
    assert pd.isna(seeds.loc["at", "Seed 0 folds"])


def test_a_row_with_few_seeds_is_said_to_have_few(tmp_path: Path) -> None:
    study, places, _ = made_study(
        tmp_path, methods={"none": {}, "dcd": {}, "at": {"seeds": [2]}}, seeds=[0, 1, 2], folds=[0, 1]
    )

    page = " ".join(write_study_report(study, places).page.read_text().split())

    assert "too few to tell a method from luck: at." in page
    assert ", for new patients alone)" in page


def test_equal_batches_are_batches_and_not_epochs(tmp_path: Path) -> None:
    """`dcd` has epochs of twice as many batches: half of all batches are one of its epochs and two of the others'."""
    places = write_study_file(
        tmp_path, recipe="quick", methods={"none": {}, "dcd": {"changes": {"iterations": 100, "epochs": 2}}}
    )
    study = load_study(places.file)
    for run in study_runs(study, folder=tmp_path):
        made_result(places, run)
        if run.method == "none":
            file = places.results / run.name / "curves.csv"
            curves = pd.read_csv(file)
            pd.concat([curves, curves + 0.01]).to_csv(file, index=False)

    table = budget_table(rows_of(study, places))

    assert table is not None
    rows = {record["Model"]: record for record in table.records}
    assert "shares of 200." in table.caption
    assert rows["none"]["50% of the batches"] == pytest.approx(0.6)
    assert rows["dcd"]["50% of the batches"] == pytest.approx(0.3)
    assert rows["dcd"]["25% of the batches"] is None  # no epoch has ended


def test_patients_that_the_study_names_later_are_those_of_earlier_results(tmp_path: Path) -> None:
    _, places, _ = made_study(tmp_path, **KEYS)
    cases = sorted(pd.read_csv(places.results / "none_f0_s0" / "metrics.csv")["case"].unique())
    cases += sorted(pd.read_csv(places.results / "none_f1_s0" / "metrics.csv")["case"].unique())
    pd.DataFrame({"case": cases, "patient": [f"q{number // 2}" for number in range(8)]}).to_csv(
        tmp_path / "patients.csv", index=False
    )
    write_study_file(tmp_path, patients="patients.csv", **KEYS)

    tables = write_study_report(load_study(places.file), places).tables

    assert {record["Patients"] for record in tables["differences"].records} == {"4"}
