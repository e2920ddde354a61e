"""Decathlon tasks: what is sound arrives unchanged, what is not is refused before anything is written."""

from __future__ import annotations

import errno
import gzip
import json
import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from nndistill.datasets import find_decathlon, prepare
from nndistill.errors import UserError


def prepare_decathlon(task, raw, *, dataset_id, **options):
    return prepare(find_decathlon(task), raw, dataset_id=dataset_id, **options).folder


def describe(source, cases, **changes):
    content = {
        "name": "Hepatic Vessel",
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "the vessel", "2": "tumour"},
        "training": [{"image": f"./imagesTr/{c}.nii.gz", "label": f"./labelsTr/{c}.nii.gz"} for c in cases],
        "test": [],
        "licence": "CC-BY-SA 4.0",
    } | changes
    (source / "dataset.json").write_text(json.dumps(content))


@pytest.fixture
def task(tmp_path, save):
    """A task of three cases with one channel."""
    rng = np.random.default_rng(0)
    source = tmp_path / "Task08_HepaticVessel"
    for case in ("a_1", "b", "c"):
        save(source / "imagesTr" / f"{case}.nii.gz", rng.normal(size=(9, 8, 7)).astype(np.float32))
        save(source / "labelsTr" / f"{case}.nii.gz", rng.integers(0, 3, (9, 8, 7)).astype(np.uint8))
    describe(source, ("a_1", "b", "c"))
    return source


def relabel(task, case, save, change):
    path = task / "labelsTr" / f"{case}.nii.gz"
    image = nib.load(path)
    array, affine = change(np.asarray(image.dataobj).copy(), image.affine.copy())
    save(path, array, affine)


def test_three_dimensional_images_stay_where_they_are(task, tmp_path):
    folder = prepare_decathlon(task, tmp_path / "raw", dataset_id=8)
    assert folder == tmp_path / "raw" / "Dataset008_HepaticVessel"
    described = json.loads((folder / "dataset.json").read_text())
    assert described["channel_names"] == {"0": "CT"}
    assert described["labels"] == {"background": 0, "the vessel": 1, "tumour": 2}
    assert described["numTraining"] == 3
    assert described["licence"] == "CC-BY-SA 4.0"
    assert described["dataset"] == {
        case: {
            "images": [str(task / "imagesTr" / f"{case}.nii.gz")],
            "label": str(task / "labelsTr" / f"{case}.nii.gz"),
        }
        for case in ("a_1", "b", "c")
    }
    assert not list(folder.rglob("*.nii.gz"))


def test_copies_are_files_of_their_own(task, tmp_path):
    folder = prepare_decathlon(task, tmp_path / "raw", dataset_id=8, copy=True)
    assert "dataset" not in json.loads((folder / "dataset.json").read_text())
    for case in ("a_1", "b", "c"):
        for copied, original in (
            (folder / "imagesTr" / f"{case}_0000.nii.gz", task / "imagesTr" / f"{case}.nii.gz"),
            (folder / "labelsTr" / f"{case}.nii.gz", task / "labelsTr" / f"{case}.nii.gz"),
        ):
            assert copied.read_bytes() == original.read_bytes()
            assert not os.path.samefile(copied, original)


def test_test_cases_are_linked_into_the_folder_that_prediction_takes(task, tmp_path, save):
    image = save(task / "imagesTs" / "t.nii.gz", np.random.default_rng(1).normal(size=(4, 5, 6)).astype(np.float32))
    describe(task, ("a_1", "b", "c"), test=["imagesTs/t.nii.gz"])
    folder = prepare_decathlon(task, tmp_path / "raw", dataset_id=8)
    assert os.path.samefile(folder / "imagesTs" / "t_0000.nii.gz", image)
    assert json.loads((folder / "dataset.json").read_text())["numTraining"] == 3


def test_test_cases_that_may_only_be_read_are_linked(task, tmp_path, save, monkeypatch):
    """As on a disk that is mounted for reading, where not even root may open a file to write."""
    image = save(task / "imagesTs" / "t.nii.gz", np.random.default_rng(1).normal(size=(4, 5, 6)).astype(np.float32))
    describe(task, ("a_1", "b", "c"), test=["imagesTs/t.nii.gz"])
    open_ = Path.open

    def on_a_read_only_disk(self, mode="r", *args, **kwargs):
        if mode not in {"r", "rb"} and task.resolve() in self.resolve().parents:
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return open_(self, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", on_a_read_only_disk)
    folder = prepare_decathlon(task, tmp_path / "raw", dataset_id=8)
    assert os.path.samefile(folder / "imagesTs" / "t_0000.nii.gz", image)


def test_four_dimensional_images_are_split_into_channels(tmp_path, save, affine):
    source = tmp_path / "Task01"
    image = np.random.default_rng(0).integers(0, 999, (6, 7, 5, 2)).astype(np.int16)
    save(source / "imagesTr" / "x.nii.gz", image)
    save(source / "labelsTr" / "x.nii.gz", np.eye(7, 5, dtype=np.uint8)[None].repeat(6, axis=0))
    save(source / "imagesTs" / "t.nii.gz", image + 1)
    describe(source, ["x"], name="BRATS", modality={"0": "FLAIR", "1": "T1w"}, test=["./imagesTs/t.nii.gz"])
    folder = prepare_decathlon(source, tmp_path / "raw", dataset_id=1)
    for channel in range(2):
        for path, expected in (("imagesTr/x", image), ("imagesTs/t", image + 1)):
            read = nib.load(folder / f"{path}_{channel:04d}.nii.gz")
            np.testing.assert_array_equal(read.dataobj, expected[..., channel])
            np.testing.assert_allclose(read.affine, affine)
            assert read.get_data_dtype() == np.int16
    described = json.loads((folder / "dataset.json").read_text())
    assert described["channel_names"] == {"0": "FLAIR", "1": "T1w"}
    assert described["numTraining"] == 1


@pytest.mark.parametrize(
    ("second", "sentence"),
    [("zeros", "x.nii.gz, channel T1w, is empty"), ("copy", "channel T1w holds the same voxels as channel FLAIR")],
)
def test_channels_within_a_file_are_checked_like_files(tmp_path, save, second, sentence):
    source = tmp_path / "Task01"
    image = np.random.default_rng(0).integers(0, 999, (6, 7, 5, 2)).astype(np.int16)
    image[..., 1] = 0 if second == "zeros" else image[..., 0]
    save(source / "imagesTr" / "x.nii.gz", image)
    save(source / "labelsTr" / "x.nii.gz", np.eye(7, 5, dtype=np.uint8)[None].repeat(6, axis=0))
    describe(source, ["x"], name="BRATS", modality={"0": "FLAIR", "1": "T1w"})
    with pytest.raises(UserError, match=sentence):
        prepare_decathlon(source, tmp_path / "raw", dataset_id=1)


def test_leftovers_of_macos_and_paths_of_another_machine_are_understood(task, tmp_path):
    (task / "imagesTr" / "._b.nii.gz").write_bytes(b"resource fork")
    describe(
        task,
        [],
        training=[
            {"image": "./imagesTr/._b.nii.gz", "label": "./labelsTr/._b.nii.gz"},
            {"image": "/elsewhere/Task08/imagesTr/b.nii.gz", "label": "/elsewhere/Task08/labelsTr/b.nii.gz"},
            {"image": str(task / "imagesTr" / "c.nii.gz"), "label": str(task / "labelsTr" / "c.nii.gz")},
        ],
    )
    folder = prepare_decathlon(task, tmp_path / "raw", dataset_id=8)
    assert sorted(json.loads((folder / "dataset.json").read_text())["dataset"]) == ["b", "c"]


def test_files_without_compression_are_compressed(tmp_path, save):
    source = tmp_path / "Task"
    array = np.random.default_rng(0).integers(0, 2, (4, 5, 6)).astype(np.uint8)
    for part in ("imagesTr", "labelsTr"):
        save(source / part / "x.nii", array)
    describe(source, [], training=[{"image": "imagesTr/x.nii", "label": "labelsTr/x.nii"}])
    folder = prepare_decathlon(source, tmp_path / "raw", dataset_id=1)
    for path in (folder / "imagesTr" / "x_0000.nii.gz", folder / "labelsTr" / "x.nii.gz"):
        gzip.decompress(path.read_bytes())
        np.testing.assert_array_equal(nib.load(path).dataobj, array)


def cut(task, save):
    path = task / "imagesTr" / "b.nii.gz"
    path.write_bytes(path.read_bytes()[:-200])


DAMAGES = {
    "truncated": (cut, r"imagesTr/b\.nii\.gz is cut short or damaged"),
    "missing": (lambda task, save: (task / "labelsTr" / "b.nii.gz").unlink(), r"labelsTr/b\.nii\.gz is missing"),
    "no image": (
        lambda task, save: (task / "imagesTr" / "b.nii.gz").write_bytes(b"text"),
        r"imagesTr/b\.nii\.gz cannot be read as NIfTI",
    ),
    "shape": (
        lambda task, save: relabel(task, "b", save, lambda array, affine: (array[:-1], affine)),
        r"labelsTr/b\.nii\.gz has shape 8×8×7, but .*imagesTr/b\.nii\.gz has 9×8×7",
    ),
    "dimension": (
        lambda task, save: save(task / "imagesTr" / "b.nii.gz", np.zeros((9, 8, 7, 2), np.uint8)),
        r"imagesTr/b\.nii\.gz has shape 9×8×7×2: not three dimensions with 1 channel\(s\) \(CT\)",
    ),
    "shifted": (
        lambda task, save: relabel(task, "b", save, lambda array, affine: (array, affine + np.eye(4, k=3))),
        r"labelsTr/b\.nii\.gz and .*imagesTr/b\.nii\.gz are at different positions: up to 1 mm apart",
    ),
    "label": (
        lambda task, save: relabel(task, "b", save, lambda array, affine: (array + 5, affine)),
        r"labelsTr/b\.nii\.gz holds the label 5, .*known are 0 background, 1 the vessel, 2 tumour",
    ),
    "fraction": (
        lambda task, save: relabel(task, "b", save, lambda array, affine: (array * np.float32(0.5), affine)),
        r"labelsTr/b\.nii\.gz holds the label 0\.5",
    ),
    "nan": (
        lambda task, save: save(task / "imagesTr" / "b.nii.gz", np.full((9, 8, 7), np.nan, np.float32)),
        r"imagesTr/b\.nii\.gz holds NaN or infinite values",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_told_with_the_file_before_anything_is_written(task, tmp_path, save, damage):
    harm, sentence = DAMAGES[damage]
    harm(task, save)
    with pytest.raises(UserError, match=sentence) as caught:
        prepare_decathlon(task, tmp_path / "raw", dataset_id=8)
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in (tmp_path / "raw").rglob("*.*")) == ["provenance.json", "report.json"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"modality": None}, 'does not name "modality" and "labels": is this a task of the Decathlon'),
        ({"training": "all"}, 'has no list "training" of pairs'),
        ({"training": []}, "lists no training case"),
        ({"training": [{"image": "imagesTr/b.nii.gz", "label": "labelsTr/b.nii.gz"}] * 2}, "lists the case b twice"),
        ({"labels": {"zero": "background"}}, "keys that are not whole numbers: zero"),
        ({"labels": {"0": "background", "2": "tumour"}}, r"skips a label.*\[0, 2\]"),
        ({"labels": {"0": "background", "1": "tumour", "2": "tumour"}}, "gives two labels the same name"),
    ],
)
def test_a_description_that_makes_no_sense_is_refused(task, tmp_path, changes, sentence):
    describe(task, ("a_1", "b", "c"), **changes)
    with pytest.raises(UserError, match=sentence):
        prepare_decathlon(task, tmp_path / "raw", dataset_id=8)
    assert not (tmp_path / "raw").exists()


def test_a_folder_without_a_description_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"dataset\.json is missing"):
        prepare_decathlon(tmp_path, tmp_path / "raw", dataset_id=8)


def test_somebody_elses_data_set_is_left_alone(task, tmp_path):
    mine = tmp_path / "raw" / "Dataset008_HepaticVessel" / "dataset.json"
    mine.parent.mkdir(parents=True)
    mine.write_text("{}")
    with pytest.raises(UserError, match="holds something that nndistill did not make"):
        prepare_decathlon(task, tmp_path / "raw", dataset_id=8)
    assert mine.read_text() == "{}"


def test_the_real_hippocampus_arrives_voxel_by_voxel(hippocampus, tmp_path, capsys):
    folder = prepare_decathlon(hippocampus, tmp_path, dataset_id=4, copy=True)
    described = json.loads((folder / "dataset.json").read_text())
    assert described["labels"] == {"background": 0, "Anterior": 1, "Posterior": 2}
    assert described["numTraining"] == 200
    labels = sorted((hippocampus / "labelsTr").glob("[!.]*.nii.gz"))
    assert len(labels) == len(list((folder / "imagesTr").iterdir())) == 200

    def count(paths):
        return sum(np.bincount(np.asarray(nib.load(path).dataobj).ravel().astype(int), minlength=3) for path in paths)

    np.testing.assert_array_equal(count(folder / "labelsTr" / path.name for path in labels), count(labels))


def test_nnunet_finds_nothing_wrong_with_hippocampi(hippocampus, tmp_path, capsys):
    verify = pytest.importorskip("nnunetv2.experiment_planning.verify_dataset_integrity")
    few = tmp_path / "Task04_Hippocampus"
    names = sorted(path.name for path in (hippocampus / "imagesTr").glob("[!.]*.nii.gz"))[:10]
    for part in ("imagesTr", "labelsTr"):
        (few / part).mkdir(parents=True)
        for name in names:
            shutil.copy(hippocampus / part / name, few / part / name)
    content = json.loads((hippocampus / "dataset.json").read_text())
    content["training"] = [p for p in content["training"] if p["image"].split("/")[-1] in names]
    (few / "dataset.json").write_text(json.dumps(content))
    folder = prepare_decathlon(few, tmp_path, dataset_id=4)
    verify.verify_dataset_integrity(str(folder), num_processes=1)
    printed = capsys.readouterr().out
    assert "most likely OK" in printed
    assert "Warning" not in printed


def test_more_than_255_labels_arrive(tmp_path, save, nndistill):
    source = tmp_path / "Task60_Parcels"
    values = np.arange(343).reshape(7, 7, 7) % 301
    save(source / "imagesTr" / "p.nii", np.random.default_rng(0).normal(size=values.shape).astype(np.float32))
    save(source / "labelsTr" / "p.nii", values.astype(np.int16))
    named = {str(value): f"r{value}" if value else "background" for value in range(301)}
    pair = {"image": "imagesTr/p.nii", "label": "labelsTr/p.nii"}
    describe(source, [], labels=named, training=[pair], name="Parcels")
    result = nndistill("prepare", "decathlon", source, "--dataset-id", 60, "--workspace", tmp_path / "work")
    assert result.status == 0, result.err
    [file] = (tmp_path / "work").rglob("labelsTr/p.nii.gz")
    stored = np.asarray(nib.load(file).dataobj)
    np.testing.assert_array_equal(stored, values)
    assert stored.dtype == np.uint16


def test_labels_that_nnunet_cannot_hold_are_refused(task, tmp_path):
    describe(task, ("a_1",), labels={str(value): f"r{value}" for value in range(32769)})
    with pytest.raises(UserError, match="the label r32768 has the value 32768: nnU-Net holds values from 0 to 32767"):
        prepare_decathlon(task, tmp_path / "raw", dataset_id=8)


@pytest.mark.parametrize("kind", [np.uint16, np.float32, np.float64, np.int16])
def test_labels_stored_scaled_arrive_as_whole_numbers_or_are_shown_in_full(task, tmp_path, kind):
    path = task / "labelsTr" / "b.nii.gz"
    values = np.asarray(nib.load(path).dataobj)
    image = nib.Nifti1Image(values.astype(np.float64), nib.load(path).affine)
    image.set_data_dtype(kind)
    nib.save(image, path)
    read = nib.load(path).get_fdata()
    if np.abs(read - values).max() > 1e-6:
        worst = float(sorted(set(read[read != np.rint(read)].tolist()))[0])
        with pytest.raises(UserError, match=f"holds the label {worst!r}, which is not a whole number"):
            prepare_decathlon(task, tmp_path / "raw", dataset_id=8)
        return
    folder = prepare_decathlon(task, tmp_path / "raw", dataset_id=8)
    label = folder / json.loads((folder / "dataset.json").read_text())["dataset"]["b"]["label"]
    np.testing.assert_array_equal(nib.load(label).get_fdata(), values)
