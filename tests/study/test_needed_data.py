"""Data that a study names and that are not there: one sentence, exit status 2, before any job starts."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from made_studies import made_study, write_study_file
from nndistill.errors import UserError
from nndistill.study import load_study
from nndistill.study.needed_data import refuse_missing_data

needs_snakemake = pytest.mark.skipif(sys.version_info < (3, 11), reason="Snakemake 9 needs Python 3.11")
either_way = pytest.mark.parametrize("dry_run", [["--dry-run"], pytest.param([], marks=needs_snakemake)])
VARIABLES = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")


@pytest.fixture(autouse=True)
def _no_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


def workspace_with(folder: Path, *datasets: str) -> Path:
    for name in datasets:
        (folder / "nnUNet_raw" / name).mkdir(parents=True)
    return folder


def without_spaces(text: str) -> str:
    """A text that may have been broken into lines, even inside a path."""
    return "".join(text.split())


@either_way
def test_a_data_set_that_is_not_there(nndistill, tmp_path: Path, dry_run: list[str]) -> None:
    places = write_study_file(tmp_path / "study")
    workspace = workspace_with(tmp_path / "other", "Dataset007_Pancreas")

    finished = nndistill("study", "run", places.file, "--workspace", workspace, *dry_run)

    assert finished.status == (0 if dry_run else 2), "a study can be planned where its data are not"
    message = f"no data set 4 in {workspace / 'nnUNet_raw'} (present: Dataset007_Pancreas)"
    assert without_spaces(message) in without_spaces(finished.err)
    assert "name the workspace that holds it, or set nnUNet_raw." in finished.err
    assert not places.work.exists(), "nothing was started"
    assert ("teacher, fold 0" in finished.out) == bool(dry_run)


@either_way
def test_neither_a_workspace_nor_variables(nndistill, tmp_path: Path, dry_run: list[str]) -> None:
    places = write_study_file(tmp_path)

    finished = nndistill("study", "run", places.file, *dry_run)

    assert finished.status == (0 if dry_run else 2)
    message = f"no data set 4 in {places.work / 'workspace' / 'nnUNet_raw'} (present: none)"
    assert without_spaces(message) in without_spaces(finished.err)
    assert not places.work.exists()


def test_a_study_that_is_done_needs_no_data(nndistill, tmp_path: Path) -> None:
    _, places, runs = made_study(tmp_path)

    for options in (["--dry-run"], []):
        assert nndistill("study", "run", places.file, *options).status == 0

    shutil.rmtree(places.results / runs[-1].name)
    assert "cannot run yet" in nndistill("study", "run", places.file, "--dry-run").err


def test_a_phantom_is_generated_and_needs_no_data(tmp_path: Path) -> None:
    places = write_study_file(tmp_path, dataset=None, phantom={"cases": 5})

    refuse_missing_data(load_study(places.file), folder=tmp_path, workspace=tmp_path / "none")


@needs_snakemake
def test_a_fold_that_is_not_there(nndistill, tmp_path: Path) -> None:
    places = write_study_file(tmp_path / "study", folds=[0, 3])
    workspace = workspace_with(tmp_path, "Dataset004_Hippocampus")
    refuse_missing_data(load_study(places.file), folder=places.folder, workspace=workspace)  # nnU-Net makes five
    split = workspace / "nnUNet_raw" / "Dataset004_Hippocampus" / "splits_final.json"
    split.write_text(json.dumps(3 * [{"train": ["a"], "val": ["b"]}]))

    finished = nndistill("study", "run", places.file, "--workspace", workspace)

    assert finished.status == 2
    assert "Dataset004_Hippocampus has 3 folds, from 0 on; the study names fold 3." in finished.err
    assert not places.work.exists()


def test_test_cases_that_are_not_there(tmp_path: Path) -> None:
    places = write_study_file(tmp_path, test="raw")
    workspace = workspace_with(tmp_path, "Dataset004_Hippocampus")
    (workspace / "nnUNet_raw" / "Dataset004_Hippocampus" / "imagesTs").mkdir()

    with pytest.raises(UserError, match="Dataset004_Hippocampus, which has no folder labelsTs"):
        refuse_missing_data(load_study(places.file), folder=tmp_path, workspace=workspace)


def test_variables_that_are_not_all_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = write_study_file(tmp_path)
    monkeypatch.setenv("nnUNet_raw", str(tmp_path))

    with pytest.raises(UserError, match="nnUNet_preprocessed is not set"):
        refuse_missing_data(load_study(places.file), folder=tmp_path)
