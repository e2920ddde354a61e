"""`nndistill evaluate --probabilities`: what is measured where, the files, and every way to fail."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import SimpleITK
from scipy import stats

from nndistill import files
from nndistill.evaluation.calibration import Calibration
from nndistill.evaluation.calibration_of_folder import (
    ANY_LABEL,
    FolderCalibration,
    Outputs,
    case_calibration,
    write_calibration,
)
from nndistill.evaluation.metrics_file import COLUMNS, read_metrics

LABELS = {"background": 0, "core": 2, "rim": 1}
SHAPE = (6, 7, 8)
AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])


@pytest.fixture
def data(tmp_path) -> Path:
    """Two cases, each predicted right with a probability of 0.7, and 0.2 and 0.1 for the other two outputs."""
    for folder in ("labels", "predictions"):
        (tmp_path / folder).mkdir()
    (tmp_path / "labels" / "dataset.json").write_text(json.dumps({"labels": LABELS}))
    for number in range(2):
        reference = np.zeros(SHAPE, np.uint8)
        reference[2:4, 3:5, 1 + number : 5] = 1
        reference[3, 3:5, 2:4] = 2
        for folder in ("labels", "predictions"):
            nib.save(nib.Nifti1Image(reference, AFFINE), tmp_path / folder / f"case{number}.nii.gz")
        write(tmp_path / "predictions", f"case{number}", probabilities_of(reference))
    return tmp_path


def probabilities_of(reference: np.ndarray) -> np.ndarray:
    return np.stack([np.choose((reference - value) % 3, [0.7, 0.2, 0.1]) for value in range(3)]).astype(np.float32)


def write(folder: Path, case: str, probabilities: np.ndarray, **properties) -> None:
    """As nnU-Net writes them; `(outputs, x, y, z)`."""
    np.savez_compressed(folder / f"{case}.npz", probabilities=probabilities.transpose(0, 3, 2, 1))
    place = {"spacing": (1.0, 1.0, 2.0), "origin": (0.0, 0.0, 0.0), "direction": (-1, 0, 0, 0, -1, 0, 0, 0, 1)}
    (folder / f"{case}.pkl").write_bytes(pickle.dumps({"sitk_stuff": place | properties, "spacing": [np.float64(2)]}))


def evaluate(nndistill, data, *options):
    given = ("evaluate", data / "predictions", data / "labels", "--jobs", 1, "--out", data / "metrics.csv")
    return nndistill(*given, "--probabilities", data / "predictions", *options)


def test_calibration_of_each_label_is_measured_in_both_scopes(nndistill, data):
    result = evaluate(nndistill, data, "--json")
    assert result.status == 0, result.err
    table = pd.read_csv(data / "calibration.csv")
    assert list(table.columns) == ["case", "label", "scope", "voxels", "ece", "brier"]
    assert set(table["label"]) == {"rim", "core", ANY_LABEL}
    assert set(table[table["scope"] == "image"]["voxels"]) == {int(np.prod(SHAPE))}
    assert set(table[table["scope"] == "foreground"]["voxels"]) == {2 * 2 * 4, 2 * 2 * 3}
    row = table.set_index(["case", "label", "scope"]).loc[("case0", ANY_LABEL, "image")]
    inside, outside = 2 * 2 * 4, int(np.prod(SHAPE)) - 2 * 2 * 4
    core, rim = 4, inside - 4  # where any label has a probability of 0.9 and of 0.8; elsewhere it has 0.3
    everything = inside + outside
    assert row["brier"] == pytest.approx((outside * 0.3**2 + rim * 0.2**2 + core * 0.1**2) / everything, rel=1e-4)
    assert row["ece"] == pytest.approx((outside * 0.3 + rim * 0.2 + core * 0.1) / everything, rel=1e-4)

    metrics = read_metrics(data / "metrics.csv")
    assert list(metrics.columns[: len(COLUMNS)]) == list(COLUMNS)
    told = json.loads(result.out)["calibration"]
    kept = json.loads((data / "calibration.json").read_text())
    assert told["labels"] == kept["labels"]
    assert kept["bins"] == 15
    assert sum(kept["labels"]["rim"]["image"]["voxels"]) == 2 * np.prod(SHAPE)
    assert {Path(file).name for file in told["files"]} == {
        *("calibration.csv", "calibration.json"),
        *(f"reliability.{ending}" for ending in ("pdf", "svg", "png")),
    }
    assert all(Path(file).stat().st_size for file in told["files"])


def test_table_is_shown_and_files_are_named_after_the_metrics(nndistill, data):
    result = evaluate(nndistill, data, "--out", data / "dcd.csv")
    assert result.status == 0, result.err
    assert "Calibration, 15 bins, mean ± SEM over cases" in result.out
    names = {file.name for file in data.iterdir()}
    assert {"dcd.calibration.csv", "dcd.calibration.json", "dcd.reliability.svg"} < names
    assert evaluate(nndistill, data, "--out", data / "dcd.csv").status == 0  # ours are replaced


def test_nifti_and_npz_tell_the_same(nndistill, data):
    assert evaluate(nndistill, data).status == 0
    before = (data / "calibration.csv").read_bytes()
    folder = data / "predictions"
    (folder / "probabilities").mkdir()
    for case in ("case0", "case1"):
        array = np.load(folder / f"{case}.npz")["probabilities"].transpose(3, 2, 1, 0)
        nib.save(nib.Nifti1Image(array, AFFINE), folder / "probabilities" / f"{case}.nii.gz")
        (folder / f"{case}.npz").unlink()
    assert evaluate(nndistill, data).status == 0
    assert (data / "calibration.csv").read_bytes() == before


def test_orientation_in_which_the_network_saw_the_image_is_undone(nndistill, data):
    """The references' first two axes point the other way in ITK's frame than those of an image in LPS."""
    assert evaluate(nndistill, data).status == 0
    before = (data / "calibration.csv").read_bytes()
    for case in ("case0", "case1"):
        reference = SimpleITK.ReadImage(str(data / "labels" / f"{case}.nii.gz"))
        own = SimpleITK.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(reference.GetDirection())
        turned = SimpleITK.DICOMOrient(reference, "SAL")
        place = {name: getattr(turned, f"Get{name.title()}")() for name in ("spacing", "origin", "direction")}
        probabilities = probabilities_of(SimpleITK.GetArrayFromImage(turned)).transpose(0, 3, 2, 1)
        write(data / "predictions", case, probabilities, **place, original_orientation=own)
    assert evaluate(nndistill, data).status == 0
    assert (data / "calibration.csv").read_bytes() == before


def test_voxels_that_are_not_annotated_do_not_count(nndistill, data):
    reference = np.asarray(nib.load(data / "labels" / "case0.nii.gz").dataobj).copy()
    reference[0] = 3
    nib.save(nib.Nifti1Image(reference, AFFINE), data / "labels" / "case0.nii.gz")
    (data / "labels" / "dataset.json").write_text(json.dumps({"labels": LABELS | {"ignore": 3}}))
    assert evaluate(nndistill, data).status == 0
    table = pd.read_csv(data / "calibration.csv").set_index(["case", "scope"])
    assert set(table.loc[("case0", "image"), "voxels"]) == {5 * 7 * 8}


def test_box_is_around_reference_and_prediction(nndistill):
    outputs = Outputs.of({"labels": {"background": 0, "lesion": 1}})
    reference, lesion = np.zeros((8, 8, 8), np.uint8), np.zeros((8, 8, 8), np.float32)
    reference[1, 1, 1] = 1
    lesion[4, 2, 1] = 0.6
    found = case_calibration(np.stack([1 - lesion, lesion]), reference, outputs)
    assert list(found) == ["lesion"]  # one label is all labels
    assert found["lesion"]["foreground"].voxels.sum() == 4 * 2 * 1
    nothing = case_calibration(np.stack([1 - 0 * lesion, 0 * lesion]), 0 * reference, outputs)
    assert nothing["lesion"]["foreground"].voxels.sum() == 0
    assert np.isnan(nothing["lesion"]["foreground"].brier)


def test_regions_have_probabilities_of_their_own(nndistill):
    outputs = Outputs.of({"labels": {"background": 0, "whole": [1, 2], "core": [2]}, "regions_class_order": [1, 2]})
    reference = np.array([0, 1, 2, 2], np.uint8).reshape(4, 1, 1)
    whole, core = np.array([0.1, 0.9, 0.9, 0.4]), np.array([0.1, 0.2, 0.8, 0.3])
    found = case_calibration(np.stack([whole, core]).reshape(2, 4, 1, 1), reference, outputs)
    assert found["whole"]["image"].brier == pytest.approx(np.mean((whole - [0, 1, 1, 1]) ** 2))
    assert found["core"]["image"].brier == pytest.approx(np.mean((core - [0, 0, 1, 1]) ** 2))
    assert ANY_LABEL not in found


class Harmful:
    def __reduce__(self):
        return print, ("run",)


def missing(folder):
    (folder / "case1.npz").unlink()


def without_properties(folder):
    (folder / "case1.pkl").unlink()


def harmful(folder):
    (folder / "case1.pkl").write_bytes(pickle.dumps(Harmful()))


def cut(folder):
    file = folder / "case1.npz"
    file.write_bytes(file.read_bytes()[:200])


def elsewhere(folder):
    write(folder, "case1", np.full((3, 6, 7, 9), 0.3, np.float32))


def fewer(folder):
    write(folder, "case1", np.full((2, *SHAPE), 0.5, np.float32))


def logits(folder):
    write(folder, "case1", np.full((3, *SHAPE), 7, np.float32))


def not_finite(folder):
    write(folder, "case1", np.full((3, *SHAPE), np.nan, np.float32))


def another_array(folder):
    np.savez(folder / "case1.npz", softmax=np.zeros(3))


def one_value(folder):
    np.savez(folder / "case1.npz", probabilities=np.float32(1))


def nowhere(folder):
    write(folder, "case1", np.full((3, *SHAPE), 0.3, np.float32), original_orientation="RAS", spacing=None)


def damaged_properties(folder):
    (folder / "case1.pkl").write_bytes(b"not a pickle")


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (missing, "case1 has neither case1.npz nor probabilities/case1.nii.gz"),
        (without_properties, "case1.npz has no case1.pkl next to it"),
        (harmful, "builtins.print, which could run code"),
        (cut, "case1.npz cannot be read as nnU-Net's probabilities"),
        (elsewhere, "holds 3×6×7×9 values and not 3×6×7×8"),
        (fewer, "holds 2×6×7×8 values and not 3×6×7×8"),
        (logits, "case1.npz holds values that are no probabilities"),
        (not_finite, "case1.npz holds values that are no probabilities"),
        (one_value, "case1.npz holds 1 values and not 3×6×7×8"),
        (nowhere, "case1.pkl does not say where the image is"),
        (damaged_properties, "case1.pkl was not read"),
        (another_array, "'probabilities is not a file in the archive"),
    ],
)
def test_probabilities_that_are_none_are_a_sentence(nndistill, data, damage, sentence):
    damage(data / "predictions")
    result = evaluate(nndistill, data)
    assert result.status == 2
    assert sentence.strip("'") in result.err
    assert result.err.endswith("See the option --probabilities.")
    assert "run" not in result.out.split()
    assert not (data / "calibration.csv").exists()


@pytest.mark.parametrize(
    ("folder", "sentence"),
    [("labels", "case0 has neither case0.npz nor"), ("nowhere", "nowhere of probabilities. See")],
)
def test_probabilities_that_are_missing_are_a_sentence_before_anything_is_measured(nndistill, data, folder, sentence):
    result = evaluate(nndistill, data, "--probabilities", data / folder)

    assert result.status == 2
    assert sentence in result.err
    assert not (data / "metrics.csv").exists()


def test_calibration_of_another_program_is_left_alone(nndistill, data):
    (data / "calibration.csv").write_text("years of work")
    result = evaluate(nndistill, data)
    assert result.status == 2
    assert "calibration.csv was not made by nndistill evaluate" in result.err
    assert (data / "calibration.csv").read_text() == "years of work"


def calibration(values: list[float]) -> FolderCalibration:
    """Of one label in as many cases, by `ece` in the scope image; `brier` is half of it."""
    rows = [
        {"case": f"case{number}", "label": "core", "scope": scope, "voxels": 0, "ece": value, "brier": value / 2}
        for number, value in enumerate(values)
        for scope, value in (("image", value), ("foreground", np.nan))
    ]
    nothing = Calibration.of(np.zeros(0), np.zeros(0, np.bool_))
    return FolderCalibration(pd.DataFrame(rows), {"core": {"image": nothing, "foreground": nothing}})


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("values", [[0.1], [0.1, 0.4, np.nan, 0.2]])
def test_means_of_few_cases_or_of_none_warn_of_nothing(values):
    scopes = calibration(values).summary()["labels"]["core"]
    defined = [value for value in values if not np.isnan(value)]
    error = stats.sem(defined) if len(defined) > 1 else np.nan
    for column, share in (("ece", 1.0), ("brier", 0.5)):
        assert scopes["image"][f"{column}_mean"] == pytest.approx(share * np.mean(defined))
        assert scopes["image"][f"{column}_sem"] == pytest.approx(share * error, nan_ok=True)
        assert np.isnan([scopes["foreground"][f"{column}_{what}"] for what in ("mean", "sem")]).all()


@pytest.mark.filterwarnings("error")
def test_one_case_without_foreground_is_shown_without_a_warning(nndistill, data):
    for folder in ("labels", "predictions"):
        (data / folder / "case1.nii.gz").unlink()
        nib.save(nib.Nifti1Image(np.zeros(SHAPE, np.uint8), AFFINE), data / folder / "case0.nii.gz")
    write(data / "predictions", "case0", np.stack([np.full(SHAPE, share, np.float32) for share in (0.9, 0.1, 0.0)]))
    result = evaluate(nndistill, data)
    assert result.status == 0, result.err
    assert "Warning" not in result.err


def test_killed_between_its_two_files_they_are_written_again(tmp_path, monkeypatch):
    atomic_path, calls = files.atomic_path, []

    def killed_at_the_second(path):
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return atomic_path(path)

    monkeypatch.setattr(files, "atomic_path", killed_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        write_calibration(calibration([0.1]), tmp_path / "metrics.csv")
    assert len(list(tmp_path.iterdir())) == 1
    table, summary = write_calibration(calibration([0.1]), tmp_path / "metrics.csv")
    assert table.is_file()
    assert summary.is_file()
