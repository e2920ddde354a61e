"""Preparation as a whole: nothing is copied, nothing redone, nobody in two folds, and damage is told or left out."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from nndistill.datasets import DamagedData, check_raw_dataset, find_brats2024, find_decathlon, find_isles2022, prepare
from nndistill.errors import UserError
from nndistill.files import read_json
from nndistill.volumes import nifti


@pytest.fixture
def reads(monkeypatch):
    """Paths of the files that are read, in order."""
    seen = []
    read_bytes = Path.read_bytes

    def read(self):
        seen.append(self)
        return read_bytes(self)

    monkeypatch.setattr(nifti.Path, "read_bytes", read)
    return lambda: [path for path in seen if path.name.endswith(".nii.gz")]


def state(folder):
    files = list(folder.rglob("*"))
    assert files
    return {path: (path.lstat().st_mtime_ns, path.lstat().st_ino) for path in files}


@pytest.mark.parametrize("copy", [False, True])
def test_a_second_call_changes_and_reads_nothing(brats, tmp_path, reads, copy):
    calls = []
    options = {"dataset_id": 226, "copy": copy, "progress": lambda *call: calls.append(call)}
    first = prepare(find_brats2024([brats.root]), tmp_path / "raw", **options)
    assert calls[-1] == (12, 12)
    before, read = state(first.folder), len(reads())
    assert read == 30
    second = prepare(find_brats2024([brats.root]), tmp_path / "raw", **options)
    assert state(first.folder) == before
    assert len(reads()) == read
    assert second.summary() == first.summary()


def test_after_a_change_only_that_case_is_read_and_made_anew(isles, tmp_path, reads, save):
    folder = prepare(find_isles2022(isles.root), tmp_path / "raw", dataset_id=229).folder
    before, read = state(folder), len(reads())
    image = nib.load(isles(2, "dwi"))
    array = np.asarray(image.dataobj) + 7
    nib.save(nib.Nifti1Image(array, image.affine, image.header), isles(2, "dwi"))
    prepare(find_isles2022(isles.root), tmp_path / "raw", dataset_id=229)
    changed = {path.name for path, status in state(folder).items() if path.is_file() and before.get(path) != status}
    name = "sub-strokecase0003_ses-0001"
    assert changed == {f"{name}_0001.nii.gz", f"{name}_0002.nii.gz", f"{name}.nii.gz"} | {
        "provenance.json",
        "report.json",
        "dataset.json",
    }
    assert {path.name.split("_")[0] for path in reads()[read:]} == {"sub-strokecase0003"}


def test_after_a_kill_what_is_missing_is_made(brats, tmp_path):
    folder = prepare(find_brats2024([brats.root]), tmp_path / "raw", dataset_id=226, copy=True).folder
    before = state(folder)
    name = brats.names[2]
    (folder / "dataset.json").unlink()
    (folder / "labelsTr" / f"{name}.nii.gz").unlink()
    (folder / "labelsTr" / f".{name}.nii.gz.123.tmp").write_bytes(b"half")
    prepare(find_brats2024([brats.root]), tmp_path / "raw", dataset_id=226, copy=True)
    after = state(folder)
    assert after.keys() == before.keys()
    assert {path.name for path in after if path.is_file() and after[path] != before[path]} == {
        "dataset.json",
        f"{name}.nii.gz",
    }


def test_what_the_user_put_into_the_folder_stays(brats, tmp_path):
    folder = prepare(find_brats2024([brats.root]), tmp_path / "raw", dataset_id=226).folder
    mine = folder / "imagesTs" / "mine_0000.nii.gz"
    mine.parent.mkdir()
    mine.write_bytes(b"precious")
    prepare(find_brats2024([brats.root]), tmp_path / "raw", dataset_id=226, copy=True)
    prepare(find_brats2024([brats.root]), tmp_path / "raw", dataset_id=226)
    assert mine.read_bytes() == b"precious"
    assert [path.name for path in folder.rglob("*.nii.gz")] == [mine.name], "copies go when they are not asked for"


def test_records_have_the_format_of_version_0_1_whose_folders_are_recognised(brats, tmp_path):
    folder = prepare(find_brats2024([brats.root]), tmp_path / "raw", dataset_id=226, copy=True).folder
    record, report = read_json(folder / "provenance.json"), read_json(folder / "report.json")
    assert record["made_from"] == {"maker": "brats2024"}
    case = brats.names[1]
    assert record["files"][f"labelsTr/{case}.nii.gz"] == ["copy", None, report["cases"][case]["files"]]
    assert report["rules"] == {"edition": 2, "channels": ["T1N", "T1C", "T2W", "T2F"], "onto": None, "drawn_on": 0}


def test_a_number_that_is_taken_is_refused(brats, tmp_path):
    (tmp_path / "raw" / "Dataset226_Other").mkdir(parents=True)
    with pytest.raises(UserError, match=r"number 226 is taken by .*Dataset226_Other: choose another number") as taken:
        prepare(find_brats2024([brats.root]), tmp_path / "raw", dataset_id=226)
    assert taken.value.flags == ["--dataset-id"]


def test_paths_work_wherever_nnunet_is_called(brats, tmp_path, monkeypatch, capsys):
    verify = pytest.importorskip("nnunetv2.experiment_planning.verify_dataset_integrity")
    monkeypatch.chdir(brats.root.parent)
    folder = prepare(find_brats2024([Path(brats.root.name)]), tmp_path / "raw", dataset_id=226).folder
    monkeypatch.chdir(tmp_path)
    verify.verify_dataset_integrity(str(folder), num_processes=1)
    assert "most likely OK" in capsys.readouterr().out


def test_a_prepared_data_set_passes_the_check_before_a_training_without_being_read_again(brats, tmp_path, reads):
    folder = prepare(find_brats2024([brats.root]), tmp_path / "raw", dataset_id=226).folder
    read = len(reads())
    check_raw_dataset(folder)
    assert len(reads()) == read
    with brats(1, "t2w").open("ab") as file:
        file.write(b"junk")
    with pytest.raises(UserError, match=r"00000-101-t2w\.nii\.gz cannot be read as NIfTI"):
        check_raw_dataset(folder)
    assert {path.parent.name for path in reads()[read:]} == {brats.names[1]}


def test_the_check_before_a_training_reads_files_made_by_the_preparation(isles, tmp_path):
    folder = prepare(find_isles2022(isles.root), tmp_path / "raw", dataset_id=229).folder
    check_raw_dataset(folder)
    label = folder / "labelsTr" / "sub-strokecase0001_ses-0001.nii.gz"
    image = nib.load(label)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj) * 7, image.affine), label)
    with pytest.raises(UserError, match=r"labelsTr/sub-strokecase0001_ses-0001\.nii\.gz holds the label 7"):
        check_raw_dataset(folder)


def test_too_few_patients_for_folds_leave_the_split_out(brats, tmp_path):
    shutil.rmtree(brats(5))
    report = prepare(find_brats2024([brats.root]), tmp_path / "raw", dataset_id=226)
    assert report.folds == []
    assert not (report.folder / "splits_final.json").exists()


# What the user sees


def edit(path, change):
    """Save a file again with changed voxels and affine."""
    image = nib.load(path)
    array, affine = change(np.asarray(image.dataobj).copy(), image.affine.copy())
    nib.save(nib.Nifti1Image(array, affine), path)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-60])


def with_nan(array, affine):
    array = array.astype(np.float32)
    array[1, 2, 3] = np.nan
    return array, affine


DAMAGES = {
    "missing modality": (
        lambda brats: brats(2, "t2w").unlink(),
        r"BraTS-GLI-00001-100-t2w\.nii\.gz is missing\.",
    ),
    "missing label": (
        lambda brats: brats(2, "seg").unlink(),
        r"BraTS-GLI-00001-100-seg\.nii\.gz is missing\.",
    ),
    "truncated gzip": (
        lambda brats: truncate(brats(2, "t1c")),
        r"BraTS-GLI-00001-100-t1c\.nii\.gz is cut short or damaged: Compressed file ended before",
    ),
    "no image": (
        lambda brats: brats(2, "t1c").write_bytes(b"<html>"),
        r"BraTS-GLI-00001-100-t1c\.nii\.gz cannot be read as NIfTI: it is a web page",
    ),
    "wrong shape": (
        lambda brats: edit(brats(2, "t2f"), lambda array, affine: (array[:-1], affine)),
        r"-t2f\.nii\.gz has shape 5×7×5, but .*BraTS-GLI-00001-100-t1n\.nii\.gz has 6×7×5\.",
    ),
    "shifted origin": (
        lambda brats: edit(brats(2, "seg"), lambda array, affine: (array, affine + 3 * np.eye(4, k=3))),
        r"-seg\.nii\.gz and .*-t1n\.nii\.gz are at different positions: up to 3 mm apart",
    ),
    "label 7": (
        lambda brats: edit(brats(2, "seg"), lambda array, affine: (np.where(array == 4, 7, array), affine)),
        r"-seg\.nii\.gz holds the label 7, which is not known "
        r"\(known are 0 background, 1 NETC, 2 SNFH, 3 ET, 4 RC\)\.",
    ),
    "NaN": (
        lambda brats: edit(brats(2, "t1n"), with_nan),
        r"BraTS-GLI-00001-100-t1n\.nii\.gz holds NaN or infinite values; fix or leave out this case\.",
    ),
    "duplicate case": (
        lambda brats: [shutil.copy(brats(0, part), brats(2, part)) for part in ("t1n", "t1c", "t2w", "t2f", "seg")],
        r"BraTS-GLI-00001-100-t1n\.nii\.gz holds the same voxels as .*00000-100-t1n\.nii\.gz "
        r"of the case BraTS-GLI-00000-100\.",
    ),
    "duplicate channel": (
        lambda brats: shutil.copy(brats(2, "t1n"), brats(2, "t1c")),
        r"BraTS-GLI-00001-100-t1c\.nii\.gz holds the same voxels as .*BraTS-GLI-00001-100-t1n\.nii\.gz\.",
    ),
    "empty image": (
        lambda brats: edit(brats(2, "t1n"), lambda array, affine: (array * 0, affine)),
        r"BraTS-GLI-00001-100-t1n\.nii\.gz is empty: all voxels are equal\.",
    ),
    "empty label": (
        lambda brats: edit(brats(2, "seg"), lambda array, affine: (array * 0, affine)),
        r"BraTS-GLI-00001-100-seg\.nii\.gz holds nothing but background\.",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_user_sees_each_damage_in_a_sentence_and_may_leave_the_case_out(nndistill, brats, tmp_path, damage):
    harm, sentence = DAMAGES[damage]
    harm(brats)
    command = ["prepare", "brats2024", brats.root, "--dataset-id", 226, "--workspace", tmp_path / "work"]
    result = nndistill(*command)
    assert result.status == 2
    (last,) = result.err.split("error: ")[1:]
    assert last.startswith("1 of 6 cases cannot be used. The first: ")
    assert re.search(sentence, last), last
    assert 'leave them out with on_error "skip"; all are listed in' in last
    assert last.endswith("See the option --on-error.")
    folder = tmp_path / "work" / "nnUNet_raw" / "Dataset226_BraTS2024"
    assert not (folder / "dataset.json").exists()
    assert list(read_json(folder / "report.json")["damage"]) == [brats.names[2]]

    result = nndistill(*command, "--on-error", "skip")
    assert result.status == 0
    assert f"{brats.names[2]}: " in result.err
    described = read_json(folder / "dataset.json")
    assert sorted(described["dataset"]) == sorted(set(brats.names) - {brats.names[2]})
    assert described["numTraining"] == 5


def forbid(monkeypatch, folder):
    """Make a folder unreadable, for root too."""
    scandir = os.scandir

    def refuse(path="."):
        if Path(path) == folder:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)


def test_an_unreadable_folder_is_named_and_may_be_left_out(nndistill, brats, tmp_path, monkeypatch):
    forbid(monkeypatch, brats(2))
    command = ["prepare", "brats2024", brats.root, "--dataset-id", 226, "--workspace", tmp_path / "work"]
    result = nndistill(*command)
    assert result.status == 2
    assert f"1 of 6 cases cannot be used. The first: {brats(2)} cannot be read: Permission denied." in result.err
    assert nndistill(*command, "--on-error", "skip").status == 0


@pytest.mark.parametrize("at", ["image", "dataset.json", "report.json"])
def test_no_space_left_is_told_and_the_next_call_completes(nndistill, brats, tmp_path, monkeypatch, at):
    command = ["prepare", "brats2024", brats.root, "--dataset-id", 226, "--copy", "--workspace", tmp_path / "work"]
    full = OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as patch:
        if at == "image":
            copies, copyfile = iter(range(10)), shutil.copyfile

            def copy(source, target):
                if next(copies, None) is None:
                    Path(target).write_bytes(b"half")
                    raise full
                copyfile(source, target)

            patch.setattr(shutil, "copyfile", copy)
        else:
            write_bytes = Path.write_bytes

            def write(self, content):
                if at in self.name:
                    raise full
                return write_bytes(self, content)

            patch.setattr(Path, "write_bytes", write)
        result = nndistill(*command)
    assert result.status == 2
    assert "error: the disk is full: " in result.err
    assert "could not be written" in result.err
    assert "Free some space and continue" in result.err
    folder = tmp_path / "work" / "nnUNet_raw" / "Dataset226_BraTS2024"
    assert not (folder / "dataset.json").exists()
    assert not list(folder.rglob("*.tmp"))
    assert nndistill(*command).status == 0
    assert len(list((folder / "imagesTr").iterdir())) == 24
    check_raw_dataset(folder)


def test_of_two_equal_cases_the_sound_one_stays(brats, tmp_path):
    shutil.copy(brats(4, "t1n"), brats(1, "t1n"))
    brats(1, "seg").unlink()
    report = prepare(find_brats2024([brats.root]), tmp_path / "raw", dataset_id=226, on_error="skip")
    assert list(report.damage) == [brats.names[1]]
    assert len(report.damage[brats.names[1]]) == 2


def test_a_check_that_stopped_is_not_repeated_for_sound_cases(brats, tmp_path, reads):
    seg = brats(3, "seg").read_bytes()
    brats(3, "seg").unlink()
    with pytest.raises(DamagedData):
        prepare(find_brats2024([brats.root]), tmp_path / "raw", dataset_id=226)
    read = len(reads())
    brats(3, "seg").write_bytes(seg)
    report = prepare(find_brats2024([brats.root]), tmp_path / "raw", dataset_id=226)
    assert report.prepared
    assert {path.parent.name for path in reads()[read:]} == {brats.names[3]}


@pytest.mark.parametrize("split", ["other", "file"])
def test_a_mistaken_split_costs_no_second_check(brats, tmp_path, reads, split):
    path = tmp_path / "split.json"
    path.write_text('[{"train": ["nobody"], "val": []}]')
    with pytest.raises(UserError, match=r"there is no split|names nobody, which is not a training case"):
        prepare(
            find_brats2024([brats.root]),
            tmp_path / "raw",
            dataset_id=226,
            split=str(path) if split == "file" else split,
        )
    read = len(reads())
    assert read == (30 if split == "file" else 0)
    prepare(find_brats2024([brats.root]), tmp_path / "raw", dataset_id=226)
    assert len(reads()) == 30


def test_a_map_of_fractions_is_refused_without_noting_them_all(brats, tmp_path):
    image = nib.load(brats(2, "seg"))
    nib.save(nib.Nifti1Image(np.random.default_rng(0).random((20, 20, 20), np.float32), image.affine), brats(2, "seg"))
    with pytest.raises(DamagedData, match=r"-seg\.nii\.gz has shape 20×20×20"):
        prepare(find_brats2024([brats.root]), tmp_path / "raw", dataset_id=226)
    report = tmp_path / "raw" / "Dataset226_BraTS2024" / "report.json"
    assert "holds the label" in "".join(read_json(report)["damage"][brats.names[2]])
    assert report.stat().st_size < 100_000


def test_a_data_set_that_is_damaged_throughout_is_refused_also_when_skipping(brats, tmp_path):
    for case in range(6):
        brats(case, "t1n").unlink()
    with pytest.raises(DamagedData, match="6 of 6 cases cannot be used"):
        prepare(find_brats2024([brats.root]), tmp_path / "raw", dataset_id=226, on_error="skip")


def test_many_damaged_cases_are_counted_on_the_terminal_and_listed_in_the_report(nndistill, tmp_path, save):
    rng = np.random.default_rng(0)
    for case in range(25):
        save(tmp_path / "imagesTr" / f"{case:02d}.nii.gz", rng.random((4, 4, 4), np.float32) * np.nan)
        save(tmp_path / "labelsTr" / f"{case:02d}.nii.gz", np.eye(4, dtype=np.uint8)[None].repeat(4, 0))
    pairs = [{"image": f"imagesTr/{c:02d}.nii.gz", "label": f"labelsTr/{c:02d}.nii.gz"} for c in range(25)]
    description = {"modality": {"0": "CT"}, "labels": {"0": "b", "1": "a"}, "training": pairs, "name": "X"}
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    result = nndistill("prepare", "decathlon", tmp_path, "--dataset-id", 3, "--workspace", tmp_path / "work")
    assert result.status == 2
    assert result.err.count("holds NaN") == 20 + 1
    assert "and 5 more, all in" in result.err
    report = read_json(tmp_path / "work" / "nnUNet_raw" / "Dataset003_X" / "report.json")
    assert len(report["damage"]) == 25


def test_the_summary_is_also_one_json_object(nndistill, brats, tmp_path):
    command = ["prepare", "brats2024", brats.root, "--dataset-id", 226, "--workspace", tmp_path]
    summary = json.loads(nndistill(*command, "--json").out)
    assert summary["training cases"] == 6
    assert summary["patients"] == 5
    assert summary["cases with label"] == {"NETC": 6, "SNFH": 6, "ET": 6, "RC": 6}
    assert summary["patients on both sides of a fold"] == 0
    assert sorted(fold["val"] for fold in summary["folds"]) == [1, 1, 1, 1, 2]
    table = nndistill(*command).out
    assert "6×7×5" in table
    assert f"nndistill teach 226 --workspace {tmp_path}" in table


def test_with_too_few_patients_for_folds_all_cases_are_to_be_trained_on(nndistill, brats, tmp_path):
    shutil.rmtree(brats(5))
    command = ["prepare", "brats2024", brats.root, "--dataset-id", 226, "--workspace", tmp_path]
    printed = nndistill(*command).out
    assert "too few patients, or cases, for five folds: train on all cases." in printed
    assert f"nndistill teach 226 --fold all --workspace {tmp_path}" in printed
    assert "patients on both sides of a fold" not in json.loads(nndistill(*command, "--json").out)


def test_the_split_is_written_where_nnunet_takes_it_from(brats, tmp_path):
    for split in ("patient", "nnunet"):
        report = prepare(find_brats2024([brats.root]), tmp_path / "raw", dataset_id=226, split=split)
        assert json.loads((report.folder / "splits_final.json").read_text()) == report.folds
    again = prepare(find_brats2024([brats.root]), tmp_path / "raw", dataset_id=226)
    assert again.folds != report.folds


def test_a_label_map_may_be_empty_where_one_says_so(brats, tmp_path):
    edit(brats(2, "seg"), lambda array, affine: (array * 0, affine))
    prepare(find_brats2024([brats.root], empty_labels=True), tmp_path / "raw", dataset_id=226)


def test_test_cases_are_compared_with_training_cases_too(tmp_path, save):
    image = np.random.default_rng(0).random((4, 4, 4), np.float32)
    save(tmp_path / "imagesTr" / "a.nii.gz", image)
    save(tmp_path / "imagesTs" / "b.nii.gz", image)
    save(tmp_path / "labelsTr" / "a.nii.gz", np.eye(4, dtype=np.uint8)[None].repeat(4, 0))
    description = {
        "modality": {"0": "CT"},
        "labels": {"0": "b", "1": "a"},
        "training": [{"image": "imagesTr/a.nii.gz", "label": "labelsTr/a.nii.gz"}],
        "test": ["imagesTs/b.nii.gz"],
        "name": "X",
    }
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    with pytest.raises(DamagedData, match=r"imagesTs/b\.nii\.gz holds the same voxels as .*imagesTr/a\.nii\.gz of the"):
        prepare(find_decathlon(tmp_path), tmp_path / "raw", dataset_id=3)
