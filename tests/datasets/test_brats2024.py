"""BraTS 2024 as it is downloaded: every layout is found, channels and labels are the challenge's."""

from __future__ import annotations

import os
import shutil

import nibabel as nib
import numpy as np
import pytest

from nndistill.datasets import find_brats2024, prepare
from nndistill.errors import UserError
from nndistill.files import read_json


def test_channels_labels_and_files_are_the_challenges(brats, tmp_path):
    described = read_json(
        prepare(find_brats2024([brats.root]), tmp_path / "raw", dataset_id=226).folder / "dataset.json"
    )
    assert list(described["channel_names"].values()) == ["T1N", "T1C", "T2W", "T2F"]
    assert described["labels"] == {"background": 0, "NETC": 1, "SNFH": 2, "ET": 3, "RC": 4}
    assert described["dataset"][brats.names[1]] == {
        "images": [str(brats(1, part)) for part in ("t1n", "t1c", "t2w", "t2f")],
        "label": str(brats(1, "seg")),
    }


def test_time_points_belong_to_one_patient(brats):
    patients = {case.name: case.patient for case in find_brats2024([brats.root]).cases}
    assert patients["BraTS-GLI-00000-100"] == patients["BraTS-GLI-00000-101"] == "BraTS-GLI-00000"
    assert len(set(patients.values())) == 5


def test_several_roots_and_folders_in_folders_are_one_data_set(brats, tmp_path):
    additional = tmp_path / "additional" / "training_data_additional" / "again"
    shutil.move(brats(4), additional / brats.names[4])
    shutil.move(brats(5), tmp_path / brats.names[5])
    inner = brats(3) / brats.names[3]
    inner.mkdir()
    for path in list(brats(3).glob("*.nii.gz")):
        path.rename(inner / path.name)
    leftover = brats.root / "__MACOSX" / brats.names[0]
    leftover.mkdir(parents=True)
    (leftover / "._file").touch()
    linked = tmp_path / "linked"
    linked.symlink_to(brats.root)
    found = find_brats2024([linked, tmp_path / "additional", tmp_path / brats.names[5]])
    assert [case.name for case in found.cases] == brats.names
    assert not found.unusable
    assert all(path.exists() for case in found.cases for path in case.files)


def test_a_folder_is_taken_once_however_often_one_comes_to_it(brats):
    for name in ("0", "self"):  # before and after the cases
        (brats.root / name).symlink_to(brats.root)
    found = find_brats2024([brats.root, brats.root.parent, brats(0)])
    assert [case.images[0].parent for case in found.cases] == [brats(case) for case in range(6)]
    assert not found.unusable


def test_a_case_that_is_there_twice_is_told(brats, tmp_path, nndistill):
    second = tmp_path / "additional"
    shutil.copytree(brats(2), second / brats.names[2])
    command = ["prepare", "brats2024", brats.root, second, "--dataset-id", 226, "--workspace", tmp_path]
    result = nndistill(*command)
    assert result.status == 2
    assert f"{brats.names[2]} was found twice: in {brats(2)} and in {second}/{brats.names[2]}." in result.err
    assert nndistill(*command, "--on-error", "skip").status == 0
    assert read_json(tmp_path / "nnUNet_raw" / "Dataset226_BraTS2024" / "dataset.json")["numTraining"] == 6


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.touch(), lambda path: path.mkdir()])
def test_a_source_without_cases_is_refused(tmp_path, make):
    make(tmp_path / "source")
    with pytest.raises(UserError, match=r"source (is missing|is not a folder|holds no folder BraTS-GLI-00000-000)"):
        find_brats2024([tmp_path / "source"])


def test_a_folder_of_folders_that_cannot_be_read_is_told(brats, tmp_path, monkeypatch):
    scandir = os.scandir

    def refuse(path="."):
        if os.fspath(path).endswith("additional"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    (brats.root.parent / "additional").mkdir()
    monkeypatch.setattr(os, "scandir", refuse)
    found = find_brats2024([brats.root.parent])
    assert found.unusable == {"additional": f"{brats.root.parent}/additional cannot be read: Permission denied."}
    assert len(found.cases) == 6


def test_regions_give_each_label_back(brats, tmp_path):
    handling = pytest.importorskip("nnunetv2.utilities.label_handling.label_handling")
    torch = pytest.importorskip("torch")
    report = prepare(find_brats2024([brats.root], regions=True), tmp_path / "raw", dataset_id=226)
    described = read_json(report.folder / "dataset.json")
    manager = handling.LabelManager(described["labels"], described["regions_class_order"])
    assert manager.has_regions
    assert manager.all_labels == [0, 1, 2, 3, 4]
    labels = torch.arange(5).view(1, 1, 5)
    regions = torch.stack([torch.isin(labels, torch.tensor(region)) for region in manager.foreground_regions])
    assert manager.convert_logits_to_segmentation(20 * (regions.float() - 0.5)).tolist() == labels.tolist()


def test_regions_need_no_second_check(brats, tmp_path, monkeypatch):
    prepare(find_brats2024([brats.root]), tmp_path / "raw", dataset_id=226)
    monkeypatch.setattr("nndistill.datasets.preparation.dataset_check.check_case", None)
    prepare(find_brats2024([brats.root], regions=True), tmp_path / "raw", dataset_id=226)


def test_files_without_compression_are_taken_and_compressed(brats, tmp_path):
    before = {}
    for part in ("t1n", "seg"):
        packed = brats(2, part)
        before[part] = nib.load(packed).get_fdata()
        nib.save(nib.load(packed), packed.with_suffix(""))
        packed.unlink()
    folder = prepare(find_brats2024([brats.root]), tmp_path / "raw", dataset_id=226).folder
    made = {"t1n": f"imagesTr/{brats.names[2]}_0000.nii.gz", "seg": f"labelsTr/{brats.names[2]}.nii.gz"}
    for part, file in made.items():
        np.testing.assert_array_equal(nib.load(folder / file).get_fdata(), before[part])


def test_folders_named_like_files_are_told_once_per_file_with_what_is_there(brats, tmp_path, nndistill):
    for part in ("t1n", "seg"):
        folder = brats(2, part).with_suffix("")
        folder.mkdir()
        brats(2, part).rename(folder / "00002_final.nii.gz")
    result = nndistill("prepare", "brats2024", brats.root, "--dataset-id", 226, "--workspace", tmp_path / "work")
    assert result.status == 2
    for part in ("t1n", "seg"):
        name = brats(2, part).name
        assert f"{name} is missing. There is a folder {name.removesuffix('.gz')}: is that it?" in result.err
