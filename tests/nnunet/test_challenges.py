"""From a challenge's download to an evaluated student, through the commands of the docs, on small phantoms."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd
import pytest

from nndistill.datasets import generate_phantom
from nndistill.nnunet.data.splits import adopt_split
from tiny import TINY

NAMES = {"brats2024": "Dataset226_BraTS2024", "isles2022": "Dataset229_ISLES2022"}
GRIDS = {"shape": (32, 40, 32), "spacing": (4.0, 4.0, 4.0)}


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """Where nnU-Net's three variables point to, and back after the test."""
    for variable in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(variable, str(tmp_path / "work" / variable))
    monkeypatch.setenv("nnUNet_n_proc_DA", "1")  # nnU-Net's planner takes no 0
    return tmp_path / "work"


@pytest.fixture
def plan_and_preprocess(monkeypatch):
    """`nnUNetv2_plan_and_preprocess` in this process."""
    from nnunetv2.experiment_planning.plan_and_preprocess_entrypoints import plan_and_preprocess_entry

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["nnUNetv2_plan_and_preprocess", *map(str, arguments)])
        plan_and_preprocess_entry()

    return call


def _through(nndistill, plan_and_preprocess, workspace, tmp_path, layout, *options):
    number, dataset = NAMES[layout][7:10], NAMES[layout]
    source = generate_phantom(tmp_path, layout=layout, cases=7, jobs=1, **GRIDS)
    prepared = nndistill("prepare", layout, source, "--dataset-id", number, *options)
    assert prepared.status == 0, prepared.err
    plan_and_preprocess(
        *("-d", number, "--verify_dataset_integrity", "-pl", "ResEncUNetPlanner"),
        *("-c", "3d_fullres", "-np", 1, "-npfp", 1),
    )
    raw, preprocessed = workspace / "nnUNet_raw" / dataset, workspace / "nnUNet_preprocessed" / dataset
    split = json.loads((raw / "splits_final.json").read_text())
    assert json.loads((preprocessed / "splits_final.json").read_text()) == split

    small = ["--features", 8, 16, 32, "--batch-size", 2, "--patch-size", 32, 32, 16]
    taught = nndistill("teach", number, *small, *TINY, "--epochs", 1, "--no-validate", "--fold", 1)
    assert taught.status == 0, taught.err
    results = workspace / "nnUNet_results" / dataset
    (teacher,) = results.glob("nnUNetTrainerRecipe__*")
    assert nndistill("distill", teacher, "--fold", 1, *TINY, "--epochs", 1).status == 0
    (student,) = results.glob("nnUNetTrainerDistill__*")
    validation = student / "fold_1" / "validation"
    assert {path.name for path in validation.glob("*.nii.gz")} == {f"{case}.nii.gz" for case in split[1]["val"]}

    metrics = tmp_path / "metrics.csv"
    evaluated = nndistill(
        *("evaluate", validation, preprocessed / "gt_segmentations", "--out", metrics, "--allow-missing", "--jobs", 1),
        *(["--regions"] if "--regions" in options else []),
    )
    assert evaluated.status == 0, evaluated.err
    table = pd.read_csv(metrics)
    assert set(table["case"]) == set(split[1]["val"])
    return table


@pytest.mark.slow
def test_isles2022_from_download_to_evaluated_student(nndistill, plan_and_preprocess, workspace, tmp_path):
    table = _through(nndistill, plan_and_preprocess, workspace, tmp_path, "isles2022")
    assert set(table["label"]) == {"lesion"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "labels"),
    [
        ([], {"NETC", "SNFH", "ET", "RC"}),
        (["--regions"], {"whole tumour", "tumour core", "ET", "RC"}),
        (["--copy", "--split", "nnunet"], {"NETC", "SNFH", "ET", "RC"}),
    ],
    ids=["labels", "regions", "copied"],
)
def test_brats2024_from_download_to_evaluated_student(
    nndistill, plan_and_preprocess, workspace, tmp_path, options, labels
):
    table = _through(nndistill, plan_and_preprocess, workspace, tmp_path, "brats2024", *options)
    assert set(table["label"]) == labels


def test_other_folds_than_those_that_models_were_trained_on_are_refused(nndistill, workspace, tmp_path):
    def write(parent: str, folds: list[dict[str, list[str]]]) -> Path:
        path = workspace / parent / "Dataset226_BraTS2024" / "splits_final.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(folds))
        return path

    from nndistill.errors import UserError

    write("nnUNet_raw", [{"train": ["a", "b"], "val": ["c"]}])
    adopt_split("Dataset226_BraTS2024")
    used = write("nnUNet_preprocessed", [{"train": ["b", "a"], "val": ["c"]}, {"train": ["c"], "val": ["a"]}])
    adopt_split("Dataset226_BraTS2024")  # the same first fold, and one more
    write("nnUNet_raw", [{"train": ["a", "c"], "val": ["b"]}])
    with pytest.raises(UserError, match=r"holds other folds than .*: delete the first to train on the second"):
        adopt_split("Dataset226_BraTS2024")
    assert json.loads(used.read_text())[0]["val"] == ["c"]
