"""Results of runs: kept, merged, and told apart from those of another setup."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from made_studies import made_result, made_study, write_study_file
from nndistill.study import load_study, study_runs, write_study_report
from nndistill.study.places import StudyPlaces
from nndistill.study.status import study_status

KEYS = {
    "folds": [0, 1],
    "seeds": [0, 1, 2],
    "methods": {
        "none": {"tables": ["overall", "ablations"]},
        "dcd": {"tables": ["overall", "ablations"]},
        "dcd, band A": {"method": "dcd", "options": {"bands": "A"}, "tables": ["ablations"]},
    },
}


def tables_of(places: StudyPlaces) -> dict[str, str]:
    return {file.name: file.read_text() for file in sorted((places.report / "tables").iterdir())}


def test_two_half_studies_report_as_the_whole(nndistill, tmp_path: Path) -> None:
    study, whole, runs = made_study(tmp_path / "whole", **KEYS)
    write_study_report(study, whole)
    halves = [write_study_file(tmp_path / half, **KEYS) for half in ("first", "second")]
    for number, run in enumerate(runs):
        made_result(halves[number % 2], run)

    finished = nndistill("study", "report", halves[0].file, "--results", halves[1].results)

    assert finished.status == 0
    assert tables_of(halves[0]) == tables_of(whole)
    assert len(tables_of(whole)) > 10


def test_results_copied_into_a_folder_are_not_trained_again(nndistill, tmp_path: Path) -> None:
    _, places, runs = made_study(tmp_path / "here", **KEYS)
    elsewhere = write_study_file(tmp_path / "there", **KEYS)
    shutil.copytree(places.results, elsewhere.results)

    status = study_status(elsewhere, runs)
    finished = nndistill("study", "run", elsewhere.file)

    assert status.count("done") == len(runs)
    assert finished.status == 0
    assert f"{len(runs)} of {len(runs)} runs" in finished.out
    assert not elsewhere.jobs.exists()


def test_a_result_of_another_setup_is_refused_and_kept(nndistill, tmp_path: Path) -> None:
    _, places, _ = made_study(tmp_path, **KEYS)
    before = (places.results / "dcd_f0_s0" / "metrics.csv").read_bytes()
    write_study_file(tmp_path, **{**KEYS, "changes": {"epochs": 3}})

    finished = nndistill("study", "run", places.file)

    assert finished.status == 2
    assert "of another setup than the study now describes" in finished.err
    assert "--replace" in finished.err
    assert (places.results / "dcd_f0_s0" / "metrics.csv").read_bytes() == before


def test_results_are_small(tmp_path: Path) -> None:
    _, places, runs = made_study(tmp_path, **KEYS)

    sizes = [sum(f.stat().st_size for f in (places.results / run.name).iterdir()) for run in runs]

    assert max(sizes) < 1_000_000


def test_report_without_results_says_what_makes_them(nndistill, tmp_path: Path) -> None:
    finished = nndistill("study", "report", write_study_file(tmp_path).file)

    assert finished.status == 2
    assert "nndistill study run" in finished.err


def test_a_damaged_result_names_its_file(nndistill, tmp_path: Path) -> None:
    _, places, _ = made_study(tmp_path, **KEYS)
    (places.results / "dcd_f0_s0" / "metrics.csv").write_text("case,label\n")

    finished = nndistill("study", "report", places.file)

    assert finished.status == 2
    assert str(places.results / "dcd_f0_s0" / "metrics.csv") in finished.err


def test_values_of_the_overall_table(tmp_path: Path) -> None:
    """A seed's value is the mean of labels over the cases of all its folds; the row is the mean over seeds."""
    study, places, runs = made_study(tmp_path, **KEYS)
    frames = {run.name: pd.read_csv(places.results / run.name / "metrics.csv") for run in runs}
    of_seeds = [
        pd.concat([frames[f"dcd_f{fold}_s{seed}"] for fold in (0, 1)]).groupby("label")["dice"].mean().mean()
        for seed in (0, 1, 2)
    ]

    overall = write_study_report(study, places).tables["overall"]

    [row] = [record for record in overall.records if record["Model"] == "dcd"]
    assert row["Dice"] == pytest.approx(sum(of_seeds) / 3)
    assert row["Dice SD"] == pytest.approx(pd.Series(of_seeds).std())
    assert row["Trainings"] == "6"


def test_an_incomplete_study_says_what_is_missing(nndistill, tmp_path: Path) -> None:
    _, places, _ = made_study(tmp_path, **KEYS)
    shutil.rmtree(places.results / "dcd_f1_s2")

    finished = nndistill("study", "report", places.file, "--json")

    assert '"dcd_f1_s2"' in finished.out
    assert "Not all trainings are done of: dcd." in places.report.joinpath("report.html").read_text()


def test_few_seeds_are_called_few(tmp_path: Path) -> None:
    study, places, _ = made_study(tmp_path, **{**KEYS, "seeds": [0]})

    page = write_study_report(study, places).page.read_text()

    assert "too few to tell a method from luck" in page


def test_status_estimates_what_remains(nndistill, tmp_path: Path) -> None:
    _, places, runs = made_study(tmp_path, **KEYS)
    for name in ("dcd_f1_s2", "none_f0_s0"):
        shutil.rmtree(places.results / name)

    status = study_status(places, runs)

    assert status.remaining == pytest.approx(2 * 60)
    assert status.spent == pytest.approx((len(runs) - 2) * 60)
    assert "2 missing" in nndistill("study", "status", places.file).out


def test_runs_of_a_study_that_was_loaded_twice_are_equal(tmp_path: Path) -> None:
    places = write_study_file(tmp_path, **KEYS)

    first, second = (study_runs(load_study(places.file), folder=tmp_path) for _ in range(2))

    assert [run.digest for run in first] == [run.digest for run in second]
