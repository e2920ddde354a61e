"""VoxelErrors are sorted by definition, and their outlines enclose them."""

from __future__ import annotations

import numpy as np
import pytest

from nndistill.reporting.figures.voxel_outline import voxel_outline
from nndistill.reporting.voxel_errors import voxel_errors


def test_each_pair_of_labels_is_one_kind() -> None:
    reference, prediction = np.meshgrid(np.arange(4), np.arange(4), indexing="ij")
    found = voxel_errors(reference, prediction)
    for i in range(4):
        for j in range(4):
            kinds = [name for name, mask in found._asdict().items() if mask[i, j]]
            expected = (
                [] if i == j else ["false_positive"] if i == 0 else ["false_negative"] if j == 0 else ["wrong_label"]
            )
            assert kinds == expected


def test_kinds_together_are_all_that_differs_and_do_not_overlap() -> None:
    rng = np.random.default_rng(0)
    reference, prediction = rng.integers(0, 5, (2, 20, 20, 20))
    total = np.sum(voxel_errors(reference, prediction), axis=0)
    np.testing.assert_array_equal(total, (reference != prediction).astype(int))


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (2.0, 0.5)])
def test_outline_is_as_long_as_the_perimeter(spacing: tuple[float, float]) -> None:
    mask = np.zeros((9, 11), bool)
    mask[0:4, 5:11] = True  # touches the border
    segments = voxel_outline(mask, spacing)
    length = np.abs(segments[:, 1] - segments[:, 0]).sum()
    assert length == pytest.approx(2 * (4 * spacing[0] + 6 * spacing[1]))
    assert segments[..., 0].min() == 5 * spacing[1]
    assert segments[..., 0].max() == 11 * spacing[1]
    assert segments[..., 1].min() == 0
    assert segments[..., 1].max() == 4 * spacing[0]


def test_every_side_between_in_and_out_is_drawn_once() -> None:
    mask = np.random.default_rng(1).random((13, 8)) < 0.4
    padded = np.pad(mask, 1).astype(int)
    sides = np.abs(np.diff(padded, axis=0)).sum() + np.abs(np.diff(padded, axis=1)).sum()
    segments = voxel_outline(mask, (1.0, 1.0))
    assert len(segments) == len(np.unique(segments, axis=0)) == sides
    assert voxel_outline(np.zeros((3, 3), bool), (1.0, 1.0)).shape == (0, 2, 2)
