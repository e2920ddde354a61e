"""Reading and writing nnU-Net's raw format: what comes back is what went in, and damage is told in a sentence."""

from __future__ import annotations

import errno
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from nndistill.datasets.raw import (
    check_same_grid,
    dataset_folder,
    read_nifti,
    write_dataset_json,
    write_nifti,
)
from nndistill.errors import UserError
from nndistill.files import read_json, write_file


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_what_is_written_is_read_back_with_its_place_and_type(tmp_path, affine, dtype):
    array = np.random.default_rng(0).integers(0, 100, (5, 7, 4)).astype(dtype)
    write_nifti(tmp_path / "a.nii.gz", array, affine)
    read, where = read_nifti(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read, array)
    np.testing.assert_allclose(where, affine)
    assert read.dtype == dtype
    header = nib.load(tmp_path / "a.nii.gz").header
    assert header["qform_code"] == header["sform_code"] == 1
    np.testing.assert_allclose(header.get_qform(), affine, atol=1e-6)


def test_simpleitk_sees_the_same_geometry(tmp_path, affine):
    write_nifti(tmp_path / "a.nii.gz", np.zeros((5, 7, 4), np.int16), affine)
    image = SimpleITK.ReadImage(tmp_path / "a.nii.gz")
    assert image.GetSize() == (5, 7, 4)
    np.testing.assert_allclose(image.GetSpacing(), (1, 2, 1.5))
    np.testing.assert_allclose(image.GetOrigin(), (-30, 12, 7))  # ITK points left and back


def test_equal_content_gives_equal_bytes(tmp_path, affine):
    for name in ("a", "b"):
        write_nifti(tmp_path / f"{name}.nii.gz", np.arange(24, dtype=np.int16).reshape(2, 3, 4), affine)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


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
    assert dataset_folder(tmp_path, 4, "Hippocampus") == tmp_path / "Dataset004_Hippocampus"


@pytest.mark.parametrize(("number", "name"), [(0, "A"), (1000, "A"), (1, ""), (1, "a b"), (1, "../a")])
def test_a_folder_nnunet_would_not_find_is_refused(tmp_path, number, name):
    with pytest.raises(UserError, match=r"(a|the) data set's n(umber is from 1 to 999|ame .* may only hold letters)"):
        dataset_folder(tmp_path, number, name)


def test_a_missing_file_is_named(tmp_path):
    for read in (read_nifti, read_json):
        with pytest.raises(UserError, match=r"gone\.nii\.gz is missing"):
            read(tmp_path / "gone.nii.gz")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_truncated_file_is_named(tmp_path, save, share):
    path = save(tmp_path / "cut.nii.gz", np.random.default_rng(0).random((20, 20, 20), np.float32))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match=r"cut\.nii\.gz (is cut short or damaged|cannot be read as NIfTI)"):
        read_nifti(path)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x1f\x8b\x08\x00no gzip either"])
def test_what_is_no_image_is_named(tmp_path, content):
    path = tmp_path / "text.nii.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"text\.nii\.gz (is cut short or damaged|cannot be read as NIfTI)"):
        read_nifti(path)


def test_a_place_in_space_that_is_none_is_refused(tmp_path, save):
    path = save(tmp_path / "flat.nii.gz", np.zeros((3, 3, 3), np.uint8))
    image = nib.load(path)
    data = np.asanyarray(image.dataobj)
    broken = nib.Nifti1Image(data, None)
    broken.header.set_sform(np.diag([1.0, 1.0, 0.0, 1.0]), code=1)
    nib.save(nib.Nifti1Image(data, None, broken.header), path)
    with pytest.raises(UserError, match=r"flat\.nii\.gz has no valid position in space"):
        read_nifti(path)


@pytest.mark.parametrize("content", [b"{", b"[1]", b"\xff\xfe"])
def test_a_json_file_that_is_none_is_named(tmp_path, content):
    (tmp_path / "dataset.json").write_bytes(content)
    with pytest.raises(UserError, match=r"dataset\.json (cannot be read as JSON|holds no JSON object)"):
        read_json(tmp_path / "dataset.json")


def test_grids_are_compared_by_the_places_of_their_corners(affine):
    def check(shape=(10, 20, 30), moved=affine):
        check_same_grid(
            Path("label.nii.gz"),
            shape,
            moved,
            of=Path("image.nii.gz"),
            expected=(10, 20, 30),
            expected_affine=affine,
        )

    check()
    shifted, scaled = affine.copy(), affine.copy()
    shifted[0, 3] += 1e-4  # rounding in a header
    check(moved=shifted)
    shifted[0, 3] += 1
    with pytest.raises(UserError, match=r"label.nii.gz and image.nii.gz lie at different places: up to 1 mm apart"):
        check(moved=shifted)
    scaled[:3, :3] *= 1.01
    with pytest.raises(UserError, match="lie at different places"):
        check(moved=scaled)
    with pytest.raises(UserError, match=r"label.nii.gz has shape 10×20×31, but image.nii.gz has 10×20×30"):
        check(shape=(10, 20, 31))
