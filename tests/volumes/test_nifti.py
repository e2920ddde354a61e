"""NIfTI files: what is read is what was written, and damage is reported in a sentence."""

from __future__ import annotations

import gzip
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from nndistill.errors import UserError
from nndistill.volumes.nifti import read_grid, read_volume, write_nifti, write_nifti_like


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_what_is_written_is_read_back_with_its_place_and_type(tmp_path, affine, dtype):
    array = np.random.default_rng(0).integers(0, 100, (5, 7, 4)).astype(dtype)
    write_nifti(tmp_path / "a.nii.gz", array, affine)
    volume = read_volume(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.affine, affine)
    assert volume.array.dtype == dtype
    header = nib.load(tmp_path / "a.nii.gz").header
    assert header["qform_code"] == header["sform_code"] == 1
    np.testing.assert_allclose(header.get_qform(), affine, atol=1e-6)


def test_a_file_like_another_has_its_place_to_the_last_bit(tmp_path, affine):
    header = nib.Nifti1Header()
    header.set_data_shape((5, 7, 4))
    header.set_qform(affine * [[1], [1], [1.00001], [1]], code=2)
    header.set_sform(affine, code=1)
    nib.save(nib.Nifti1Image(np.zeros((5, 7, 4), np.int16), None, header), tmp_path / "a.nii.gz")
    other = np.random.default_rng(0).normal(size=(5, 7, 4)).astype(np.float32)
    write_nifti_like(tmp_path / "b.nii.gz", other, read_volume(tmp_path / "a.nii.gz").header)
    first, second = (nib.load(tmp_path / name) for name in ("a.nii.gz", "b.nii.gz"))
    for of in ("get_qform", "get_sform"):
        np.testing.assert_array_equal(getattr(second, of)(), getattr(first, of)())
    assert [second.header[code] for code in ("qform_code", "sform_code")] == [2, 1]
    np.testing.assert_array_equal(second.dataobj, other)
    first, second = (SimpleITK.ReadImage(tmp_path / name) for name in ("a.nii.gz", "b.nii.gz"))
    for of in ("GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(second, of)() == getattr(first, of)()


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


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_truncated_file_is_named(tmp_path, save, share):
    path = save(tmp_path / "cut.nii.gz", np.random.default_rng(0).random((20, 20, 20), np.float32))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match=r"cut\.nii\.gz (is cut short or damaged|cannot be read as NIfTI)"):
        read_volume(path)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x1f\x8b\x08\x00no gzip either"])
def test_what_is_no_image_is_named(tmp_path, content):
    path = tmp_path / "text.nii.gz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"text\.nii\.gz (is cut short or damaged|cannot be read as NIfTI)"):
        read_volume(path)


def test_a_place_in_space_that_is_none_is_refused(tmp_path, save):
    path = save(tmp_path / "flat.nii.gz", np.zeros((3, 3, 3), np.uint8))
    image = nib.load(path)
    data = np.asanyarray(image.dataobj)
    broken = nib.Nifti1Image(data, None)
    broken.header.set_sform(np.diag([1.0, 1.0, 0.0, 1.0]), code=1)
    nib.save(nib.Nifti1Image(data, None, broken.header), path)
    with pytest.raises(UserError, match=r"flat\.nii\.gz has no valid position in space"):
        read_volume(path)


def test_nibabel_reads_the_same_values_also_scaled_ones(tmp_path, affine):
    image = nib.Nifti1Image(np.random.default_rng(0).normal(size=(6, 5, 4)), affine, dtype=np.int16)
    image.set_data_dtype(np.int16)
    nib.save(image, tmp_path / "scaled.nii.gz")
    volume = read_volume(tmp_path / "scaled.nii.gz")
    assert volume.stored.dtype == np.int16
    np.testing.assert_allclose(volume.array, nib.load(tmp_path / "scaled.nii.gz").get_fdata(), rtol=1e-6)


def test_the_digest_is_of_the_voxels_not_of_header_and_compression(tmp_path, save, affine):
    array = np.random.default_rng(0).integers(0, 99, (6, 5, 4)).astype(np.int16)
    first = save(tmp_path / "a.nii.gz", array)
    other_place = save(tmp_path / "b.nii.gz", array, affine + np.eye(4, k=3))
    packed = tmp_path / "c.nii.gz"
    packed.write_bytes(gzip.compress(gzip.decompress(first.read_bytes()), compresslevel=1))
    plain = save(tmp_path / "d.nii", array)
    digests = {read_volume(path).digest for path in (first, other_place, packed, plain)}
    assert len(digests) == 1
    array[0, 0, 0] += 1
    assert read_volume(save(tmp_path / "e.nii.gz", array)).digest not in digests


def test_a_file_with_a_wrong_checksum_is_damaged(tmp_path, save):
    path = save(tmp_path / "a.nii.gz", np.zeros((6, 5, 4), np.int16))
    content = bytearray(path.read_bytes())
    content[-8] ^= 1  # of the checksum at the end
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"a\.nii\.gz cannot be read as NIfTI: CRC check failed"):
        read_volume(path)


def test_a_file_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    def forbidden(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", forbidden)
    with pytest.raises(UserError, match=r"a\.nii\.gz cannot be read: Permission denied"):
        read_volume(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("shape", [(6, 5, 4), (6, 5, 4, 2)])
def test_a_grid_is_read_from_the_header_alone(tmp_path, save, shape):
    path = save(tmp_path / "a.nii", np.zeros(shape, np.float32))
    whole = read_volume(path).grid
    path.write_bytes(path.read_bytes()[:400])
    grid = read_grid(path)
    assert grid.shape == shape
    np.testing.assert_array_equal(grid.affine, whole.affine)
    with pytest.raises(UserError, match=r"a\.nii cannot be read as NIfTI"):
        read_volume(path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"no image", r"a\.nii\.gz cannot be read as NIfTI"),
        (gzip.compress(bytes(400), mtime=0)[:15], r"a\.nii\.gz (is cut short or damaged|cannot be read as NIfTI)"),
        (None, r"a\.nii\.gz is missing"),
    ],
)
def test_a_header_that_cannot_be_read_is_named(tmp_path, content, sentence):
    if content is not None:
        (tmp_path / "a.nii.gz").write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        read_grid(tmp_path / "a.nii.gz")


@pytest.mark.parametrize("axes", list(permutations(range(3))))
@pytest.mark.parametrize("signs", list(product((-1, 1), repeat=3)))
def test_volumes_are_turned_to_ras_as_nibabel_turns_them(tmp_path, axes, signs):
    affine = np.eye(4)
    affine[:3, :3] = (np.diag(signs) * (1.0, 2.0, 1.5))[:, axes] + 0.05
    affine[:3, 3] = 3, -20, 7
    image = nib.Nifti1Image(np.random.default_rng(0).normal(size=(4, 5, 6)), affine)
    image.set_data_dtype(np.int16)  # scaled
    nib.save(image, tmp_path / "a.nii.gz")
    array, grid = read_volume(tmp_path / "a.nii.gz").in_ras()
    turned = nib.as_closest_canonical(nib.load(tmp_path / "a.nii.gz"))
    np.testing.assert_allclose(array, turned.get_fdata(), rtol=1e-6)
    np.testing.assert_allclose(grid.affine, turned.affine)
    np.testing.assert_allclose(grid.spacing, turned.header.get_zooms(), rtol=1e-6)
    assert grid.shape == turned.shape
