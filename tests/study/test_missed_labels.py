"""Labels that trainings missed are counted, and the others are compared without them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from made_studies import made_study
from nndistill.reporting.tables.table import Table
from nndistill.study import load_study, study_runs, write_study_report
from nndistill.study.places import StudyPlaces
from nndistill.study.results import read_results
from nndistill.study.rows import study_rows

KEYS = {"folds": [0, 1], "seeds": [0, 3]}


def with_dice(places: StudyPlaces, run: str, label: str, dice: float) -> None:
    file = places.results / run / "metrics.csv"
    metrics = pd.read_csv(file)
    metrics.loc[metrics["label"] == label, "dice"] = dice
    metrics.to_csv(file, index=False)


def missed_table(places: StudyPlaces) -> Table | None:
    report = write_study_report(load_study(places.file), places)
    return report.tables.get("missed")


def test_labels_below_the_limit_are_counted_per_training(tmp_path: Path) -> None:
    _, places, _ = made_study(tmp_path, **KEYS)
    with_dice(places, "none_f0_s0", "rim", 0.0)
    with_dice(places, "none_f1_s0", "rim", 0.19)
    with_dice(places, "none_f1_s3", "rim", 0.2)

    table = missed_table(places)

    assert table is not None
    rows = {record["Model"]: record for record in table.records}
    assert rows["none"]["Missed"] == pytest.approx(2 / 4)
    assert rows["dcd"]["Missed"] == 0


def test_the_baseline_is_counted_in_the_trainings_that_a_row_has(tmp_path: Path) -> None:
    _, places, _ = made_study(tmp_path, **KEYS)
    with_dice(places, "none_f0_s0", "rim", 0.0)
    shutil.rmtree(places.results / "dcd_f1_s3")

    table = missed_table(places)

    assert table is not None
    rows = {record["Model"]: record for record in table.records}
    assert rows["none"]["Missed"] == pytest.approx(1 / 4)
    assert rows["dcd"]["By the baseline"] == pytest.approx(1 / 3)
    assert table.texts.loc["none", "By the baseline"] == "–"


def test_scores_and_differences_are_of_the_labels_that_nobody_missed(tmp_path: Path) -> None:
    study, places, _ = made_study(tmp_path, **KEYS)
    with_dice(places, "none_f0_s0", "rim", 0.0)

    table = missed_table(places)

    runs = study_runs(study, folder=places.folder)
    rows = {row.name: row for row in study_rows(study, runs, read_results([places.results], runs))}
    cores = {name: row.metrics.query("label == 'core'") for name, row in rows.items()}
    expected = {name: frame.groupby("seed")["dice"].mean().mean() for name, frame in cores.items()}
    of_patients = [cores[name].groupby(["patient", "seed"])["dice"].mean() for name in ("dcd", "none")]
    gain = (of_patients[0] - of_patients[1]).groupby("patient").mean().mean()
    assert table is not None
    records = {record["Model"]: record for record in table.records}
    for name in ("Teacher", "none", "dcd"):
        assert records[name]["Dice of the others"] == pytest.approx(expected[name])
    assert records["dcd"]["Difference"] == pytest.approx(gain)
    assert records["dcd"]["95 % from"] <= gain <= records["dcd"]["to"]
    assert table.texts.loc["none", "Difference"] == "–"
    assert "core" in table.caption
    assert "rim" not in table.caption


def test_a_study_that_missed_nothing_or_everything_has_no_such_table(tmp_path: Path) -> None:
    _, nothing, runs = made_study(tmp_path / "nothing", **KEYS)
    _, everything, _ = made_study(tmp_path / "everything", **KEYS)
    for label in ("core", "rim"):
        with_dice(everything, runs[-1].name, label, 0.0)

    assert missed_table(nothing) is None
    assert missed_table(everything) is None
