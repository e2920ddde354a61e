"""nnU-Net's raw format: names and descriptions that nnU-Net finds, whole or not there."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from nndistill.errors import UserError
from nndistill.files import read_json, update_json, write_file
from nndistill.nnunet.data.raw_format import new_dataset_folder, write_dataset_json
from nndistill.volumes.nifti import read_volume


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "dataset.json"
    path.write_bytes(b"old")

    def full(self, content):
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=r"disk is full.*dataset\.json could not be written"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_dataset_json_says_what_nnunet_asks_for(tmp_path):
    write_dataset_json(tmp_path, channels=["T1", "FLAIR"], labels={"background": 0, "ET": 1}, training=3, licence="x")
    assert read_json(tmp_path / "dataset.json") == {
        "channel_names": {"0": "T1", "1": "FLAIR"},
        "labels": {"background": 0, "ET": 1},
        "numTraining": 3,
        "file_ending": ".nii.gz",
        "licence": "x",
    }


def test_a_folder_is_named_as_nnunet_wants_it(tmp_path):
    assert new_dataset_folder(tmp_path, 4, "Hippocampus") == tmp_path / "Dataset004_Hippocampus"


@pytest.mark.parametrize(("number", "name"), [(0, "A"), (1000, "A"), (1, ""), (1, "a b"), (1, "../a")])
def test_a_folder_nnunet_would_not_find_is_refused(tmp_path, number, name):
    with pytest.raises(UserError, match=r"(a|the) data set's n(umber is from 1 to 999|ame .* may only hold letters)"):
        new_dataset_folder(tmp_path, number, name)


def test_a_missing_file_is_named(tmp_path):
    for read in (read_volume, read_json):
        with pytest.raises(UserError, match=r"gone\.nii\.gz is missing"):
            read(tmp_path / "gone.nii.gz")


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff\xfe"])
def test_a_json_file_that_is_none_is_named(tmp_path, content):
    (tmp_path / "dataset.json").write_bytes(content)
    with pytest.raises(
        UserError, match=r"dataset\.json (cannot be read as JSON|holds no JSON object|is in another encoding)"
    ):
        read_json(tmp_path / "dataset.json")


def test_json_that_says_the_same_is_not_written_again(tmp_path):
    path = tmp_path / "a.json"
    update_json(path, {"a": [1, 2]})
    before = path.stat().st_mtime_ns, path.stat().st_ino
    update_json(path, {"a": [1, 2]})
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before
    update_json(path, {"a": [1, 3]})
    assert read_json(path) == {"a": [1, 3]}
