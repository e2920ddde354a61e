"""Test cases that a network has been trained on are refused."""

from __future__ import annotations

import pytest

from nndistill.errors import UserError
from nndistill.study import Study
from nndistill.study.needed_data import refuse_known_test_cases

STUDY = Study.model_validate({"dataset": 4, "methods": {"none": {}}, "folds": [1], "test": "raw"})
FOLDS = [{"train": ["c"], "val": ["a", "b"]}, {"train": ["a", "b"], "val": ["c"]}]


def refuse(cases: list[str], patients: dict[str, str]) -> None:
    refuse_known_test_cases(STUDY, "Dataset004_Hippocampus", FOLDS, patients, cases)


def test_new_cases_are_accepted() -> None:
    refuse(["c", "d"], {"a": "p0", "d": "p1"})


@pytest.mark.parametrize("teacher_fold", [[0, 1], "out-of-fold"])
def test_a_training_case_of_another_fold_that_teaches(teacher_fold: object) -> None:
    rows = {"none": {"teacher_fold": teacher_fold}}
    study = Study.model_validate({"dataset": 4, "methods": rows, "folds": [1], "test": "raw"})
    with pytest.raises(UserError, match=r"c is a training case of Dataset004_Hippocampus, fold 0\."):
        refuse_known_test_cases(study, "Dataset004_Hippocampus", FOLDS, {}, ["c"])


def test_a_training_case() -> None:
    with pytest.raises(UserError, match="1 of 2 test cases are not new to the networks: b is a training case of Data"):
        refuse(["b", "d"], {})


def test_a_further_scan_of_a_patient_of_the_training() -> None:
    with pytest.raises(UserError, match=r"d is of a patient of the training of Dataset004_Hippocampus, fold 1\. Name"):
        refuse(["c", "d"], {"a": "p0", "d": "p0"})
