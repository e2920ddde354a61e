"""Folders of label maps: pairing, problems told before computing, and what is counted."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from nndistill.errors import UserError
from nndistill.evaluation.case import Measures, case_metrics
from nndistill.evaluation.folder import EvaluationIncomplete, evaluate_folder
from nndistill.evaluation.metrics_file import COLUMNS

LABELS = {"whole": (1, 2), "core": (2,)}
SPACING = (1.0, 1.5, 3.0)


def label_map(seed, shape=(9, 8, 7)):
    return np.random.default_rng(seed).integers(0, 3, shape).astype(np.uint8)


def save(folder, case, array, affine=None, ending=".nii.gz"):
    folder.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([*SPACING, 1]) if affine is None else affine), folder / f"{case}{ending}")


@pytest.fixture
def folders(tmp_path):
    """Four cases; in one, the core is missing on both sides, in another in the prediction."""
    predictions, references = tmp_path / "predictions", tmp_path / "references"
    for k in range(4):
        maps = [label_map(k), label_map(k + 10)]
        if k == 0:
            maps = [np.minimum(array, 1) for array in maps]
        if k == 1:
            maps[1] = np.minimum(maps[1], 1)
        save(references, f"case{k}", maps[0])
        save(predictions, f"case{k}", maps[1])
    return predictions, references


def test_every_case_and_label_has_a_row_in_the_contract_s_columns(folders):
    evaluation = evaluate_folder(*folders, labels=LABELS, lesions=["core"], tolerance=2.0)
    metrics = evaluation.metrics
    assert tuple(metrics.columns[: len(COLUMNS)]) == COLUMNS
    assert list(metrics["case"]) == [f"case{k}" for k in range(4) for _ in LABELS]
    expected = case_metrics(label_map(2), label_map(12), SPACING, Measures(LABELS, tolerance=2.0, lesions=("core",)))
    for label, values in expected.items():
        row = metrics[(metrics["case"] == "case2") & (metrics["label"] == label)].iloc[0]
        for name, value in values.items():
            assert row[name] == pytest.approx(value)


def test_summary_holds_the_sha256_of_every_file_that_was_measured(folders):
    predictions, references = folders
    summary = evaluate_folder(*folders, labels=LABELS).summary
    assert summary["digests"] == {
        f"case{k}": {
            "reference": hashlib.sha256((references / f"case{k}.nii.gz").read_bytes()).hexdigest(),
            "prediction": hashlib.sha256((predictions / f"case{k}.nii.gz").read_bytes()).hexdigest(),
        }
        for k in range(4)
    }


def test_summary_counts_what_the_means_leave_out(folders):
    evaluation = evaluate_folder(*folders, labels=LABELS, empty="leave_out")
    core = evaluation.summary["labels"]["core"]
    assert (core["both_empty"], core["reference_empty"], core["prediction_empty"]) == (1, 0, 1)
    assert (core["dice"]["n"], core["dice"]["left_out"]) == (3, 1)
    assert (core["hd95_mm"]["n"], core["hd95_mm"]["left_out"]) == (2, 2)
    rows = evaluation.metrics[evaluation.metrics["label"] == "core"]
    assert core["dice"]["mean"] == pytest.approx(rows["dice"].mean())
    assert core["dice"]["sem"] == pytest.approx(rows["dice"].sem())
    by_case = evaluation.metrics.groupby("case")["dice"].mean()
    assert evaluation.summary["mean_of_cases"]["dice"]["mean"] == pytest.approx(by_case.mean())
    by_label = evaluation.metrics.groupby("label")["dice"].mean()
    assert evaluation.summary["mean_of_labels"]["dice"]["mean"] == pytest.approx(by_label.mean())
    assert evaluation.summary["mean_of_labels"]["dice"]["left_out"] == 1
    assert evaluation.summary["empty"] == "leave_out"
    json.dumps(evaluation.summary, allow_nan=False)
    assert evaluation.summary["definition"] == "surface_elements"


def test_processes_share_the_cases_and_change_nothing(folders):
    seen = []
    alone = evaluate_folder(*folders, labels=LABELS)
    together = evaluate_folder(*folders, labels=LABELS, jobs=2, progress=lambda done, total: seen.append((done, total)))
    pd.testing.assert_frame_equal(alone.metrics, together.metrics)
    assert seen == [(k, 4) for k in range(1, 5)]


def test_cases_without_a_partner_are_all_named(folders):
    predictions, references = folders
    (predictions / "case0.nii.gz").unlink()
    (references / "case3.nii.gz").unlink()
    with pytest.raises(UserError) as error:
        evaluate_folder(predictions, references, labels=LABELS)
    assert f"{predictions} lacks 1 case: case0." in str(error.value)
    assert f"{references} lacks 1 case: case3." in str(error.value)
    evaluation = evaluate_folder(predictions, references, labels=LABELS, allow_missing=True)
    assert set(evaluation.metrics["case"]) == {"case1", "case2"}
    assert evaluation.summary["without_prediction"] == ["case0"]
    assert evaluation.summary["without_reference"] == ["case3"]


TURNED = np.diag([*SPACING, 1]).copy()
TURNED[:3, :3] = TURNED[:3, :3] @ [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
MOVED = np.diag([*SPACING, 1])
MOVED[1, 3] = 4.25


@pytest.mark.parametrize(
    ("array", "affine", "sentence"),
    [
        (label_map(1, (9, 8, 6)), None, "the shape of {} is (9, 8, 6), that of {} (9, 8, 7)"),
        (label_map(1), np.diag([1, 1.5, 3.5, 1]), "the spacing of {} is (1, 1.5, 3.5), that of {} (1, 1.5, 3)"),
        (label_map(1), MOVED, "the origin of {} is (0, 4.25, 0), that of {} (0, 0, 0)"),
        (label_map(1), TURNED, "the direction of {} is (0, -1, 0, 1, 0, 0, 0, 0, 1), that of {} (1, 0, 0, 0, 1, 0"),
        (label_map(1)[..., None].repeat(2, 3), None, "{} has 4 dimensions"),
    ],
)
def test_grids_that_differ_are_told_with_both_values(folders, array, affine, sentence):
    predictions, references = folders
    save(predictions, "case1", array, affine)
    with pytest.raises(UserError) as error:
        evaluate_folder(predictions, references, labels=LABELS)
    assert sentence.format(predictions / "case1.nii.gz", references / "case1.nii.gz") in str(error.value)


def test_problems_of_all_cases_are_told_at_once_and_before_computing(folders, monkeypatch):
    predictions, references = folders
    save(predictions, "case0", label_map(0, (3, 3, 3)))
    save(predictions, "case2", label_map(2), MOVED)
    (predictions / "case3.nii.gz").write_bytes(b"no image")
    monkeypatch.setattr("nndistill.evaluation.folder.case_metrics", lambda *_: pytest.fail("computed"))
    with pytest.raises(UserError) as error:
        evaluate_folder(predictions, references, labels=LABELS)
    assert all(f"case{k}" in str(error.value) for k in (0, 2, 3))
    assert "case1" not in str(error.value)


def test_grids_equal_up_to_rounding_in_the_header_are_equal(folders):
    predictions, references = folders
    affine = np.diag([*SPACING, 1]) + np.array([[1e-6, -1e-6, 1e-6, 1e-5]] * 3 + [[0] * 4])
    save(predictions, "case1", label_map(11), affine)
    evaluate_folder(predictions, references, labels=LABELS)


def cut_short(predictions, references, case):
    """A prediction whose header is there and whose voxels are not."""
    for folder in (predictions, references):
        save(folder, case, label_map(0, (30, 30, 30)))
    path = predictions / f"{case}.nii.gz"
    path.write_bytes(path.read_bytes()[:2000])


@pytest.mark.parametrize("jobs", [1, 2])
def test_broken_voxels_cost_one_case_and_not_the_others(folders, jobs):
    predictions, references = folders
    cut_short(predictions, references, "case1")
    save(predictions, "case2", label_map(2).astype(np.float32) / 2)
    with pytest.raises(EvaluationIncomplete) as error:
        evaluate_folder(predictions, references, labels=LABELS, jobs=jobs)
    assert "2 of 4 cases" in str(error.value)
    assert "case1.nii.gz is cut short" in str(error.value)
    assert "case2.nii.gz holds other values than whole numbers" in str(error.value)
    assert set(error.value.evaluation.metrics["case"]) == {"case0", "case3"}


def test_killed_process_costs_the_cases_it_had_and_not_the_others(folders, monkeypatch):
    class Pool:
        """A pool whose processes die with the third case."""

        def __init__(self, *_, **__):
            self.begun = 0

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def submit(self, function, *arguments):
            self.begun += 1
            future = Future()
            if self.begun > 2:
                future.set_exception(BrokenProcessPool())
            else:
                future.set_result(function(*arguments))
            return future

    monkeypatch.setattr("nndistill.evaluation.folder.ProcessPoolExecutor", Pool)
    with pytest.raises(EvaluationIncomplete, match="case2: its process was killed") as error:
        evaluate_folder(*folders, labels=LABELS, jobs=2)
    assert set(error.value.evaluation.metrics["case"]) == {"case0", "case1"}


def test_no_case_at_all_that_can_be_read(folders):
    predictions, references = folders
    for k in range(4):
        cut_short(predictions, references, f"case{k}")
    with pytest.raises(EvaluationIncomplete) as error:
        evaluate_folder(predictions, references, labels=LABELS)
    assert error.value.evaluation is None


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda p, r: [f.unlink() for f in p.iterdir()], "contains no NIfTI file"),
        (lambda p, r: [f.rename(p / f"x{f.name}") for f in list(p.iterdir())], "no case is in both"),
        (lambda p, r: save(p, "case0", label_map(0), ending=".nii"), "contains case0 twice"),
    ],
)
def test_folders_that_do_not_fit(folders, spoil, sentence):
    spoil(*folders)
    with pytest.raises(UserError, match=sentence):
        evaluate_folder(*folders, labels=LABELS)


def test_folder_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="is not a folder"):
        evaluate_folder(tmp_path / "a", tmp_path / "b", labels=LABELS)


def test_values_that_no_label_has_are_reported(folders):
    predictions, references = folders
    array = label_map(11)
    array[0, 0, 0] = 4  # such as the enhancing tumour of older BraTS
    save(predictions, "case1", array)
    summary = evaluate_folder(predictions, references, labels=LABELS).summary
    assert summary["other_values"] == {"in_references": [], "in_predictions": [4]}
