"""How soon a training reaches what another ends at, against a plain count on made curves."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from made_studies import made_study
from nndistill.reporting.tables.table import Table
from nndistill.study import load_study, write_study_report
from nndistill.study.places import StudyPlaces

KEYS = {"folds": [0], "seeds": [0, 1, 2]}


def with_curve(places: StudyPlaces, run: str, dice: list[float]) -> None:
    file = places.results / run / "curves.csv"
    curves = pd.read_csv(file).iloc[[0] * len(dice)].assign(dice=dice)
    curves.to_csv(file, index=False)


def saved_table(places: StudyPlaces) -> Table | None:
    return write_study_report(load_study(places.file), places).tables.get("batches-saved")


def test_shares_are_of_trainings_with_the_same_seed(tmp_path: Path) -> None:
    _, places, _ = made_study(tmp_path, **KEYS)
    for seed, (last, curve) in enumerate(
        [(0.5, [0.5, 0.6, 0.7, 0.8]), (0.6, [0.1, 0.6, 0.7, 0.8]), (0.9, [0.1, 0.2, 0.3, 0.8])]
    ):
        with_curve(places, f"none_f0_s{seed}", [0.1, 0.2, 0.3, last])
        with_curve(places, f"dcd_f0_s{seed}", curve)

    table = saved_table(places)

    assert table is not None
    [row] = table.records
    assert row["Median share"] == "0.50"
    assert (row["95 % from"], row["to"]) == ("0.25", "never")
    assert row["Trainings that reach it"] == "2 of 3"


def test_a_share_is_of_the_batches_that_the_other_training_has(tmp_path: Path) -> None:
    slower = {"method": "none", "changes": {"epochs": 6, "iterations": 125}}
    _, places, _ = made_study(
        tmp_path, methods={"none": {}, "slower": slower}, changes={"epochs": 4, "iterations": 250}, folds=[0], seeds=[0]
    )
    with_curve(places, "none_f0_s0", [0.1, 0.2, 0.3, 0.4])
    with_curve(places, "slower_f0_s0", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6])

    table = saved_table(places)

    assert table is not None
    [row] = table.records
    assert row["Median share"] == "0.50"


def test_half_of_two_is_reached_when_both_are(tmp_path: Path) -> None:
    _, places, _ = made_study(tmp_path, folds=[0], seeds=[0, 1])
    for seed, curve in enumerate([[0.1, 0.5], [0.1, 0.2]]):
        with_curve(places, f"none_f0_s{seed}", [0.1, 0.4])
        with_curve(places, f"dcd_f0_s{seed}", curve)

    table = saved_table(places)

    assert table is not None
    assert table.records[0]["Median share"] == "never"


def test_one_training_has_no_interval(tmp_path: Path) -> None:
    _, places, _ = made_study(tmp_path, folds=[0], seeds=[0])

    table = saved_table(places)

    assert table is not None
    [row] = table.records
    assert (row["95 % from"], row["to"]) == ("–", "–")


def test_without_a_row_to_compare_there_is_no_table(tmp_path: Path) -> None:
    _, places, _ = made_study(tmp_path, methods={"none": {}}, **KEYS)

    assert saved_table(places) is None
