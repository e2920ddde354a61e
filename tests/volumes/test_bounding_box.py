"""The box around a mask: the smallest one, and nothing around an empty mask."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from nndistill.volumes.bounding_box import bounding_box, whole_box


@pytest.mark.parametrize("shape", [(9,), (6, 11), (7, 5, 9), (3, 4, 5, 6)])
@pytest.mark.parametrize("share", [0.004, 0.03, 0.5, 1.0])
@pytest.mark.parametrize("order", ["C", "F"])
def test_the_box_is_that_of_scipy(shape, share, order):
    random = np.random.default_rng(0)
    for _ in range(20):
        mask = np.array(random.random(shape) < share, order=order)
        assert bounding_box(mask) == next(iter(ndimage.find_objects(mask.astype(np.uint8))), None)


@pytest.mark.parametrize("corner", [(0, 0, 0), (6, 4, 8), (3, 0, 8)])
def test_a_single_voxel_is_a_box_of_one_voxel(corner):
    mask = np.zeros((7, 5, 9), bool)
    mask[corner] = True
    assert bounding_box(mask) == tuple(slice(index, index + 1) for index in corner)


def test_a_margin_ends_where_the_mask_ends():
    mask = np.zeros((7, 5, 9), bool)
    mask[1:3, 2, 8] = True
    assert bounding_box(mask, margin=2) == (slice(0, 5), slice(0, 5), slice(6, 9))


def test_an_empty_mask_has_no_box_and_the_whole_one_holds_everything():
    empty = np.zeros((7, 5, 9), bool)
    assert bounding_box(empty) is bounding_box(empty, margin=3) is None
    assert bounding_box(~empty) == whole_box(empty.shape)
    assert empty[whole_box(empty.shape)].shape == empty.shape
