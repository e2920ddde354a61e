"""Images are read and label maps written as by nnU-Net; what is wrong with a file is a sentence."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO, SimpleITKIOWithReorient

from described import describe
from nndistill.errors import UserError
from nndistill.runtime import memory
from nndistill.runtime.image import read_image, write_labels

STRAIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
OBLIQUE = (0.8, 0.6, 0.0, -0.6, 0.8, 0.0, 0.0, 0.0, -1.0)


def write(
    path: Path,
    *,
    shape=(5, 6, 7),
    dtype=np.int16,
    spacing=(0.5, 1.5, 3.0),
    origin=(10.0, -20.0, 30.0),
    direction=STRAIGHT,
    seed=0,
) -> Path:
    array = np.random.default_rng(seed).uniform(1, 200, shape).astype(dtype)
    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    SimpleITK.WriteImage(image, str(path), True)
    return path


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_images_are_read_as_by_nnunet(tmp_path, ending, dtype):
    files = [write(tmp_path / f"case_{k:04d}{ending}", dtype=dtype, direction=OBLIQUE, seed=k) for k in range(2)]
    ours = read_image(files, describe("T1", "T2", file_ending=ending))
    array, properties = SimpleITKIO().read_images([str(file) for file in files])
    np.testing.assert_array_equal(ours.array, array)
    assert ours.array.dtype == np.float32
    assert list(ours.spacing) == properties["spacing"]


@pytest.mark.parametrize("direction", [STRAIGHT, OBLIQUE, (0, 1, 0, -1, 0, 0, 0, 0, 1)])
def test_reoriented_images_and_label_maps_are_nnunets(tmp_path, direction):
    files = [write(tmp_path / f"case_{k:04d}.nii.gz", direction=direction, seed=k) for k in range(2)]
    ours = read_image(files, describe("T1", "T2", reorient_to="RAS"))
    stock = SimpleITKIOWithReorient()
    array, properties = stock.read_images([str(file) for file in files])
    np.testing.assert_array_equal(ours.array, array)
    assert list(ours.spacing) == properties["spacing"]
    labels = (array[0] > 100).astype(np.uint8)
    check_same_file(ours, properties, labels, stock, tmp_path)


@pytest.mark.parametrize("largest", [1, 254, 255, 300])
def test_label_maps_are_written_as_by_nnunet(tmp_path, largest):
    file = write(tmp_path / "case_0000.nii.gz", direction=OBLIQUE)
    ours = read_image([file], describe())
    array, properties = SimpleITKIO().read_images([str(file)])
    labels = np.minimum(array[0] * 3, largest).astype(np.uint16)
    labels[0, 0, 0] = largest
    check_same_file(ours, properties, labels, SimpleITKIO(), tmp_path)


def check_same_file(ours, properties, labels, stock, folder: Path) -> None:
    write_labels(labels, ours.geometry, folder / "out" / "ours.nii.gz")
    stock.write_seg(labels, str(folder / "stock.nii.gz"), properties)
    one, other = (gzip.decompress(file.read_bytes()) for file in (folder / "out/ours.nii.gz", folder / "stock.nii.gz"))
    assert one == other
    assert [file.name for file in (folder / "out").iterdir()] == ["ours.nii.gz"]


def test_a_label_map_that_cannot_be_written_leaves_the_old_one_and_nothing_else(tmp_path, monkeypatch):
    image = read_image([write(tmp_path / "case_0000.nii.gz")], describe())
    labels = np.ones((5, 6, 7), np.uint8)
    path = tmp_path / "out" / "case.nii.gz"
    write_labels(labels, image.geometry, path)
    before = path.read_bytes()

    def full(*arguments):
        Path(arguments[1]).write_bytes(b"half")
        raise RuntimeError("Exception thrown\nsitk::ERROR: disk full")

    monkeypatch.setattr(SimpleITK, "WriteImage", full)
    with pytest.raises(UserError, match=r"cannot write .*case\.nii\.gz: disk full"):
        write_labels(labels + 1, image.geometry, path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_missing_file_is_a_sentence(tmp_path):
    with pytest.raises(UserError, match=r"none\.nii\.gz is missing"):
        read_image([tmp_path / "none.nii.gz"], describe())


@pytest.mark.parametrize("kept", [0, 0.2, 0.6, 0.999])
@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha", ".gipl"])
def test_a_file_cut_short_is_a_sentence(tmp_path, ending, kept):
    file = write(tmp_path / f"case_0000{ending}", shape=(40, 30, 20), dtype=np.float32)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(UserError, match=f"case_0000{ending} (is cut short|cannot be read as an image)") as refused:
        read_image([file], describe(file_ending=ending))
    assert "No such file" not in str(refused.value)


def test_a_damaged_file_is_a_sentence(tmp_path):
    file = write(tmp_path / "case_0000.nii.gz", shape=(40, 30, 20), dtype=np.float32)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"case_0000\.nii\.gz is cut short or damaged"):
        read_image([file], describe())


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"shape": (5, 6, 8)}, "size"),
        ({"spacing": (0.5, 1.5, 3.1)}, "spacing"),
        ({"origin": (10.0, -19.0, 30.0)}, "origin"),
        ({"direction": OBLIQUE}, "direction"),
    ],
)
def test_channels_on_different_grids_are_a_sentence_that_names_both_files(tmp_path, change, what):
    files = [write(tmp_path / "case_0000.nii.gz"), write(tmp_path / "case_0001.nii.gz", **change)]
    with pytest.raises(UserError, match=rf"case_0001.* and .*case_0000.* are not on one grid: {what} "):
        read_image(files, describe("T1", "T2"))


def test_channels_that_differ_by_rounding_only_are_read(tmp_path):
    files = [write(tmp_path / "case_0000.nii.gz"), write(tmp_path / "case_0001.nii.gz", origin=(10.0002, -20.0, 30.0))]
    assert read_image(files, describe("T1", "T2")).array.shape == (2, 5, 6, 7)


def test_another_orientation_is_a_sentence_unless_it_is_meant(tmp_path):
    file = write(tmp_path / "case_0000.nii.gz", direction=(-1, 0, 0, 0, -1, 0, 0, 0, 1))
    with pytest.raises(UserError, match=r"is oriented RAS, but the training images were LPS or LAS"):
        read_image([file], describe(orientations=("LPS", "LAS")))
    assert read_image([file], describe(orientations=("LPS",)), any_orientation=True).array.shape == (1, 5, 6, 7)
    assert read_image([file], describe(orientations=("LPS", "RAS"))).array.shape == (1, 5, 6, 7)
    assert read_image([file], describe(orientations=("LPS",), reorient_to="LPS")).array.shape == (1, 5, 6, 7)


@pytest.mark.parametrize(
    ("array", "sentence"),
    [
        (np.ones((6, 7), np.float32), "is a 2D image"),
        (np.ones((2, 5, 6, 7), np.float32), r"has 4 dimensions \(7×6×5×2\)"),
        (np.zeros((5, 6, 7), np.float32), "is empty"),
        (np.full((5, 6, 7), np.inf, np.float32), "not finite"),
        (np.full((5, 6, 7), np.nan, np.float32), "not finite"),
        (np.full((5, 6, 7), 1e300), "not finite"),
    ],
)
def test_what_is_no_image_of_the_kind_is_a_sentence(tmp_path, array, sentence):
    file = tmp_path / "case_0000.nrrd"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array, isVector=False), str(file))
    with pytest.raises(UserError, match=rf"case_0000\.nrrd {sentence}|values that are {sentence}"):
        read_image([file], describe(file_ending=".nrrd"))


def test_a_constant_image_that_is_not_zero_is_read(tmp_path):
    file = tmp_path / "case_0000.nii.gz"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.ones((1, 6, 7), np.uint8)), str(file))
    assert (read_image([file], describe()).array == np.ones((1, 1, 6, 7))).all()


def test_colours_are_a_sentence(tmp_path):
    file = tmp_path / "case_0000.nii.gz"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.ones((5, 6, 7, 3), np.uint8), isVector=True), str(file))
    with pytest.raises(UserError, match="3 values per voxel"):
        read_image([file], describe())


def test_what_is_no_image_at_all_is_a_sentence(tmp_path):
    file = tmp_path / "case_0000.nii.gz"
    file.write_bytes(gzip.compress(b"hello"))
    with pytest.raises(
        UserError, match=r"case_0000\.nii\.gz cannot be read as NIfTI: it has 5 bytes, fewer than a header"
    ):
        read_image([file], describe())


def test_a_huge_volume_is_a_sentence_before_it_is_read(tmp_path, monkeypatch):
    file = write(tmp_path / "case_0000.nii.gz")
    monkeypatch.setattr(memory, "available_bytes", lambda: 2**20)
    monkeypatch.setattr(SimpleITK, "ReadImage", None)
    sentence = (
        r"case_0000\.nii\.gz is too large for this machine: 7×6×5 voxels.* need 0\.\d GiB of memory, 0\.0 GiB are"
    )
    with pytest.raises(UserError, match=sentence):
        read_image([file], describe(patch_size=(128, 128, 128)))
