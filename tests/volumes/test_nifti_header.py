"""Voxel size and position are ITK's, in mm; a header that contradicts itself is refused by name."""

from __future__ import annotations

import gzip
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from any_nifti import LAYOUTS, SHAPES, Layout, place_by_itk
from nndistill.errors import UserError
from nndistill.volumes.nifti import read_grid, read_volume, write_nifti_like
from nndistill.volumes.nifti_header import nifti_header, read_nifti_header

ARRAY = np.arange(60).reshape(3, 4, 5)
MICRON, MM, METRE = 3, 2, 1


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(layout=LAYOUTS, shape=st.sampled_from(SHAPES))
def test_size_voxel_size_and_place_are_itks(tmp_path, layout, shape):
    content = layout.content(np.zeros(shape))
    path = tmp_path / ("a.nii.gz" if layout.compressed else "a.nii")
    path.write_bytes(content)
    grid = read_grid(path)
    spacing, affine = place_by_itk(content, tmp_path)
    np.testing.assert_allclose(grid.spacing, spacing, rtol=1e-5)
    np.testing.assert_allclose(grid.affine, affine, rtol=1e-4, atol=1e-3 * min(spacing))
    assert grid.shape == shape
    np.testing.assert_array_equal(read_volume(path).grid.affine, grid.affine)


@pytest.mark.parametrize(("unit", "spacing"), [(MICRON, 0.1), (MM, 100.0), (0, 100.0), (METRE, 100_000.0)])
def test_voxels_are_measured_in_mm_whatever_the_unit(tmp_path, unit, spacing):
    (tmp_path / "a.nii").write_bytes(Layout(units=unit, spacing=(100.0,) * 3, compressed=False).content(ARRAY))
    np.testing.assert_allclose(read_grid(tmp_path / "a.nii").spacing, spacing)


def test_a_file_like_one_in_microns_is_at_its_place(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(Layout(units=MICRON, spacing=(100.0,) * 3).content(ARRAY))
    volume = read_volume(tmp_path / "a.nii.gz")
    write_nifti_like(tmp_path / "b.nii.gz", volume.array, volume.header)
    np.testing.assert_array_equal(read_grid(tmp_path / "b.nii.gz").affine, volume.affine)


def test_two_places_are_told_by_the_names_of_their_forms(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(Layout(sform_code=2, shift=12.0).content(ARRAY))
    header = read_nifti_header(tmp_path / "a.nii.gz")
    assert header.form == "qform"
    assert "a.nii.gz states two places in space, in its qform and its sform, up to 12 mm apart" in header.remark
    (tmp_path / "a.nii.gz").write_bytes(Layout(sform_code=2, shift=0.001).content(ARRAY))
    assert read_nifti_header(tmp_path / "a.nii.gz").remark is None


def changed(offset: int, values: object, kind: str) -> bytes:
    content = bytearray(Layout(compressed=False).content(ARRAY))
    new = np.array(values, kind).tobytes()
    content[offset : offset + len(new)] = new
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (changed(0, 540, "<i4"), "is a NIfTI-2 file, which ITK and so nnU-Net do not read"),
        (changed(40, [3, 3, -4, 5], "<i2"), r"its header states the sizes \[3, -4, 5\]"),
        (changed(40, [9], "<i2"), "its header states the sizes"),
        (changed(70, 1536, "<i2"), "states the data type 1536, which is not known"),
        (
            changed(76, [1, 0, 1, 1], "<f4"),
            r"has no valid position in space \(its voxel size is \[0\.0, 1",
        ),
        (
            changed(76, [1, 2, 1, 1], "<f4"),
            r"states two voxel sizes: \(2, 1, 1\) in pixdim and \(1, 1, 1\) in its",
        ),
        (changed(108, 100, "<f4"), "its voxels begin at byte 100, within the header"),
        (changed(108, np.nan, "<f4"), "its voxels begin at byte nan"),
        (changed(112, [0, 5], "<f4"), r"its scale is not clear \(scl_slope 0, scl_inter 5\)"),
        (changed(112, [2, np.nan], "<f4"), r"its scale is not clear \(scl_slope 2, scl_inter nan\)"),
        (changed(252, 77, "<i2"), "states the qform_code 77, which is not known"),
        (changed(344, b"", "S4"), "Analyze"),
        (b"", "is cut short or damaged: it is empty"),
    ],
)
def test_a_header_that_is_not_clear_is_refused_by_name(tmp_path, content, sentence):
    path = tmp_path / "a.nii"
    path.write_bytes(content)
    for read in (read_volume, read_nifti_header):
        with pytest.raises(UserError, match=rf"a\.nii .*{sentence}|a\.nii {sentence}"):
            read(path)


def test_a_size_beyond_the_file_is_refused_before_memory_is_taken(tmp_path):
    (tmp_path / "a.nii").write_bytes(changed(40, [3, 30000, 30000, 30000], "<i2"))
    with pytest.raises(UserError, match=r"a\.nii cannot be read as NIfTI: it is cut short, .* of 108000000000352 "):
        read_volume(tmp_path / "a.nii")


@pytest.mark.parametrize("layout", [Layout(compressed=False), Layout(compressed=True), Layout(trailing=2)])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_the_content_says_whether_it_is_compressed_and_not_the_name(tmp_path, layout, name):
    (tmp_path / name).write_bytes(layout.content(ARRAY))
    np.testing.assert_array_equal(read_volume(tmp_path / name).array, ARRAY)
    assert nifti_header(tmp_path, replace(layout, compressed=False).content(ARRAY)).grid.shape == (3, 4, 5)


@pytest.mark.parametrize("there", ["a.nii", "A.NII.GZ"])
def test_a_missing_file_is_told_with_one_of_almost_its_name(tmp_path, there):
    (tmp_path / there).touch()
    with pytest.raises(UserError, match=rf"a\.nii\.gz is missing\. There is a file {there}: is that it\?"):
        read_volume(tmp_path / "a.nii.gz")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (gzip.compress(Layout().content(ARRAY)), "compressed twice; decompress it once"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "Git LFS's stand-in for the image"),
        (b"/annex/objects/MD5E-s1--0.nii.gz\n", "git-annex's stand-in for the image"),
        (b"<!DOCTYPE html><title>Log in</title>", "a web page"),
        (b"PK\3\4" + bytes(400), "a zip archive"),
        (b"\0\5\x16\7" + bytes(400), "AppleDouble"),
    ],
)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("read", [read_nifti_header, read_volume])
def test_what_lies_in_the_place_of_an_image_is_told_by_its_name(tmp_path, content, what, name, read):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name} cannot be read as NIfTI: it .*{what}"):
        read(tmp_path / name)
