"""Resampling: an image keeps its place in space, and headers that do not say where it is are refused."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from nndistill.datasets.preparation.alignment import check_alignable, check_overlap, resample_onto
from nndistill.errors import UserError
from nndistill.volumes.grid import Grid
from nndistill.volumes.nifti import read_volume


def tilted(spacing, origin, degrees=20.0):
    """A right-handed or left-handed grid, turned about two axes."""
    a, b = np.deg2rad([degrees, degrees / 2])
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = about_x @ about_z * spacing
    affine[:3, 3] = origin
    return affine


@pytest.mark.parametrize("nearest", [False, True])
def test_resampling_equals_interpolation_at_the_same_places_in_space(affine, nearest):
    array = np.random.default_rng(0).integers(0, 50, (12, 11, 10)).astype(np.float32)
    onto = Grid(Path("onto"), (9, 8, 13), tilted((1.3, 1.1, 0.9), (16.0, -10.0, 8.0)))
    steps = np.indices(onto.shape).reshape(3, -1)
    places = (np.linalg.inv(affine) @ onto.affine @ np.vstack([steps, np.ones(steps.shape[1])]))[:3]
    expected = map_coordinates(array, places, order=0 if nearest else 1, mode="constant").reshape(onto.shape)
    inside = ((places > 0.01) & (places < np.array(array.shape)[:, None] - 1.01)).all(axis=0).reshape(onto.shape)
    assert 0.2 < inside.mean() < 1
    found = resample_onto(array, affine, onto, nearest=nearest)
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-3)
    far = (places < -0.6).any(axis=0) | (places > np.array(array.shape)[:, None] - 0.4).any(axis=0)
    assert (found.reshape(-1)[far] == 0).all()


def test_labels_keep_their_values_and_type(affine):
    labels = np.random.default_rng(0).integers(0, 5, (12, 11, 10)).astype(np.uint8)
    moved = resample_onto(
        labels, affine, Grid(Path("onto"), (20, 20, 20), tilted((0.7, 0.7, 0.7), (18, -10, 8))), nearest=True
    )
    assert moved.dtype == np.uint8
    assert set(np.unique(moved)) <= set(range(5))


def test_onto_its_own_grid_nothing_changes(affine):
    array = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
    np.testing.assert_allclose(resample_onto(array, affine, Grid(Path("same"), (5, 6, 7), affine)), array, atol=1e-5)


def volume(path, affine, *, qform, sform):
    image = nib.Nifti1Image(np.zeros((5, 6, 7), np.int16), None)
    image.header.set_qform(qform if qform is not None else affine, code=int(qform is not None))
    image.header.set_sform(sform if sform is not None else affine, code=int(sform is not None))
    nib.save(nib.Nifti1Image(np.zeros((5, 6, 7), np.int16), None, image.header), path)
    return read_volume(path)


def test_an_image_without_or_with_two_places_in_space_is_refused(tmp_path, affine):
    path, moved = tmp_path / "a.nii.gz", affine + 3 * np.eye(4, k=3)
    for qform, sform in ((affine, affine), (affine, None), (None, affine)):
        check_alignable(volume(path, affine, qform=qform, sform=sform))
    with pytest.raises(UserError, match=r"a\.nii\.gz says nothing about its orientation .* cannot be aligned"):
        check_alignable(volume(path, affine, qform=None, sform=None))
    with pytest.raises(UserError, match=r"names two places in space, its qform and its sform, up to 3 mm apart"):
        check_alignable(volume(path, affine, qform=affine, sform=moved))


def test_images_of_different_places_are_refused(affine):
    onto = Grid(Path("flair.nii.gz"), (20, 20, 20), affine)
    far, partly = affine.copy(), affine.copy()
    far[2, 3] += 500
    partly[:3, 3] += affine[:3, 0] * 16
    check_overlap(Grid(Path("dwi.nii.gz"), (5, 5, 5), affine), onto)  # smaller, but within
    with pytest.raises(UserError, match=r"dwi.nii.gz and flair.nii.gz cannot be aligned: .* do not overlap in space"):
        check_overlap(Grid(Path("dwi.nii.gz"), (20, 20, 20), far), onto)
    with pytest.raises(UserError, match=r"only \d\d% of the smaller overlap"):
        check_overlap(Grid(Path("dwi.nii.gz"), (20, 20, 20), partly), onto)
