"""Positions of voxels: compared at the corners, and refused if nnU-Net's reader would refuse them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from nndistill.errors import UserError
from nndistill.volumes.grid import Grid, check_right_angles, check_same_grid, is_same_grid


@pytest.fixture
def grid(affine):
    return Grid(Path("image.nii.gz"), (10, 20, 30), affine)


def test_grids_are_compared_by_the_places_of_their_corners(grid):
    def check(shape=(10, 20, 30), moved=grid.affine):
        check_same_grid(Grid(Path("label.nii.gz"), shape, moved), grid)

    check()
    shifted, scaled = grid.affine.copy(), grid.affine.copy()
    shifted[0, 3] += 1e-4  # rounding in a header
    check(moved=shifted)
    shifted[0, 3] += 1
    with pytest.raises(UserError, match=r"label.nii.gz and image.nii.gz are at different positions: up to 1 mm apart"):
        check(moved=shifted)
    scaled[:3, :3] *= 1.01
    with pytest.raises(UserError, match="are at different positions"):
        check(moved=scaled)
    with pytest.raises(UserError, match=r"label.nii.gz has shape 10×20×31, but image.nii.gz has 10×20×30"):
        check(shape=(10, 20, 31))


@pytest.mark.parametrize("part", [0.04, 0.06])
def test_the_tolerance_is_a_twentieth_of_the_smallest_voxel(grid, part):
    moved = grid.affine.copy()
    moved[1, 3] += part * grid.spacing.min()
    assert is_same_grid(replace(grid, affine=moved), grid) == (part < 0.05)


def test_the_share_inside_is_that_of_the_volumes(grid):
    half = grid.affine.copy()
    half[:3, 3] += half[:3, 0] * 5
    assert replace(grid, affine=half).share_inside(grid) == pytest.approx(0.5, abs=0.05)
    inner = replace(grid, shape=(4, 4, 4))
    assert inner.share_inside(grid) == 1
    assert grid.share_inside(inner) < 0.05
    far = grid.affine.copy()
    far[2, 3] += 1000
    assert replace(grid, affine=far).share_inside(grid) == 0


@pytest.mark.parametrize("skew", [1e-6, 1e-4, 1e-3, 0.1])
def test_axes_are_refused_where_itk_refuses_them(tmp_path, skew):
    affine = np.diag([2.0, 2, 2, 1])
    affine[0, 1] = 2 * skew
    image = nib.Nifti1Image(np.zeros((3, 4, 5), np.int16), affine)
    image.set_sform(affine, 1)
    image.header["qform_code"] = 0
    nib.save(image, tmp_path / "a.nii.gz")

    def refused(read):
        try:
            read()
        except (UserError, RuntimeError):
            return True
        return False

    ours = refused(lambda: check_right_angles(Grid(tmp_path / "a.nii.gz", (3, 4, 5), affine)))
    assert ours == refused(lambda: SimpleITK.ReadImage(tmp_path / "a.nii.gz"))
